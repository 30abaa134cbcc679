"""What the roles of authz may do, as a whole: nothing is ever hard-deleted, and each right is there for a reason."""

from __future__ import annotations

import psycopg
import pytest

from tests.conftest import ServiceDatabase
from tests.database.authz_rows import TABLES, Connection

# Everything that the service's role may do with each table; no other table of the schema grants it anything.
APP = {
    **{table: {"SELECT", "INSERT", "UPDATE"} for table in TABLES},
    "event": {"SELECT", "INSERT"},
    "outbox": {"SELECT", "INSERT"},
    "outbox_refused": {"SELECT", "INSERT"},
    "outbox_writer": {"SELECT", "INSERT", "UPDATE"},
    "outbox_rotation": {"SELECT"},
    "relay": {"SELECT", "UPDATE"},
    "maintenance": {"SELECT"},
    "credential": {"SELECT"},
    # Kept for a day, and let go of: no row of the graph, and no part of its history.
    "idempotency_key": {"SELECT", "INSERT", "UPDATE", "DELETE"},
}
# Looking is for people: the API keys' hashes and what each key was answered are not for them.
READER = {table: {"SELECT"} for table in APP if table not in {"credential", "idempotency_key"}}


@pytest.fixture
def app(graph_database: ServiceDatabase):
    """A transaction of the service on the filled database, rolled back at the end."""
    with psycopg.connect(graph_database.app_dsn) as connection:
        yield connection
        connection.rollback()


def privileges(connection: Connection, role: str) -> dict[str, set[str]]:
    """Return what a role may do with each table of the schema, by whichever way it came to it."""
    rows = connection.execute(
        """
        select c.relname, p.privilege from pg_class c
        cross join unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p (privilege)
        where c.relnamespace = 'authz'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')
            and has_table_privilege(%s, c.oid, p.privilege)
        """,
        [role],
    ).fetchall()
    found: dict[str, set[str]] = {}
    for table, privilege in rows:
        found.setdefault(table, set()).add(privilege)
    return found


def test_the_service_has_exactly_the_rights_that_it_uses(app):
    assert privileges(app, "authz_app") == APP


def test_a_reader_may_look_at_everything_but_the_keys_and_change_nothing(app):
    assert privileges(app, "authz_reader") == READER


def test_nobody_else_has_any_right(app):
    assert privileges(app, "audit_app") == {}
    ((usage,),) = app.execute("select has_schema_privilege('audit_app', 'authz', 'usage')").fetchall()
    assert not usage


@pytest.mark.parametrize("table", sorted(APP.keys() - {"idempotency_key"}))
@pytest.mark.parametrize("statement", ["delete from authz.{}", "delete from authz.{} where false", "truncate authz.{}"])
def test_the_service_can_delete_nothing_but_kept_answers(app, table, statement):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute(statement.format(f'"{table}"'))


@pytest.mark.parametrize(
    "statement",
    [
        "insert into authz.outbox_0 select * from authz.outbox",
        "truncate authz.outbox_0",
        "update authz.outbox set events = ''",
        "update authz.outbox_rotation set slot = 2",
        "insert into authz.relay default values",
        "insert into authz.maintenance (is_on, operator) values (false, 'me')",
        "update authz.outbox_refused set problem = ''",
        "update authz.credential set permission_keys = '{authz:check}'",
        "insert into authz.credential (credential_id, name, secret_hash, permission_keys) values ('', '', '', '{}')",
        "alter table authz.event disable trigger all",
        "drop table authz.event",
        "drop function authz.refuse_change()",
        "create table authz.mine (id int)",
        "create table public.mine (id int)",
        "create temporary table event (id int)",
        "create function authz.mine() returns int language sql as 'select 1'",
        "set role authz_owner",
        "set session_replication_role = replica",
        "update public._migration_ledger set state = 'started'",
        "delete from public._migration_ledger",
        "copy authz.event to program 'cat'",
    ],
)
def test_the_service_cannot_get_around_what_it_may_not(app, statement):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute(statement)


def test_the_one_function_for_the_service_to_call_is_the_reclaiming_of_the_outbox(app):
    rows = app.execute(
        "select p.proname, p.prosecdef from pg_proc p where p.pronamespace = 'authz'::regnamespace"
        " and p.prorettype <> 'trigger'::regtype and has_function_privilege('authz_app', p.oid, 'execute')"
    ).fetchall()
    assert rows == [("reclaim_outbox", True)]
    assert not app.execute(
        "select has_function_privilege('authz_reader', 'authz.reclaim_outbox()', 'execute')"
    ).fetchall()[0][0]


@pytest.mark.parametrize("function", ["refuse_change", "check_event_revision", "check_group_path"])
def test_what_is_for_triggers_cannot_be_called(app, function):
    with pytest.raises(psycopg.errors.Error, match="trigger function"):
        app.execute(f"select authz.{function}()")


def test_every_function_pins_where_it_finds_names(app):
    rows = app.execute(
        "select p.proname from pg_proc p where p.pronamespace = 'authz'::regnamespace"
        " and not coalesce('search_path=pg_catalog' = any(p.proconfig), false)"
    ).fetchall()
    assert rows == []


def test_every_object_belongs_to_the_owner(app):
    rows = app.execute(
        "select c.relname from pg_class c where c.relnamespace = 'authz'::regnamespace"
        " and pg_get_userbyid(c.relowner) <> 'authz_owner'"
    ).fetchall()
    assert rows == []


def test_a_reader_really_cannot_change_or_see_keys(graph_database):
    with psycopg.connect(graph_database.reader_dsn, autocommit=True) as reader:
        assert reader.execute("select 1 from authz.member where id = 'm1'").fetchall() == [(1,)]
        for statement in (
            "select * from authz.credential",
            "insert into authz.user select * from authz.user",
            "update authz.member set status = 'disabled'",
            "select authz.reclaim_outbox()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(statement)
