"""`migrate plan`: what `up` would do and the locks it would take; and `up` in production, which does that and nothing else."""

from __future__ import annotations

import json

import psycopg
import pytest

from shared.migrations import plan as planning
from shared.migrations.errors import Refused
from shared.migrations.ledger import connect
from shared.migrations.lock_estimate import estimate_locks
from shared.migrations.lockfile import required_migrations
from shared.migrations.plan import make_plan
from shared.migrations.runner import migrate_up


def plan_of(database, folder):
    found, faults = make_plan("authz", database.owner_dsn, folder.path)
    assert faults == []
    return found


def add_index(folder):
    folder.add(
        "0003.index",
        "create index concurrently second_idx on authz.second (id);",
        transactional="false",
        indexes="+authz.second_idx",
        locks="lets others read and write",
    )
    folder.lock()


def test_it_shows_what_up_would_do_in_order(empty_database, two_tables):
    migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    two_tables.add("0004.alter", "alter table authz.first add column more int;")
    add_index(two_tables)
    found = plan_of(empty_database, two_tables)
    assert (found.service, found.database, found.applied) == (
        "authz",
        empty_database.name,
        ["0001.first", "0002.second"],
    )
    index, alter = found.pending
    assert (index.id, index.state, index.transactional, index.locks) == (
        "0003.index",
        "pending",
        False,
        "lets others read and write",
    )
    assert [(lock.object, lock.mode) for lock in index.estimated_locks] == [("authz.second", "SHARE UPDATE EXCLUSIVE")]
    assert [(lock.object, lock.mode) for lock in alter.estimated_locks] == [("authz.first", "ACCESS EXCLUSIVE")]
    assert migrate_up("authz", empty_database.owner_dsn, two_tables.path) == [index.id, alter.id]


def test_it_writes_nothing_and_could_not(empty_database, two_tables, monkeypatch):
    tried = []

    def watched(*arguments, **options):
        connection = connect(*arguments, **options)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("create table public.mine (a int)")
        tried.append(connection.info.backend_pid)
        return connection

    monkeypatch.setattr(planning, "connect", watched)
    make_plan("authz", empty_database.owner_dsn, two_tables.path)
    assert len(tried) == 1
    assert tables(empty_database) == []


@pytest.mark.parametrize("role", ["app", "reader"])
def test_a_role_that_can_only_connect_and_read_will_do(empty_database, two_tables, role):
    migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    add_index(two_tables)
    found, _ = make_plan("authz", getattr(empty_database, f"{role}_dsn"), two_tables.path)
    assert found == plan_of(empty_database, two_tables)


def test_what_up_would_refuse_is_no_plan(empty_database, two_tables):
    migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    with (two_tables.path / "0001.first.sql").open("a") as file:
        file.write("-- an afterthought\n")
    _, faults = make_plan("authz", empty_database.owner_dsn, two_tables.path)
    assert [fault.code for fault in faults] == ["cosmetic_edit"]


def apply_meanwhile(database, folder):
    migrate_up("authz", database.owner_dsn, folder.path)
    return "other migrations are applied"


def add_meanwhile(_database, folder):
    add_index(folder)
    return "are pending$"


def edit_meanwhile(_database, folder):
    folder.add("0002.second", "create table authz.second (id bigint primary key);", depends="0001.first")
    folder.lock()
    return "not the plan for authz as it is now: other migrations, or other bytes of them, are pending"


@pytest.mark.parametrize("change", [apply_meanwhile, add_meanwhile, edit_meanwhile])
def test_a_plan_that_no_longer_fits_changes_nothing_and_says_why(empty_database, two_tables, change):
    digest = plan_of(empty_database, two_tables).digest
    said = change(empty_database, two_tables)
    before = tables(empty_database)
    with pytest.raises(Refused) as caught:
        migrate_up("authz", empty_database.owner_dsn, two_tables.path, approved=digest)
    assert said.rstrip("$") in caught.value.found
    assert plan_of(empty_database, two_tables).digest in caught.value.remedy
    assert tables(empty_database) == before


def tables(database):
    with psycopg.connect(database.superuser_dsn) as connection:
        return connection.execute("select oid from pg_class where oid >= 16384 order by 1").fetchall()


