"""`plystractl schema` and `migrate diff` as operators meet them: exit codes, JSON, and SQL that can be run as it is printed."""

from __future__ import annotations

import json
import shutil

import psycopg
import pytest

from shared.catalogue.schema_lock import SCHEMA_LOCK_FILE, read_schema_lock
from shared.ctl import diff
from shared.ctl.__main__ import main
from shared.migrations.bootstrap import Roles, create_database, create_roles
from shared.migrations.errors import CannotCompare
from shared.migrations.files import default_folder, read_folder
from shared.migrations.runner import migrate_up
from shared.migrations.schema import check_schema
from shared.migrations.verify import verify
from tests.conftest import PASSWORD, connect

DISABLED = "Automatic schema changes are disabled in production. Use versioned migrations: plystractl migrate up."


@pytest.fixture
def operate(monkeypatch, capsys):
    def run(*arguments, environment="test", **dsns):
        monkeypatch.setenv("PLYSTRA_ENVIRONMENT", environment)
        for service in ("authz", "audit"):
            if service in dsns:
                monkeypatch.setenv(f"PLYSTRA_{service.upper()}_DSN", dsns[service])
            else:
                monkeypatch.delenv(f"PLYSTRA_{service.upper()}_DSN", raising=False)
        code = main(list(arguments))
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def execute(database, *statements):
    with connect(database.superuser_dsn) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize("role", ["owner", "app", "reader", "superuser"])
def test_a_migrated_database_is_as_expected_to_whoever_may_connect(operate, authz_database, audit_database, role):
    dsns = {"authz": getattr(authz_database, f"{role}_dsn"), "audit": getattr(audit_database, f"{role}_dsn")}
    code, text = operate("schema", "check", **dsns)
    assert code == 0, text
    for service in ("authz", "audit"):
        assert f"✓ {service}: the schema is as after {read_schema_lock(default_folder(service)).ids[-1]}." in text


_LAST = "(select max(ordinal) from public._migration_ledger)"


@pytest.mark.parametrize(
    "loss",
    [
        "drop table public._migration_ledger",
        "delete from public._migration_ledger",
        f"delete from public._migration_ledger where ordinal = {_LAST}",
        "drop table public._migration_ledger, public._yoyo_migration",
        f"update public._migration_ledger set state = 'started', applied_at = null where ordinal = {_LAST}",
    ],
)
def test_where_the_bookkeeping_is_lost_no_sql_drops_what_it_recorded(operate, authz_database, loss):
    execute(authz_database, loss)
    for options in ([], ["--sql"]):
        code, text = operate("schema", "check", "--service", "authz", *options, authz=authz_database.owner_dsn)
        assert code == 8, text
        assert "drop table" not in text
        assert "next: plystractl migrate" in text


def test_drift_is_named_with_object_attribute_and_the_sql_that_undoes_it(operate, authz_database):
    execute(authz_database, "alter table authz.event disable trigger event_is_insert_only")
    code, text = operate("schema", "check", "--service", "authz", authz=authz_database.reader_dsn)
    assert code == 1
    assert "trigger event_is_insert_only on authz.event: enabled is disabled, expected was always" in text
    assert "alter table authz.event enable always trigger event_is_insert_only;" in text


def test_the_printed_script_brings_the_database_back(operate, authz_database):
    execute(authz_database, "drop table authz.member_role, authz.resource", "grant delete on authz.event to authz_app")
    code, text = operate("schema", "check", "--service", "authz", "--sql", authz=authz_database.owner_dsn)
    assert code == 1
    execute(authz_database, text)
    assert operate("schema", "check", "--service", "authz", "--sql", authz=authz_database.owner_dsn) == (0, "")


@pytest.mark.parametrize(
    ("change", "back"),
    [
        ("alter table authz.idempotency_key rename to kept", "alter table authz.kept rename to idempotency_key"),
        (
            "alter table authz.idempotency_key rename column answer to reply",
            "alter table authz.idempotency_key rename column reply to answer",
        ),
    ],
    ids=["table", "column"],
)
def test_what_was_renamed_keeps_its_rows_whatever_is_printed(operate, authz_database, change, back):
    row = "'c', 'k', decode(repeat('00', 32), 'hex'), '{}', now()"
    execute(authz_database, f"insert into authz.idempotency_key values ({row})", change)
    code, text = operate("schema", "check", "--service", "authz", "--sql", authz=authz_database.owner_dsn)
    assert code == 1
    with pytest.raises(psycopg.Error, match=r"was something renamed\?|contains null values"):
        execute(authz_database, text)
    execute(authz_database, back)
    assert operate("schema", "check", "--service", "authz", authz=authz_database.owner_dsn)[0] == 0
    with connect(authz_database.superuser_dsn) as connection:
        assert connection.execute("select count(*) from authz.idempotency_key where answer = '{}'").fetchone() == (1,)


def test_json_is_one_document_with_the_line_of_the_lock_file(operate, authz_database):
    execute(authz_database, "drop index authz.event_space_idx")
    code, text = operate("schema", "check", "--service", "authz", "--format", "json", authz=authz_database.owner_dsn)
    document = json.loads(text)
    assert (code, document["schema"], document["exit_code"]) == (1, "plystractl.schema.check/1", 1)
    [drift] = document["services"][0]["drift"]
    assert drift["difference"]["object"] == "index authz.event_space_idx"
    assert drift["difference"]["kind"] == "missing"
    lines = (default_folder("authz") / SCHEMA_LOCK_FILE).read_text(encoding="utf-8").splitlines()
    assert lines[drift["line"] - 1].startswith('"index authz.event_space_idx": ')


