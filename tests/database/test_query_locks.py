"""What is written down of every statement is what the schema says and what the code reads, and `check_queries` compares it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from services.audit.model import EventRow, StoredEvent
from services.audit.store import SQL as AUDIT
from services.authz.backlog import RelayState
from services.authz.relay import Commit
from services.authz.statements import STATEMENTS
from services.authz.store import ChangedRow
from shared.credentials import Credential
from shared.ctl.__main__ import main
from shared.migrations.errors import CannotCompare
from shared.migrations.ledger import connect as open_session
from shared.queries.check import check_queries
from shared.queries.findings import FAULTS
from shared.queries.lock import QUERIES_LOCK_FILE, QueriesLock, read_lock, render_lock, sources
from shared.queries.locking import lock_queries
from tests.conftest import ServiceDatabase, connect
from tests.database.test_audit_queries import COLUMNS as AUDIT_COLUMNS
from tests.database.test_authz_past_queries import STATEMENTS as PAST_COLUMNS
from tests.database.test_authz_queries import STATEMENTS as AUTHZ_COLUMNS

SENT = {"authz": STATEMENTS, "audit": {"queries.sql": AUDIT}}
# What the driver makes of a value of each type.
PYTHON: dict[str, Any] = {
    "bigint": int,
    "boolean": bool,
    "bytea": bytes,
    "text": str,
    "text[]": list,
    "timestamp with time zone": datetime,
}
FILLED = {
    ("authz", "read_changes_after"): ChangedRow,
    ("authz", "read_relay"): RelayState,
    ("authz", "read_undelivered"): Commit,
    ("authz", "find_credential"): Credential,
    ("audit", "list_entries"): EventRow,
    ("audit", "get_entry"): StoredEvent,
    ("audit", "find_credential"): Credential,
}


def committed(service: str) -> QueriesLock:
    lock = read_lock(sources(service))
    assert lock is not None
    return lock


@pytest.fixture(params=SENT)
def database(request: pytest.FixtureRequest) -> Iterator[ServiceDatabase]:
    """A migrated database of one service after the other."""
    return request.getfixturevalue(f"{request.param}_database")


def codes(database: ServiceDatabase) -> list[tuple[str, str]]:
    """The faults that are found as the service's own role, each with the name of its statement."""
    found = check_queries(database.service, database.app_dsn)
    return sorted({(one.code, one.subject.partition(" ")[2]) for one in found})


def change(database: ServiceDatabase, *statements: str) -> None:
    with connect(database.superuser_dsn) as superuser:
        for statement in statements:
            superuser.execute(statement.encode())


def test_the_lock_file_has_every_statement_as_the_schema_has_it(database):
    service = database.service
    with open_session(database.app_dsn, "test", read_only=True) as connection:
        wanted = render_lock(lock_queries(service, connection, SENT[service]))
    assert (sources(service) / QUERIES_LOCK_FILE).read_bytes() == wanted, "plystractl schema lock-queries"


@pytest.mark.parametrize("service", SENT)
def test_the_lock_file_has_every_statement_of_every_sql_file(service):
    assert set(SENT[service]) == {file.name for file in sources(service).glob("*.sql")}
    found = [(query.file, query.name) for query in committed(service).queries]
    assert found == [(file, name) for file, statements in SENT[service].items() for name in statements]


def test_the_columns_that_are_written_down_are_those_that_the_code_reads():
    known = {("authz", "queries.sql", name): columns for name, (_, columns) in AUTHZ_COLUMNS.items()}
    known |= {("authz", "past.sql", name): columns for name, (_, columns) in PAST_COLUMNS.items()}
    known |= {("audit", "queries.sql", name): list(columns) for name, columns in AUDIT_COLUMNS.items()}
    for service in SENT:
        for query in committed(service).queries:
            columns = known.pop((service, query.file, query.name), None)
            if columns is not None:
                assert sorted(column.name for column in query.columns) == sorted(columns), query.name
    assert not known


@pytest.mark.parametrize(("service", "name"), FILLED)
def test_a_struct_takes_the_types_that_are_written_down_and_null_where_it_may_come(service, name):
    (query,) = (query for query in committed(service).queries if query.name == name)
    fields = get_type_hints(FILLED[service, name])
    assert {column.name for column in query.columns} == set(FILLED[service, name].__struct_fields__)
    for column in query.columns:
        kinds = get_args(fields[column.name]) if isinstance(fields[column.name], UnionType) else (fields[column.name],)
        given = PYTHON[column.type]
        assert any((get_origin(kind) or kind) in {given, frozenset if given is list else given} for kind in kinds), (
            column
        )
        if column.origin is not None and not column.not_null:
            assert type(None) in kinds, column


def test_the_migrated_schema_has_no_fault(database):
    assert codes(database) == []


