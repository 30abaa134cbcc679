"""Settings from the environment: every variable that Plystra knows, read strictly.

A variable `PLYSTRA_X` may be given as `PLYSTRA_X_FILE` naming a file that holds the value (for secrets). A `PLYSTRA_*`
variable that no program knows, or a value of the wrong form, is refused by name: a typo must not pass silently.
`docs/settings.md` is compared with these Structs by a test.
"""

from __future__ import annotations

import difflib
import os
import socket
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

Port = Annotated[int, Meta(ge=0, le=65_535)]
Positive = Annotated[int, Meta(ge=1)]
LogLevel = Literal["debug", "info", "warning", "error"]


class Undisclosed(msgspec.Struct, frozen=True, kw_only=True):
    """Values among which are passwords and keys: showing them shows none."""

    def __repr__(self) -> str:
        """Name the type alone."""
        return f"{type(self).__name__}(…)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Tell rich no more, which doesn't ask for the repr."""
        return []


class Settings(Undisclosed, frozen=True, kw_only=True):
    """A group of settings; a field without a default is required."""


class ServiceSettings(Settings, frozen=True, kw_only=True):
    """What both services take."""

    log_level: Annotated[LogLevel, Meta(description="least severe log line that is written")] = "info"
    drain_seconds: Annotated[
        int, Meta(ge=1, le=600, description="how long a stopping service may take to answer what is in flight")
    ] = 20
    build_commit: Annotated[str | None, Meta(description="commit that the image was built from")] = None
    build_time: Annotated[datetime | None, Meta(description="when the image was built, RFC 3339")] = None


class AuthzSettings(ServiceSettings, frozen=True, kw_only=True):
    """What the authz service takes; each field is `PLYSTRA_AUTHZ_<NAME>`, unless `ENVIRONMENT` says otherwise."""

    app_dsn: Annotated[str, Meta(description="PostgreSQL DSN of the role authz_app")]
    host: Annotated[str, Meta(description="address to listen on")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="port to listen on")] = 8080
    instance: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9_.:@-]{1,100}\Z", description="name of this replica in events (`source`)")
    ] = msgspec.field(default_factory=lambda: f"authz@{socket.gethostname()}"[:100])
    relay: Annotated[
        Literal["on", "off"], Meta(description="whether `serve` keeps a relay process beside it that delivers to audit")
    ] = "on"
    audit_url: Annotated[str | None, Meta(description="base URL of audit, to which events are delivered")] = None
    audit_key: Annotated[str | None, Meta(description="API key on audit with the permission audit:write")] = None
    outbox_ceiling: Annotated[
        Positive, Meta(description="undelivered events at which authz answers 503 instead of deciding")
    ] = 1_000_000
    staleness_ms: Annotated[
        Positive, Meta(description="age of the last look at the event log beyond which no cached fact is used")
    ] = 2_000
    cache_entries: Annotated[Positive, Meta(description="actors, and as many resources, kept in memory")] = 100_000
    verdict_entries: Annotated[
        int, Meta(ge=0, le=10_000_000, description="verdicts kept in memory for questions asked again; 0 keeps none")
    ] = 16_384
    commit_max_events: Annotated[int, Meta(ge=1, le=1_000, description="most events in one group commit")] = 512


class AuditSettings(ServiceSettings, frozen=True, kw_only=True):
    """What the audit service takes; each field is `PLYSTRA_AUDIT_<NAME>`."""

    app_dsn: Annotated[str, Meta(description="PostgreSQL DSN of the role audit_app")]
    host: Annotated[str, Meta(description="address to listen on")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="port to listen on")] = 8081
    instance: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9_.:@-]{1,100}\Z", description="name of this replica in its own events")
    ] = msgspec.field(default_factory=lambda: f"audit@{socket.gethostname()}"[:100])