def test_a_pending_migration_is_no_drift(empty_database, tmp_path):
    folder = tmp_path / "authz"
    shutil.copytree(default_folder("authz"), folder)
    shown = [check_schema("authz", connect(empty_database.reader_dsn), folder)]
    with_seven = tmp_path / "seven"
    shutil.copytree(folder, with_seven)
    for migration in read_folder("authz", folder).migrations[7:]:
        (with_seven / migration.name).unlink()
        (with_seven / migration.rollback_name).unlink()
    files = read_folder("authz", with_seven)
    diff._settle(with_seven / "migrations.lock", diff.render_lock(files), check=False)
    migrate_up("authz", empty_database.owner_dsn, with_seven)
    shown.append(check_schema("authz", connect(empty_database.reader_dsn), folder))
    assert [(one.expected_at, one.differences) for one in shown] == [(None, []), ("0007.outbox_compressed", [])]


def test_migrations_that_the_lock_file_does_not_know_cannot_be_compared(operate, authz_database):
    execute(authz_database, "update public._migration_ledger set id = '0005.other' where ordinal = 5")
    code, text = operate("schema", "check", "--service", "authz", authz=authz_database.owner_dsn)
    assert code == 8
    assert "0005.other is applied, and isn't what schema.lock.json has at that place" in text


def test_a_role_that_may_not_read_the_ledger_cannot_compare(operate, authz_database):
    execute(authz_database, "revoke select on public._migration_ledger from authz_reader")
    code, text = operate("schema", "check", "--service", "authz", authz=authz_database.reader_dsn)
    assert code == 8
    assert "may not read" in text


def test_another_major_version_cannot_be_compared(older_dsn):
    with connect(older_dsn) as connection:
        create_roles(connection, "audit", migrator_password=PASSWORD, app_password=PASSWORD)
        create_database(connection, "audit", "plystra_audit")
    place = older_dsn.rpartition("@")[2].rpartition("/")[0]
    migrate_up("audit", f"postgresql://{Roles('audit').migrator}:{PASSWORD}@{place}/plystra_audit")
    with (
        connect(f"postgresql://postgres@{place}/plystra_audit") as connection,
        pytest.raises(CannotCompare, match=r"The server is PostgreSQL 15; .* was taken on 18"),
    ):
        check_schema("audit", connection)


def test_a_schema_is_built_from_the_lock_file_as_if_the_migrations_had_run(operate, empty_database):
    code, text = operate("schema", "apply", "--service", "authz", authz=empty_database.owner_dsn)
    assert code == 0, text
    assert verify("authz", empty_database.owner_dsn) == []
    assert operate("schema", "check", "--service", "authz", authz=empty_database.owner_dsn)[0] == 0
    with connect(empty_database.app_dsn) as connection:
        assert connection.execute("select slot from authz.outbox_rotation").fetchall() == [(0,)]


def test_a_built_schema_has_its_columns_in_the_same_order(operate, empty_database, authz_database):
    assert operate("schema", "apply", "--service", "authz", authz=empty_database.owner_dsn)[0] == 0
    query = "select attrelid::regclass::text, array_agg(attname order by attnum) from pg_attribute join pg_class on"
    query += " pg_class.oid = attrelid where relnamespace = 'authz'::regnamespace and attnum > 0 group by 1 order by 1"
    found = []
    for database in (empty_database, authz_database):
        with connect(database.superuser_dsn) as connection:
            found.append(connection.execute(query).fetchall())
    assert found[0] == found[1]


def test_only_an_empty_database_is_built_in(operate, empty_database):
    execute(empty_database, "create table public.somebodys (id integer)")
    code, text = operate("schema", "apply", "--service", "authz", authz=empty_database.owner_dsn)
    assert code == 2
    assert "it has the table public.somebodys" in text


@pytest.mark.parametrize("environment", ["production", "somewhere"])
def test_nothing_is_built_in_production(operate, empty_database, environment):
    code, text = operate("schema", "apply", environment=environment, authz=empty_database.owner_dsn)
    assert (code, text) == (7, DISABLED + "\n")
    with connect(empty_database.superuser_dsn) as connection:
        assert connection.execute("select to_regclass('public._migration_ledger')").fetchone() == (None,)


def test_the_lock_files_are_what_a_replay_writes(operate, server):
    code, text = operate("migrate", "diff", "--check", "--server", server.superuser_dsn)
    assert code == 0, text
    assert text.count("is current") == 4


def test_a_lock_file_that_a_replay_would_write_otherwise_is_stale(tmp_path):
    folder = tmp_path / "audit"
    shutil.copytree(default_folder("audit"), folder)
    lock = read_schema_lock(folder)
    file = folder / SCHEMA_LOCK_FILE
    file.write_text(file.read_text(encoding="utf-8").replace('"insert, select"', '"insert"'), encoding="utf-8")
    found = diff._compare(read_folder("audit", folder), lock, check=True)
    assert found.lock_files == {"migrations.lock": "current", SCHEMA_LOCK_FILE: "stale"}
    assert [(one.object, one.attribute) for one in found.differences] == [("table audit.entry", "grants.audit_app")]
    assert diff._compare(read_folder("audit", folder), lock, check=False).lock_files[SCHEMA_LOCK_FILE] == "written"
    assert diff._compare(read_folder("audit", folder), lock, check=True).exit_code == 0


def test_a_check_needs_no_right_to_write(authz_database):
    with psycopg.connect(authz_database.reader_dsn, autocommit=True) as connection:
        connection.execute("set default_transaction_read_only = on")
        assert check_schema("authz", connection).differences == []