def test_a_column_that_is_gone_is_named_with_the_line_of_each_statement_that_needs_it(authz_database):
    change(authz_database, "alter table authz.outbox drop column events_length")
    found = check_queries("authz", authz_database.app_dsn)
    assert {one.code for one in found} == {"column_missing"}
    (one,) = (one for one in found if one.subject.endswith(" record_events"))
    text = (sources("authz") / "queries.sql").read_text(encoding="utf-8").splitlines()
    line = int(one.subject.partition(":")[2].partition(" ")[0])
    assert text[line - 1] == "-- name: record_events"
    assert "events_length" in one.seen
    assert one.remedy.endswith("plystractl schema check --service authz")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (["alter table authz.idempotency_key rename to gone"], ("table_missing", "keep_idempotent_answer")),
        (["drop function authz.reclaim_outbox()"], ("function_missing", "reclaim_outbox")),
        (["alter table authz.event alter occurred_at drop not null"], ("column_may_be_null", "read_last_event")),
        (
            ["alter table authz.relay alter delivered_lag_ms type integer"],
            ("column_type_changed", "read_relay"),
        ),
        (
            ["alter table authz.relay alter delivered_lag_ms type integer"],
            ("parameters_changed", "note_relay_seen"),
        ),
        (["alter table authz.group add column more text"], None),
        (["revoke update on authz.relay from authz_app"], ("right_missing", "note_relay_error")),
        (["revoke insert on authz.member_role from authz_app"], ("right_missing", "make member_role")),
        (["revoke execute on function authz.reclaim_outbox() from authz_app"], ("right_missing", "reclaim_outbox")),
        (["revoke usage on schema authz from authz_app"], ("right_missing", "load_registry")),
    ],
)
def test_what_a_statement_needs_and_no_longer_has_is_found(authz_database, changes, expected):
    change(authz_database, *changes)
    found = codes(authz_database)
    assert (expected in found) if expected else found == []


def test_a_user_that_may_not_become_the_service_finds_all_but_rights_and_says_so(authz_database):
    change(authz_database, "revoke update on authz.relay from authz_app", "drop function authz.reclaim_outbox()")
    with connect(authz_database.superuser_dsn) as superuser:
        superuser.execute("grant usage on schema authz to authz_migrator")
    found = {one.code for one in check_queries("authz", authz_database.owner_dsn)}
    assert found == {"rights_unknown", "function_missing"}


def test_a_superuser_looks_with_the_rights_of_the_service(authz_database):
    change(authz_database, "revoke update on authz.relay from authz_app")
    found = check_queries("authz", authz_database.superuser_dsn)
    assert {one.code for one in found} == {"right_missing"}


def test_a_file_that_was_edited_after_it_was_compared_is_stale(audit_database, tmp_path):
    for name in ("queries.sql", QUERIES_LOCK_FILE):
        text = (sources("audit") / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("order by log_index desc limit 1;", "order by log_index limit 1;"))
    with (tmp_path / "queries.sql").open("a") as file:
        file.write("\n-- name: one_more\n-- Says one.\nselect 1;\n")
    found = check_queries("audit", audit_database.app_dsn, tmp_path)
    assert [one.code for one in found] == ["query_lock_stale"] * 2
    assert {one.subject.split()[1] for one in found} == {"one_more", "read_head"}
    (tmp_path / QUERIES_LOCK_FILE).write_text("{}")
    with pytest.raises(CannotCompare, match="can't be read"):
        check_queries("audit", audit_database.app_dsn, tmp_path)
    (tmp_path / QUERIES_LOCK_FILE).unlink()
    with pytest.raises(CannotCompare, match="There is no"):
        check_queries("audit", audit_database.app_dsn, tmp_path)


def test_nothing_is_left_behind_by_a_check(authz_database):
    query = "select sum(n_tup_ins + n_tup_upd + n_tup_del)::int from pg_stat_xact_user_tables"
    with open_session(authz_database.app_dsn, "test", read_only=False) as connection:
        lock_queries("authz", connection, STATEMENTS)
        assert connection.execute(query).fetchone() == (0,)
        assert connection.execute(
            "select count(*) from pg_prepared_statements where name like 'plystra%'"
        ).fetchone() == (0,)
        assert connection.execute("select count(*) from authz.outbox_writer").fetchone() == (0,)


def test_the_command_prints_what_it_found_and_ends_with_1(authz_database, audit_database, monkeypatch, capsys):
    for database in (authz_database, audit_database):
        monkeypatch.setenv(f"PLYSTRA_{database.service.upper()}_DSN", database.owner_dsn)
        monkeypatch.setenv(f"PLYSTRA_{database.service.upper()}_APP_DSN", database.app_dsn)
    assert main(["schema", "check", "--queries"]) == 0
    assert "✓ authz: all" in capsys.readouterr().out
    change(authz_database, "drop function authz.reclaim_outbox()")
    assert main(["schema", "check", "--queries"]) == 1
    shown = capsys.readouterr().out
    assert "function_missing: services/authz/queries.sql:" in shown
    assert "✓ audit: all" in shown
    assert main(["schema", "check", "--queries", "--format", "json"]) == 1
    document = json.loads(capsys.readouterr().out)
    authz, audit = document["services"]
    assert {fault["code"] for fault in authz["queries"]["findings"]} == {"function_missing"}
    assert authz["drift"][0]["difference"]["object"] == "function authz.reclaim_outbox()"
    assert (audit["exit_code"], audit["queries"]["findings"]) == (0, [])
    assert main(["schema", "check", "--queries", "--format", "github"]) == 1
    assert re.search(r"^::error file=services/authz/queries.sql,line=\d+,", capsys.readouterr().out, re.MULTILINE)


def test_every_fault_says_why_it_matters_and_what_to_do():
    for why, remedy in FAULTS.values():
        assert why.endswith(".")
        assert remedy.strip()
