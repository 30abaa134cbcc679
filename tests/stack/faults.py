"""Faults to break a whole installation with, each in one place, and which checks of the doctor must see it."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from shared.ctl.doctor import connectivity
from shared.ctl.doctor.limits import Limits
from tests.conftest import connect
from tests.stack.backups import leave_backup
from tests.stack.installation import World, ask
from tests.stack.pair import session_of
from tests.stack.process import stopped, wait_until

_ALWAYS: Final = ("entry_insert_only", "entry_insert_only_row", "entry_admit")
_COLUMNS: Final = (
    "recorded_at, occurred_at, epoch, sequence, kind, source, space_id, user_id, member_id, user_member_id, resource_type,"
    " resource_id, action, decision, deny_code, request_id, trace_id, entity_type, entity_id, leaf_hash, leaf"
)


Inject = Callable[[World], contextlib.AbstractContextManager[None]]


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that is broken: which checks must fail, and whether what they print can be followed to the letter."""

    name: str
    titles: tuple[str, ...]
    inject: Inject
    is_followed: bool


FAULTS: Final[list[Fault]] = []


def fault(*titles: str, followed: bool = False) -> Callable[[Callable[[World], Iterator[None]]], None]:
    """Register a fault; what comes after its `yield` mends what no printed command can."""

    def register(function: Callable[[World], Iterator[None]]) -> None:
        @contextlib.contextmanager
        def inject(world: World) -> Iterator[None]:
            steps = function(world)
            next(steps)
            try:
                yield
            finally:  # also after a failure: the next test begins with a sound installation
                next(steps, None)

        FAULTS.append(Fault(function.__name__, titles, inject, followed))

    return register


def by_sql(name: str, title: str, statement: str, *also: str) -> None:
    """Register a fault that one statement makes and the printed statement mends."""

    def inject(world: World) -> Iterator[None]:
        world.sql(title.partition(" ")[0], statement)
        yield

    inject.__name__ = name
    fault(title, *also, followed=True)(inject)


@contextlib.contextmanager
def lawless(world: World) -> Iterator[Any]:
    """A superuser's session in audit's database in which the log's triggers don't fire."""
    tables = ("audit.entry_000000", "audit.entry_by_event")
    with connect(world.pair.databases["audit"].superuser_dsn) as connection:
        for table in tables:
            connection.execute(f"alter table {table} disable trigger user")
        try:
            yield connection
        finally:
            for name in _ALWAYS:
                connection.execute(f"alter table {tables[0]} enable always trigger {name}")
            connection.execute(f"alter table {tables[1]} enable always trigger entry_by_event_insert_only")


@fault("settings", followed=True)
def a_setting_is_misspelt(world: World) -> Iterator[None]:
    world.environment["PLYSTRA_AUTHZ_DNS"] = "postgresql://nowhere"
    yield


@fault("settings", followed=True)
def a_setting_is_given_twice(world: World) -> Iterator[None]:
    world.environment["PLYSTRA_LOG_LEVEL"] = "info"
    world.environment["PLYSTRA_LOG_LEVEL_FILE"] = "/etc/plystra/level"
    yield


@fault("settings", followed=True)
def a_setting_has_the_wrong_form(world: World) -> Iterator[None]:
    world.environment["PLYSTRA_AUTHZ_COMMIT_MAX_EVENTS"] = "many"
    yield


@fault("environment", followed=True)
def the_environment_is_misspelt(world: World) -> Iterator[None]:
    world.environment["PLYSTRA_ENVIRONMENT"] = "developement"
    yield


@fault("authz dsn")
def the_owner_dsn_is_missing(world: World) -> Iterator[None]:
    dsn = world.environment.pop("PLYSTRA_AUTHZ_DSN")
    yield
    world.environment["PLYSTRA_AUTHZ_DSN"] = dsn


@fault("databases")
def the_app_is_sent_to_another_database(world: World) -> Iterator[None]:
    dsn = world.environment["PLYSTRA_AUTHZ_APP_DSN"]
    world.environment["PLYSTRA_AUTHZ_APP_DSN"] = dsn.rpartition("/")[0] + "/postgres"
    yield
    world.environment["PLYSTRA_AUTHZ_APP_DSN"] = dsn


@fault("keys", followed=True)
def a_key_is_revoked(world: World) -> Iterator[None]:
    id = world.environment["PLYSTRA_CALLER_KEY"].removeprefix("ply_").partition(".")[0]
    world.operate(f"plystractl credential revoke {id} --service authz")
    yield


