"""The log accepts INSERT and nothing else: of the service's role, of the owner, on the parent and on each partition."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from psycopg import errors

from tests.conftest import ServiceDatabase, connect
from tests.database.audit_entries import Connection, indexes, insert

TABLES = ("audit.entry", "audit.entry_000000", "audit.entry_000001", "audit.entry_by_event")
EVENT_ID = "0199c3f0-1234-7abc-8def-0123456789ab"


@pytest.fixture
def owner(audit_database: ServiceDatabase) -> Iterator[Connection]:
    """The owner of every object, on a log of three entries and two partitions."""
    with connect(audit_database.owner_dsn) as connection:
        connection.execute("set role audit_owner")
        connection.execute("select audit.ensure_partition(0), audit.ensure_partition(1 << 20)")
        insert(connection, 0, 0, event_id=EVENT_ID)
        insert(connection, 1, 2)
        yield connection


@pytest.fixture
def app(audit_database: ServiceDatabase, owner: Connection) -> Iterator[Connection]:
    """The service's role on the same log."""
    with connect(audit_database.app_dsn) as connection:
        yield connection


CHANGES = {
    "update every row": "update {table} set log_index = log_index",
    "update no row": "update {table} set log_index = log_index where false",
    "delete every row": "delete from {table}",
    "delete no row": "delete from {table} where log_index = 99",
    "truncate": "truncate {table}",
    "truncate cascade": "truncate {table} cascade",
    "merge that updates": "merge into {table} t using (select 0::bigint as i) s on t.log_index = s.i"
    " when matched then update set log_index = 9",
    "merge that deletes": "merge into {table} t using (select 0::bigint as i) s on t.log_index = s.i"
    " when matched then delete",
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_owner_is_refused_by_a_trigger_that_names_the_table(owner: Connection, change: str) -> None:
    for table in TABLES:
        with pytest.raises(errors.InsufficientPrivilege, match=rf"{table} is refused: the log accepts INSERT"):
            owner.execute(CHANGES[change].format(table=table).encode())
    assert indexes(owner) == [0, 1, 2]


@pytest.mark.parametrize("change", CHANGES)
def test_the_service_has_no_such_privilege(app: Connection, owner: Connection, change: str) -> None:
    for table in TABLES:
        with pytest.raises(errors.InsufficientPrivilege, match="permission denied"):
            app.execute(CHANGES[change].format(table=table).encode())
    assert indexes(owner) == [0, 1, 2]


@pytest.mark.parametrize("table", ["audit.entry", "audit.entry_000000"])
def test_an_insert_that_would_update_on_conflict_is_refused(owner: Connection, table: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege, match="the log accepts INSERT"):
        owner.execute(
            f"insert into {table} select * from audit.entry where log_index = 0"
            " on conflict (log_index) do update set leaf = '{}'".encode()
        )


def test_the_refusal_holds_for_the_superuser_and_on_a_replica(
    audit_database: ServiceDatabase, owner: Connection
) -> None:
    with connect(audit_database.superuser_dsn) as superuser:
        superuser.execute("set session_replication_role = replica")
        for table in TABLES:
            with pytest.raises(errors.InsufficientPrivilege, match="the log accepts INSERT"):
                superuser.execute(f"delete from {table}".encode())
        with pytest.raises(errors.CheckViolation, match="without a gap"):
            insert(superuser, 7, 7)
    assert indexes(owner) == [0, 1, 2]


def test_row_triggers_stand_behind_the_statement_triggers(owner: Connection) -> None:
    rows = owner.execute(
        "select tgrelid::regclass::text, tgenabled from pg_trigger where tgname = 'entry_insert_only_row' order by 1"
    ).fetchall()
    assert rows == [("audit.entry", "A"), ("audit.entry_000000", "A"), ("audit.entry_000001", "A")]


def test_the_service_inserts_through_the_parent_only(app: Connection) -> None:
    for statement in (
        "insert into audit.entry_000000 select * from audit.entry",
        f"insert into audit.entry_by_event values ('{EVENT_ID}', 9)",
        "insert into audit.credential select 'aaaaaaaaaaaaaaaa', 'x', sha256(''), '{audit:read}', 'active', now()",
    ):
        with pytest.raises(errors.InsufficientPrivilege, match="permission denied"):
            app.execute(statement.encode())


ATTEMPTS = [
    "alter table audit.entry disable trigger all",
    "drop table audit.entry",
    "alter table audit.entry detach partition audit.entry_000000",
    "create rule swallow as on insert to audit.entry do instead nothing",
    "create trigger mine before insert on audit.entry for each row execute function audit.refuse_change()",
    "set session_replication_role = replica",
    "select audit.admit_entries()",
    "update audit.credential set status = 'active'",
    "create table audit.mine ()",
    "create table public.mine ()",
    "set role audit_owner",
]


def test_the_service_cannot_get_round_the_law(app: Connection, owner: Connection) -> None:
    for attempt in ATTEMPTS:
        with pytest.raises((errors.InsufficientPrivilege, errors.FeatureNotSupported)):
            app.execute(attempt.encode())
    assert indexes(owner) == [0, 1, 2]


def test_the_reader_reads_the_log_and_no_keys(audit_database: ServiceDatabase, owner: Connection) -> None:
    with connect(audit_database.reader_dsn) as reader:
        assert reader.execute("select count(*) from audit.entry").fetchone() == (3,)
        for statement in (
            "select * from audit.credential",
            "delete from audit.entry",
            "select audit.ensure_partition(0)",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                reader.execute(statement.encode())


def test_a_trigger_finds_no_functions_of_others(audit_database: ServiceDatabase, owner: Connection) -> None:
    paths = owner.execute(
        "select proname, proconfig from pg_proc where pronamespace = 'audit'::regnamespace order by proname"
    ).fetchall()
    assert {name: path for name, (path, *_) in paths} == dict.fromkeys(
        ("admit_entries", "ensure_partition", "index_at", "refuse_change"), "search_path=pg_catalog"
    )


BROKEN = {
    "entry_decision_known": "decision = 'perhaps'",
    "entry_deny_code_of_denial": "decision = 'deny'",
    "entry_leaf_hash_length": "leaf_hash = '\\x00'",
    "entry_leaf_length": "leaf = '{'",
}


def test_a_column_out_of_its_domain_is_refused_by_the_constraints_name(owner: Connection) -> None:
    for constraint, fault in BROKEN.items():
        column, value = fault.split(" = ")
        values = {"decision": "null", "leaf_hash": "sha256('')", "leaf": "'{}'"} | {column: value}
        with pytest.raises(errors.CheckViolation) as caught:
            owner.execute(
                "insert into audit.entry (log_index, recorded_at, occurred_at, epoch, sequence, revision, event_id, kind,"
                " source, decision, leaf_hash, leaf) select 3, '2026-01-01Z', now(), 1, 1, 0, gen_random_uuid(), 'a.b',"
                f" 'x', {values['decision']}, {values['leaf_hash']}, {values['leaf']}".encode()
            )
        assert caught.value.diag.constraint_name == constraint


def test_a_leaf_of_ordinary_size_stays_in_its_row_and_none_is_compressed(
    audit_database: ServiceDatabase, owner: Connection
) -> None:
    for index, size in ((3, 7_000), (4, 65_535)):
        owner.execute(
            "insert into audit.entry (log_index, recorded_at, occurred_at, epoch, sequence, revision, event_id, kind,"
            " source, leaf_hash, leaf) values (%s, '2026-01-01Z', now(), 1, 1, 0, gen_random_uuid(), 'a.b', 'x', sha256(''),"
            " convert_to(repeat('x', %s), 'utf8'))",
            [index, size],
        )
    compression = owner.execute("select distinct pg_column_compression(leaf) from audit.entry").fetchall()
    assert compression == [(None,)]
    ((toast,),) = owner.execute(
        "select reltoastrelid::regclass::text from pg_class where oid = 'audit.entry_000000'::regclass"
    )
    with connect(audit_database.superuser_dsn) as superuser:
        ((chunks,),) = superuser.execute(f"select count(distinct chunk_id) from {toast}".encode()).fetchall()
    assert chunks == 1
