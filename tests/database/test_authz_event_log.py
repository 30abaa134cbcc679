"""The event log of authz accepts INSERT and nothing else, from anybody, and its revisions have no gap."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence

import psycopg
import pytest

from shared.embedded.server import EmbeddedPostgres
from tests.conftest import ServiceDatabase, fresh_database
from tests.database.authz_rows import Connection
from tests.database.conftest import owner_of

COLUMNS = "revision, event_id, occurred_at, kind, entity_type, entity_id, request_id"


def append(connection: Connection, revisions: Sequence[int]) -> None:
    """Insert events of these revisions with one statement."""
    connection.execute(
        f"insert into authz.event ({COLUMNS}) select r, gen_random_uuid(), now(), 'user.created', 'user', 'u', 'req'"
        " from unnest(%s::bigint[]) with ordinality given (r, place) order by place",
        [list(revisions)],
    )


@pytest.fixture(scope="module")
def logged_database(server: EmbeddedPostgres, template_of: Callable[[str], str]) -> Iterator[ServiceDatabase]:
    """A database whose log holds the revisions 1 to 3."""
    with fresh_database(server, "authz", template=template_of("authz")) as database:
        with psycopg.connect(database.app_dsn) as app:
            append(app, [1, 2, 3])
        yield database


@pytest.fixture(params=["app", "owner", "superuser"])
def log(request: pytest.FixtureRequest, logged_database: ServiceDatabase) -> Iterator[Connection]:
    """A transaction on that log, as each role that could reach it; at its end nothing has changed."""
    if request.param == "owner":
        connection = owner_of(logged_database)
    else:
        connection = psycopg.connect(getattr(logged_database, f"{request.param}_dsn"))
    yield connection
    connection.rollback()
    ((count,),) = connection.execute("select count(*) from authz.event").fetchall()
    assert count == 3
    connection.close()


CHANGES = [
    "update authz.event set kind = 'user.forged' where revision = 2",
    "update authz.event set kind = 'user.forged'",
    "update authz.event set kind = 'user.forged' where false",
    "update only authz.event set before = after",
    "delete from authz.event where revision = 3",
    "delete from authz.event",
    "delete from authz.event where false",
    "delete from authz.event using authz.user",
    "truncate authz.event",
    "truncate authz.event cascade",
    "with gone as (delete from authz.event where revision = 1 returning 1) select * from gone",
    f"insert into authz.event ({COLUMNS}) values (3, gen_random_uuid(), now(), 'user.forged', 'user', 'u', 'req')"
    " on conflict (revision) do update set kind = excluded.kind",
    "merge into authz.event e using (values (2)) v (r) on e.revision = v.r when matched then delete",
    "merge into authz.event e using (values (2)) v (r) on e.revision = v.r when matched then update set kind = 'a.b'",
]


@pytest.mark.parametrize("statement", CHANGES)
def test_nothing_that_is_in_the_log_changes_or_goes(log, statement):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        log.execute(statement)


@pytest.mark.parametrize("statement", CHANGES[:10])
def test_not_even_where_ordinary_triggers_are_off(logged_database, statement):
    with psycopg.connect(logged_database.superuser_dsn) as connection:
        connection.execute("set session_replication_role = replica")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="accepts INSERT and nothing else"):
            connection.execute(statement)


@pytest.mark.parametrize(
    "revisions",
    [[4], [4, 5], [5, 4], [4, 5, 6, 7, 8], []],
)
def test_revisions_that_follow_without_a_gap_are_taken(log, revisions):
    append(log, revisions)


@pytest.mark.parametrize(
    "revisions",
    [[5], [4, 6], [5, 6], [6, 4], [0], [-1], [0, 4], [-1, 0], [10**15]],
)
def test_a_gap_is_refused(log, revisions):
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        append(log, revisions)
    assert caught.value.diag.constraint_name == "event_revision_gap_free"


@pytest.mark.parametrize("revisions", [[3], [1], [4, 4], [3, 4]])
def test_a_revision_is_given_once(log, revisions):
    with pytest.raises(psycopg.errors.UniqueViolation) as caught:
        append(log, revisions)
    assert caught.value.diag.constraint_name == "event_pkey"


def test_a_gap_is_refused_by_copy_too(log):
    with (
        pytest.raises(psycopg.errors.CheckViolation),
        log.cursor().copy(f"copy authz.event ({COLUMNS}) from stdin") as copy,
    ):
        copy.write_row((5, uuid.uuid4(), "2026-03-01", "user.created", "user", "u", "req"))


def test_the_first_revision_is_one(authz_database):
    with psycopg.connect(authz_database.app_dsn) as connection:
        for revisions in ([2], [0]):
            with pytest.raises(psycopg.errors.CheckViolation), connection.transaction():
                append(connection, revisions)
        append(connection, [1])


def test_a_revision_that_another_transaction_has_not_committed_does_not_count(authz_database):
    with psycopg.connect(authz_database.app_dsn) as one, psycopg.connect(authz_database.app_dsn) as other:
        append(one, [1])
        with pytest.raises(psycopg.errors.CheckViolation):
            append(other, [2])


def test_an_event_id_is_given_once(authz_database):
    with psycopg.connect(authz_database.app_dsn) as connection:
        same = "select %s, %s::uuid, now(), 'user.created', 'user', 'u', 'req'"
        event_id = uuid.uuid4()
        connection.execute(f"insert into authz.event ({COLUMNS}) " + same, [1, event_id])
        with pytest.raises(psycopg.errors.UniqueViolation) as caught:
            connection.execute(f"insert into authz.event ({COLUMNS}) " + same, [2, event_id])
        assert caught.value.diag.constraint_name == "event_id_key"


@pytest.mark.parametrize("kind", ["created", "User.created", "user.", "user.created.again", "user.cre ated", ""])
def test_a_kind_is_a_noun_and_a_verb(logged_database, kind):
    with psycopg.connect(logged_database.app_dsn) as connection, pytest.raises(psycopg.errors.CheckViolation) as caught:
        connection.execute(
            f"insert into authz.event ({COLUMNS}) values (4, gen_random_uuid(), now(), %s, 'user', 'u', 'req')", [kind]
        )
    assert caught.value.diag.constraint_name == "event_kind_form"