@fault("keys", followed=True)
def a_key_is_missing(world: World) -> Iterator[None]:
    del world.environment["PLYSTRA_AUDITOR_KEY"]
    yield


@fault("keys", followed=True)
def a_key_lacks_a_permission(world: World) -> Iterator[None]:
    world.environment["PLYSTRA_ADMIN_KEY"] = world.environment["PLYSTRA_CALLER_KEY"]
    yield


@fault("authz database")
def the_owner_does_not_get_in(world: World) -> Iterator[None]:
    dsn = world.environment["PLYSTRA_AUTHZ_DSN"]
    world.environment["PLYSTRA_AUTHZ_DSN"] = dsn.replace("authz_migrator:", "authz_migrator:wrong")
    yield
    world.environment["PLYSTRA_AUTHZ_DSN"] = dsn


@fault("authz server_version", "audit server_version")
def the_server_is_too_new(world: World) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connectivity, "NEWEST_MAJOR", 15)
        yield


@fault("audit app_login")
def the_app_does_not_get_in(world: World) -> Iterator[None]:
    dsn = world.environment["PLYSTRA_AUDIT_APP_DSN"]
    world.environment["PLYSTRA_AUDIT_APP_DSN"] = dsn.replace("audit_app:", "audit_app:wrong")
    yield
    world.environment["PLYSTRA_AUDIT_APP_DSN"] = dsn


@fault("authz app_login")
def the_app_is_somebody_else(world: World) -> Iterator[None]:
    dsn = world.environment["PLYSTRA_AUTHZ_APP_DSN"]
    world.environment["PLYSTRA_AUTHZ_APP_DSN"] = world.environment["PLYSTRA_AUTHZ_DSN"]
    yield
    world.environment["PLYSTRA_AUTHZ_APP_DSN"] = dsn


@fault("authz connect_privilege", followed=True)
def readers_are_shut_out(world: World) -> Iterator[None]:
    world.sql("authz", f"revoke connect on database {world.pair.databases['authz'].name} from authz_reader")
    yield


@fault("authz health", followed=True)
def authz_is_away(world: World) -> Iterator[None]:
    world.pair.authz.kill()
    world.pair.authz.wait_gone()
    yield


@fault("audit health", "audit sequencer", followed=True)
def audit_is_away(world: World) -> Iterator[None]:
    world.pair.audit.kill()
    world.pair.audit.wait_gone()
    yield


@fault("authz ready")
def authz_cannot_follow(world: World) -> Iterator[None]:
    with stopped(session_of(world.server, "tail")):
        wait_until(lambda: world.pair.readiness("authz")[0] == 503, what="a tail that is too old")
        yield
    world.pair.wait_ready("authz")


@fault("authz version", "audit version")
def the_tool_is_of_another_release(world: World) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connectivity, "SERVICE_VERSION", "99.0.0")
        yield


@fault("authz migrations", followed=True)
def a_migration_is_pending(world: World) -> Iterator[None]:
    world.sql("authz", "drop table authz.maintenance")
    world.sql("authz", "delete from public._migration_ledger where id = '0011.maintenance'")
    world.sql("authz", "delete from public._yoyo_migration where migration_id = '0011.maintenance'")
    yield


by_sql("an_index_is_missing", "authz schema", "drop index authz.event_space_idx")
by_sql("a_trigger_is_off", "audit schema", "alter table audit.entry disable trigger entry_admit")
by_sql("a_role_may_make_databases", "authz roles", "alter role authz_app createdb createrole")
by_sql("a_role_cannot_log_in", "audit roles", "alter role audit_reader login")
by_sql("a_role_is_a_member_of_its_owner", "audit roles", "grant audit_owner to audit_reader")
by_sql("a_right_is_missing", "authz privileges", "revoke insert on authz.outbox_refused from authz_app")
by_sql("a_right_is_too_much", "audit privileges", "grant delete on audit.entry to audit_app")
by_sql("everybody_may_change_the_log", "audit privileges", "grant update on audit.entry to public", "audit schema")
by_sql("commits_are_not_durable", "audit server_settings", "alter role audit_app set synchronous_commit = off")
by_sql("statements_are_cut_off", "authz server_settings", "alter role authz_app set statement_timeout = '5s'")
by_sql("few_sessions_are_let_in", "audit connections", "alter role audit_app connection limit 4")
by_sql(
    "an_index_is_invalid",
    "authz indexes",
    "update pg_index set indisvalid = false where indexrelid = 'authz.event_space_idx'::regclass",
)
by_sql(
    "transaction_ids_run_out",
    "authz wraparound",
    "update pg_database set datfrozenxid = ((txid_current() - 1100000000 + 4294967296) % 4294967296)::text::xid"
    " where datname = current_database()",
)
by_sql(
    "a_slot_keeps_wal",
    "authz replication_slots",
    "select pg_create_physical_replication_slot('forgotten', true)",
    "audit replication_slots",
)