def test_a_plan_for_one_database_is_none_for_another_nor_of_another_release(
    empty_database, authz_database, monkeypatch, two_tables
):
    digest = plan_of(empty_database, two_tables).digest
    migrate_up("authz", empty_database.owner_dsn, two_tables.path, approved=digest)
    with pytest.raises(Refused, match=r"it is another database; other migrations are applied; other migrations, or"):
        migrate_up("authz", authz_database.owner_dsn, approved=digest)
    digest = plan_of(empty_database, two_tables).digest
    monkeypatch.setattr(planning, "SERVICE_VERSION", "0.0.1")
    with pytest.raises(Refused, match=r"now: it was made by another release of plystractl\."):
        migrate_up("authz", empty_database.owner_dsn, two_tables.path, approved=digest)


@pytest.mark.parametrize("nonsense", ["yes", "authz:", "authz:0-0-0-0", "audit:0", ",", "authz"])
def test_what_is_no_digest_is_refused(empty_database, two_tables, nonsense):
    with pytest.raises(Refused):
        migrate_up("authz", empty_database.owner_dsn, two_tables.path, approved=nonsense)
    assert tables(empty_database) == []


@pytest.mark.parametrize("environment", ["production", "staging", ""])
def test_production_carries_out_a_plan_that_was_looked_at_and_only_once(
    operate, empty_database, audit_database, environment
):
    both = {"authz": empty_database, "audit": audit_database, "PLYSTRA_ENVIRONMENT": environment}
    for given in ([], ["--yes"], ["--plan", "x"]):
        code, text = operate("migrate", "up", *given, **both)
        assert (code, tables(empty_database)) == (7, [])
        assert "plystractl migrate up --service both --yes --plan" in text
    code, digest = operate("migrate", "plan", "--digest", **both)
    assert (code, digest.count("\n")) == (0, 1)
    code, text = operate("migrate", "up", "--yes", "--plan", digest.strip(), **both)
    assert code == 0, text
    code, text = operate("migrate", "up", "--yes", "--plan", digest.strip(), **both)
    assert code == 7
    assert "other migrations are applied" in text
    assert "audit: nothing to apply" in text


def test_the_plan_is_one_json_document_with_the_digest_of_all(operate, empty_database, audit_database):
    both = {"authz": empty_database, "audit": audit_database}
    code, text = operate("migrate", "plan", "--format", "json", **both)
    document = json.loads(text)
    assert (code, document["schema"]) == (0, "plystractl.migrate.plan/1")
    authz, audit = (service["plan"] for service in document["services"])
    assert document["digest"] == f"{authz['digest']},{audit['digest']}"
    assert audit["pending"] == []
    (lock, *_) = (lock for migration in authz["pending"] for lock in migration["estimated_locks"])
    assert {"object", "mode", "blocks"} == set(lock)
    code, text = operate("migrate", "plan", **both)
    assert document["digest"] in text
    assert f"authz: 0 applied, {len(required_migrations('authz'))} to apply" in text
    assert "0001.permission_graph (pending, schema, expand, in one transaction)" in text