class OperatorSettings(Settings, frozen=True, kw_only=True):
    """What `plystractl` takes; each field is `PLYSTRA_<NAME>`."""

    environment: Annotated[
        str, Meta(description="`development` or `test` let go of what guards production; anything else is production")
    ] = "production"
    authz_dsn: Annotated[str | None, Meta(description="PostgreSQL DSN of the owner of authz's database")] = None
    audit_dsn: Annotated[str | None, Meta(description="PostgreSQL DSN of the owner of audit's database")] = None
    authz_app_dsn: Annotated[str | None, Meta(description="PostgreSQL DSN of the role authz_app")] = None
    audit_app_dsn: Annotated[str | None, Meta(description="PostgreSQL DSN of the role audit_app")] = None
    authz_url: Annotated[str | None, Meta(description="base URL of authz")] = None
    audit_url: Annotated[str | None, Meta(description="base URL of audit")] = None
    admin_key: Annotated[str | None, Meta(description="API key with every permission on both services")] = None
    caller_key: Annotated[str | None, Meta(description="API key that may check and explain")] = None
    auditor_key: Annotated[str | None, Meta(description="API key that may read the log")] = None
    backup_dir: Annotated[
        str | None,
        Meta(description="folder of backups, for `backup create`, `doctor` and `upgrade`"),
    ] = None


PREFIXES: Final[dict[type[Settings], str]] = {
    AuthzSettings: "PLYSTRA_AUTHZ_",
    AuditSettings: "PLYSTRA_AUDIT_",
    OperatorSettings: "PLYSTRA_",
}
# Fields whose variable is shared by several programs and so bears no service's prefix.
ENVIRONMENT: Final[dict[tuple[type[Settings], str], str]] = {
    (AuthzSettings, "audit_url"): "PLYSTRA_AUDIT_URL",
    **{
        (kind, field): f"PLYSTRA_{field.upper()}"
        for kind in (AuthzSettings, AuditSettings)
        for field in ("log_level", "drain_seconds", "build_commit", "build_time")
    },
}


class SettingsError(Exception):
    """The environment holds an unknown, missing or badly formed setting; the text names each one."""


S = TypeVar("S", bound=Settings)


def variable_of(kind: type[Settings], field: str) -> str:
    """Return the environment variable that fills a field."""
    return ENVIRONMENT.get((kind, field), PREFIXES[kind] + field.upper())


def known_variables() -> set[str]:
    """Return every variable that some program of Plystra reads, without the `_FILE` forms."""
    return {variable_of(kind, field.name) for kind in PREFIXES for field in msgspec.structs.fields(kind)}


def load_settings(kind: type[S], environment: Mapping[str, str] | None = None) -> S:
    """Read one program's settings, raising `SettingsError` that lists everything that is wrong at once."""
    environment = os.environ if environment is None else environment
    faults = _unknown(environment)
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        variable = variable_of(kind, field.name)
        try:
            text = _read(environment, variable)
            if text is not None:
                values[field.name] = msgspec.convert(text, field.type, strict=False)
            elif field.required:
                faults.append(f"{variable} is not set (nor {variable}_FILE): {_description(field)}.")
        except (msgspec.ValidationError, OSError, ValueError) as error:
            faults.append(f"{variable} is not usable: {error}. It is {_description(field)}.")
    if faults:
        raise SettingsError("\n".join(faults))
    return kind(**values)


def _unknown(environment: Mapping[str, str]) -> list[str]:
    known = known_variables()
    known |= {f"{name}_FILE" for name in known}
    faults = []
    for name in sorted(environment):
        if name.startswith("PLYSTRA_") and name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1)
            faults.append(f"{name} is not a setting of Plystra." + (f" Did you mean {near[0]}?" if near else ""))
    return faults


def _read(environment: Mapping[str, str], variable: str) -> str | None:
    text, file = environment.get(variable), environment.get(f"{variable}_FILE")
    if text is not None and file is not None:
        raise ValueError(f"both {variable} and {variable}_FILE are set; keep one")
    if file is not None:
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    return text


def _description(field: msgspec.structs.FieldInfo) -> str:
    kind = msgspec.inspect.type_info(field.type)
    extra = kind.extra_json_schema if isinstance(kind, msgspec.inspect.Metadata) else None
    return str((extra or {}).get("description", field.name))