@fault("authz schema", followed=True)
def commits_are_not_durable_and_the_app_dsn_is_unknown(world: World) -> Iterator[None]:
    dsn = world.environment.pop("PLYSTRA_AUTHZ_APP_DSN")
    world.sql("authz", "alter role authz_app set synchronous_commit = off")
    yield
    world.environment["PLYSTRA_AUTHZ_APP_DSN"] = dsn


@fault("authz transactions", followed=True)
def a_session_is_idle_in_a_transaction(world: World) -> Iterator[None]:
    connection = connect(world.pair.databases["authz"].app_dsn)
    connection.execute("begin")
    connection.execute("select 1")
    world.limits = Limits(idle_in_transaction_seconds=0.0)
    yield
    connection.close()


@fault("audit prepared", followed=True)
def a_prepared_transaction_is_forgotten(world: World) -> Iterator[None]:
    with connect(world.pair.databases["audit"].app_dsn) as connection:
        connection.execute("begin")
        connection.execute("select count(*) from audit.entry")
        connection.execute("prepare transaction 'it''s forgotten'")
    yield


@fault("authz outbox")
def events_wait(world: World) -> Iterator[None]:
    world.limits = Limits(outbox_age_seconds=0.0)
    with stopped(world.relay.pid):
        ask(world.pair)
        yield
    world.pair.wait_drained()


@fault("authz refused")
def an_event_is_refused(world: World) -> Iterator[None]:
    world.sql(
        "authz", "insert into authz.outbox_refused (writer_id, sequence, problem, event) values (1, 0, 'why', '')"
    )
    yield
    world.sql("authz", "delete from authz.outbox_refused")


@fault("authz delivery")
def deliveries_fail(world: World) -> Iterator[None]:
    world.sql("authz", "update authz.relay set last_error = 'audit is away'")
    yield
    world.sql("authz", "update authz.relay set last_error = null")


@fault("authz relay", followed=True)
def no_relay_is_at_work(world: World) -> Iterator[None]:
    world.relay.kill()
    world.relay.wait_gone()
    yield


@fault("authz maintenance", followed=True)
def maintenance_is_left_on(world: World) -> Iterator[None]:
    world.operate("plystractl maintenance on --reason forgotten")
    yield
    world.pair.wait_ready("authz")


@fault("audit log_tail")
def the_log_has_a_hole(world: World) -> Iterator[None]:
    with lawless(world) as connection:
        row = connection.execute("delete from audit.entry_000000 where log_index = 3 returning *").fetchone()
    yield
    with lawless(world) as connection:
        connection.execute(f"insert into audit.entry_000000 values ({', '.join(['%s'] * len(row))})", row)


@fault("revisions")
def authz_is_behind_audit(world: World) -> Iterator[None]:
    id = str(uuid.uuid4())
    world.sql(
        "audit",
        f"insert into audit.entry (log_index, event_id, revision, {_COLUMNS})"
        f" select log_index + 1, %s, 1000000, {_COLUMNS} from audit.entry order by log_index desc limit 1",
        id,
    )
    yield
    with lawless(world) as connection:
        connection.execute("delete from audit.entry_000000 where event_id = %s", [id])
        connection.execute("delete from audit.entry_by_event where event_id = %s", [id])


@fault("authz database_clock", "audit database_clock", "authz service_clock", "audit service_clock")
def the_clock_is_wrong(world: World) -> Iterator[None]:
    world.clock_offset = timedelta(seconds=10)
    yield
    world.clock_offset = timedelta()


@fault("authz disk", "audit disk")
def the_disk_is_full(world: World) -> Iterator[None]:
    world.limits = Limits(free_bytes=10**18)
    yield
    world.limits = Limits()


@fault("audit backup", followed=True)
def the_backup_is_old(world: World) -> Iterator[None]:
    (young,) = world.backups.glob("audit-*")
    shutil.rmtree(young)
    leave_backup(world.backups, "audit", datetime.now(UTC) - timedelta(hours=25))
    yield
    world.back_up()


@fault("authz backup", followed=True)
def there_is_no_backup(world: World) -> Iterator[None]:
    (folder,) = world.backups.glob("authz-*")
    shutil.rmtree(folder)
    yield
    world.back_up()
