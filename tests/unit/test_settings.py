"""Settings are read strictly from the environment, and docs/settings.md tells each of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from rich.pretty import pretty_repr

from shared.ctl.home import Secrets
from shared.settings import (
    PREFIXES,
    AuditSettings,
    AuthzSettings,
    OperatorSettings,
    Settings,
    SettingsError,
    known_variables,
    load_settings,
    variable_of,
)

DSN = {"PLYSTRA_AUTHZ_APP_DSN": "postgresql://app@db/authz"}
DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


def faults(**environment: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(AuthzSettings, DSN | environment)
    return str(caught.value).splitlines()


def test_what_is_not_set_has_its_default():
    settings = load_settings(AuthzSettings, DSN)
    assert (settings.host, settings.port, settings.relay) == ("127.0.0.1", 8080, "on")
    assert settings.instance.startswith("authz@")
    assert settings.build_time is None


def test_texts_become_the_types_of_their_fields():
    settings = load_settings(
        AuthzSettings,
        DSN
        | {
            "PLYSTRA_AUTHZ_PORT": "0",
            "PLYSTRA_AUTHZ_RELAY": "off",
            "PLYSTRA_LOG_LEVEL": "debug",
            "PLYSTRA_BUILD_TIME": "2026-03-01T12:00:00Z",
            "PLYSTRA_AUDIT_URL": "http://audit:8081",
        },
    )
    assert (settings.port, settings.relay, settings.log_level) == (0, "off", "debug")
    assert settings.build_time is not None
    assert settings.build_time.isoformat() == "2026-03-01T12:00:00+00:00"
    assert settings.audit_url == "http://audit:8081"


@pytest.mark.parametrize(
    "written, meant",
    [
        ("PLYSTRA_AUTHZ_PROT", "PLYSTRA_AUTHZ_PORT"),
        ("PLYSTRA_AUTHZ_OUTBOX_CEILLING", "PLYSTRA_AUTHZ_OUTBOX_CEILING"),
        ("PLYSTRA_AUTHZ_APPDSN_FILE", "PLYSTRA_AUTHZ_APP_DSN_FILE"),
        ("PLYSTRA_AUTHZ_LOG_LEVEL", "PLYSTRA_LOG_LEVEL"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_known_one(written, meant):
    assert faults(**{written: "1"}) == [f"{written} is not a setting of Plystra. Did you mean {meant}?"]


def test_an_unknown_variable_that_resembles_nothing_is_refused_without_a_guess():
    assert faults(PLYSTRA_QQ="1") == ["PLYSTRA_QQ is not a setting of Plystra."]


def test_a_variable_of_another_program_or_of_nobody_of_ours_is_let_pass():
    load_settings(
        AuthzSettings, DSN | {"PLYSTRA_ADMIN_KEY": "x", "PLYSTRA_AUDIT_PORT": "1", "PLYSTRAL": "y", "HOME": "/"}
    )


def test_a_value_is_read_from_the_file_that_is_named_without_its_line_end(tmp_path):
    file = tmp_path / "dsn"
    file.write_text("postgresql://app:s3cret@db/authz\r\n", encoding="utf-8")
    settings = load_settings(AuthzSettings, {"PLYSTRA_AUTHZ_APP_DSN_FILE": str(file)})
    assert settings.app_dsn == "postgresql://app:s3cret@db/authz"


def test_a_value_and_a_file_for_the_same_setting_are_refused(tmp_path):
    (fault,) = faults(PLYSTRA_AUTHZ_APP_DSN_FILE=str(tmp_path / "dsn"))
    assert "both PLYSTRA_AUTHZ_APP_DSN and PLYSTRA_AUTHZ_APP_DSN_FILE are set; keep one" in fault


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    missing = tmp_path / "missing"
    (fault,) = faults(PLYSTRA_AUTHZ_AUDIT_KEY_FILE=str(missing))
    assert fault.startswith("PLYSTRA_AUTHZ_AUDIT_KEY is not usable:")
    assert str(missing) in fault


def test_a_file_that_is_no_text_is_named(tmp_path):
    file = tmp_path / "key"
    file.write_bytes(b"\xff\xfe")
    (fault,) = faults(PLYSTRA_AUTHZ_AUDIT_KEY_FILE=str(file))
    assert fault.startswith("PLYSTRA_AUTHZ_AUDIT_KEY is not usable:")


@pytest.mark.parametrize(
    "variable, value",
    [
        ("PLYSTRA_AUTHZ_PORT", "65536"),
        ("PLYSTRA_AUTHZ_PORT", "-1"),
        ("PLYSTRA_AUTHZ_PORT", "http"),
        ("PLYSTRA_AUTHZ_PORT", ""),
        ("PLYSTRA_AUTHZ_RELAY", "yes"),
        ("PLYSTRA_AUTHZ_RELAY", "ON"),
        ("PLYSTRA_AUTHZ_INSTANCE", "two words"),
        ("PLYSTRA_AUTHZ_INSTANCE", "line\n"),
        ("PLYSTRA_AUTHZ_INSTANCE", "x" * 101),
        ("PLYSTRA_AUTHZ_OUTBOX_CEILING", "0"),
        ("PLYSTRA_AUTHZ_STALENESS_MS", "0"),
        ("PLYSTRA_AUTHZ_STALENESS_MS", "1.5"),
        ("PLYSTRA_AUTHZ_CACHE_ENTRIES", "-5"),
        ("PLYSTRA_AUTHZ_COMMIT_MAX_EVENTS", "0"),
        # More would not fit into one delivery, and so would never be delivered.
        ("PLYSTRA_AUTHZ_COMMIT_MAX_EVENTS", "1001"),
        ("PLYSTRA_LOG_LEVEL", "verbose"),
        ("PLYSTRA_DRAIN_SECONDS", "0"),
        ("PLYSTRA_DRAIN_SECONDS", "601"),
        ("PLYSTRA_BUILD_TIME", "yesterday"),
    ],
)
def test_a_value_of_the_wrong_form_is_refused_by_name_and_meaning(variable, value):
    (fault,) = faults(**{variable: value})
    assert fault.startswith(f"{variable} is not usable: ")
    assert " It is " in fault


def test_everything_that_is_wrong_is_told_at_once():
    with pytest.raises(SettingsError) as caught:
        load_settings(AuthzSettings, {"PLYSTRA_AUTHZ_PORT": "x", "PLYSTRA_LOG_LEVEL": "x", "PLYSTRA_NONSENSE": "x"})
    told = [line.split()[0] for line in str(caught.value).splitlines()]
    assert told == ["PLYSTRA_NONSENSE", "PLYSTRA_LOG_LEVEL", "PLYSTRA_AUTHZ_APP_DSN", "PLYSTRA_AUTHZ_PORT"]


def test_a_required_setting_that_is_missing_is_named_with_its_meaning():
    with pytest.raises(
        SettingsError, match=r"PLYSTRA_AUTHZ_APP_DSN is not set .*: PostgreSQL DSN of the role authz_app"
    ):
        load_settings(AuthzSettings, {})


def test_no_two_settings_of_a_program_share_a_variable():
    for kind in PREFIXES:
        variables = [variable_of(kind, field.name) for field in msgspec.structs.fields(kind)]
        assert len(set(variables)) == len(variables)


def tables() -> dict[str, list[str]]:
    """The rows that docs/settings.md must have under each heading."""
    return {
        "Both services": [row(AuthzSettings, field) for field in shared_fields()],
        "authz": [row(AuthzSettings, f) for f in msgspec.structs.fields(AuthzSettings) if f not in shared_fields()],
        "audit": [row(AuditSettings, f) for f in msgspec.structs.fields(AuditSettings) if f.name not in shared_names()],
        "plystractl and clients": [row(OperatorSettings, f) for f in msgspec.structs.fields(OperatorSettings)],
    }


def shared_names() -> set[str]:
    return {field.name for field in shared_fields()}


def shared_fields() -> list[msgspec.structs.FieldInfo]:
    variables = {variable_of(AuditSettings, f.name) for f in msgspec.structs.fields(AuditSettings)}
    return [f for f in msgspec.structs.fields(AuthzSettings) if variable_of(AuthzSettings, f.name) in variables]


def row(kind: type[Settings], field: msgspec.structs.FieldInfo) -> str:
    info = msgspec.inspect.type_info(field.type)
    assert isinstance(info, msgspec.inspect.Metadata), f"{kind.__name__}.{field.name} has no description"
    meaning = (info.extra_json_schema or {})["description"]
    if field.required:
        default = "required"
    elif field.default_factory is not msgspec.NODEFAULT:
        default = f"`{kind.__name__.removesuffix('Settings').lower()}@<host name>`"
    else:
        default = "" if field.default is None else f"`{field.default}`"
    return f"| `{variable_of(kind, field.name)}` | {default} | {meaning} |"


def test_the_document_lists_every_setting_with_its_default_and_meaning():
    written: dict[str, list[str]] = {}
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            rows = written[line.removeprefix("## ")] = []
        elif line.startswith("| `"):
            rows.append(line)
    wanted = tables()
    assert {heading: rows for heading, rows in written.items() if rows} == wanted, "\n".join(
        f"## {heading}\n" + "\n".join(rows) for heading, rows in wanted.items()
    )
    listed = {line.split("`")[1] for rows in wanted.values() for line in rows}
    assert listed == known_variables()


@pytest.mark.parametrize("show", [repr, str, pretty_repr], ids=["repr", "str", "rich"])
def test_settings_and_secrets_can_be_shown_without_telling_a_password(show):
    settings = AuthzSettings(app_dsn="postgresql://a:hunter2@b/c", audit_key="hunter2")
    secrets = Secrets()
    assert "hunter2" not in show([settings])
    assert not [value for value in msgspec.structs.astuple(secrets) if value in show([secrets])]