@pytest.mark.parametrize(
    "statement, expected",
    [
        ("create table s.a (id int); create index on s.a (id); alter table s.a add b int", []),
        ("create table s.a (x int references s.b, y int references t)", [(n, "SHARE ROW EXCLUSIVE") for n in ("s.b", "t")]),
        ("create table s.a partition of s.b for values in (1)", [("s.b", "ACCESS EXCLUSIVE")]),
        ("create unique index if not exists i on only s.a (x)", [("s.a", "SHARE")]),
        ("create index concurrently i on s.a (x)", [("s.a", "SHARE UPDATE EXCLUSIVE")]),
        ("drop index s.i, s.j", [("s.i and its table", "ACCESS EXCLUSIVE"), ("s.j and its table", "ACCESS EXCLUSIVE")]),
        ("drop index concurrently if exists s.i", [("s.i and its table", "SHARE UPDATE EXCLUSIVE")]),
        ("alter table if exists only s.a validate constraint c, validate constraint d", [("s.a", "SHARE UPDATE EXCLUSIVE")]),
        ("alter table s.a validate constraint c, drop column d", [("s.a", "ACCESS EXCLUSIVE")]),
        ("alter table s.a add constraint c check (x in (1, 2)) not valid", [("s.a", "ACCESS EXCLUSIVE")]),
        (
            "alter table s.a add constraint c foreign key (x) references s.b (y)",
            [("s.a", "SHARE ROW EXCLUSIVE"), ("s.b", "SHARE ROW EXCLUSIVE")],
        ),
        ("alter table s.a set (fillfactor = 90)", [("s.a", "SHARE UPDATE EXCLUSIVE")]),
        ("alter table s.a alter x set statistics 9", [("s.a", "SHARE UPDATE EXCLUSIVE")]),
        ("alter table s.a disable trigger t", [("s.a", "SHARE ROW EXCLUSIVE")]),
        ("create trigger t before insert on s.a execute function f()", [("s.a", "SHARE ROW EXCLUSIVE")]),
        ("drop trigger t on s.a", [("s.a", "ACCESS EXCLUSIVE")]),
        ("drop table if exists s.a, b", [("s.a", "ACCESS EXCLUSIVE"), ("b", "ACCESS EXCLUSIVE")]),
        ("truncate s.a", [("s.a", "ACCESS EXCLUSIVE")]),
        ("lock table s.a in share mode", [("s.a", "SHARE")]),
        ("update s.a set x = 1; alter table s.a add y int", [("s.a", "ACCESS EXCLUSIVE")]),
        ("insert into s.a values (1)", [("s.a", "ROW EXCLUSIVE")]),
        ("delete from only s.a", [("s.a", "ROW EXCLUSIVE")]),
        ("create policy p on s.a", [("s.a", "ACCESS EXCLUSIVE")]),
        ("comment on column s.a.x is 'it'", [("s.a", "SHARE UPDATE EXCLUSIVE")]),
        ("do $$ begin end $$", [("(do …)", "unknown")]),
        ("create function s.f() returns int language sql as 'select 1'; grant select on s.a to x; select 1", []),
    ],
)  # fmt: skip
def test_the_lock_of_a_statement_is_estimated(statement, expected):
    assert [(lock.object, lock.mode) for lock in estimate_locks(statement)] == expected


_MODES = {
    "RowExclusiveLock": "ROW EXCLUSIVE",
    "ShareUpdateExclusiveLock": "SHARE UPDATE EXCLUSIVE",
    "ShareLock": "SHARE",
    "ShareRowExclusiveLock": "SHARE ROW EXCLUSIVE",
    "AccessExclusiveLock": "ACCESS EXCLUSIVE",
}


@pytest.mark.parametrize(
    "statement",
    [
        "create index on authz.second (id)",
        "alter table authz.second add more int",
        "alter table authz.second add constraint c check (id > 0) not valid",
        "alter table authz.second add constraint c foreign key (id) references authz.first (id)",
        "alter table authz.second set (fillfactor = 90)",
        "alter table authz.second alter id set statistics 9",
        "alter table authz.second validate constraint is_positive",
        "alter table authz.second disable trigger all",
        "create trigger t before insert on authz.second execute function suppress_redundant_updates_trigger()",
        "create table authz.third (id int references authz.second)",
        "drop table authz.second",
        "truncate authz.second",
        "insert into authz.second values (1)",
        "update authz.second set id = 2",
        "delete from authz.second",
        "create policy p on authz.second",
        "comment on table authz.second is 'it'",
        "comment on column authz.second.id is 'it'",
    ],
)
def test_the_estimate_is_what_the_server_takes(empty_database, two_tables, statement):
    migrate_up("authz", empty_database.owner_dsn, two_tables.path)
    with psycopg.connect(empty_database.superuser_dsn) as connection:
        connection.execute("alter table authz.second add constraint is_positive check (id > 0) not valid")
        connection.commit()
        held = "select mode from pg_locks where pid = pg_backend_pid() and relation = 'authz.second'::regclass::oid"
        relation = connection.execute("select 'authz.second'::regclass::oid").fetchone()[0]
        connection.execute(statement)
        held = "select mode from pg_locks where pid = pg_backend_pid() and relation = %s"
        modes = {mode for (mode,) in connection.execute(held, [relation])}
        connection.rollback()
    strongest = max((_MODES[mode] for mode in modes if mode in _MODES), key=list(_MODES.values()).index)
    (estimated,) = (lock for lock in estimate_locks(statement) if lock.object == "authz.second")
    assert estimated.mode == strongest
