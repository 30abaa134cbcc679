"""yoyo's psycopg backend, with what it must not be trusted with done by us.

Kept from yoyo: its connection and transactions, its tables and log, its order of dependencies. Replaced: its reader of
files (which executes `.py` and ignores typos), its lock row (which outlives a crash), its three commits per migration,
its table of all migrations ever loaded in the process (which mixes up two services).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from yoyo import internalmigrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI
from yoyo.migrations import Migration, MigrationList, topological_sort

from shared.migrations.batches import is_batched, require_batch, rows_changed
from shared.migrations.bootstrap import Connection, Roles
from shared.migrations.errors import ApplyFailed, Busy, NeedsRepair, UsageError
from shared.migrations.files import MigrationFile
from shared.migrations.ledger import QUERIES, YOYO_TABLE, connect, grant_reading, lock_key
from shared.release import SERVICE_VERSION

_SESSION: Final = {
    "lock_timeout": "2s",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "client_connection_check_interval": "1s",  # a killed migrate lets go of its locks
    "search_path": "public",  # yoyo's statements aren't qualified
}


SchemaDigest = Callable[[Connection], str]


class FileMigration(Migration):  # type: ignore[misc]  # yoyo has no annotations
    """yoyo's view of a migration file that we have read and checked."""

    def __init__(self, file: MigrationFile) -> None:
        """Take over what yoyo would have read itself."""
        super().__init__(file.id, str(file.path), str(file.path.parent))
        self.file = file
        self.source = file.sql
        self.use_transactions = file.transactional
        self.steps: list[Any] = []  # loaded, as far as yoyo is concerned: it never opens the file
        self._depends: set[FileMigration] = set()


def in_order(files: Sequence[MigrationFile]) -> list[FileMigration]:
    """Return the migrations in yoyo's topological order; dependencies are looked up among these files alone."""
    migrations = {file.id: FileMigration(file) for file in files}
    for migration in migrations.values():
        migration._depends = {migrations[id] for id in migration.file.depends if id in migrations}  # noqa: SLF001 - yoyo has no setter
    return list(topological_sort(MigrationList(migrations.values())))


class LedgerBackend(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo has no annotations
    """A connection to one service's database that migrates it as its owner."""

    def __init__(
        self,
        service: str,
        dsn: str,
        *,
        command: str = "migrate up",
        schema_digest: SchemaDigest | None = None,
        progress: Callable[[str, int], None] = lambda _id, _rows: None,
    ) -> None:
        """Connect, and become the owner.

        `command` is what the session is called, `schema_digest` is asked at the end of each migration's transaction,
        and `progress` is told the id and the rows so far after each batch of a data migration.
        """
        self.service = service
        self._dsn = dsn
        self._command = command
        self._schema_digest = schema_digest
        self._progress = progress
        super().__init__(DatabaseURI("postgresql+psycopg", None, None, None, None, None, {}), YOYO_TABLE)
        self._become_owner()

    def connect(self, _uri: DatabaseURI) -> Connection:
        """Connect by the DSN as it is; yoyo's own reading of it knows fewer forms."""
        return connect(self._dsn, f"{self._command} {self.service}", read_only=False)

    def init_connection(self, connection: Connection) -> None:
        """Set up the session; again after each rollback, and before each migration, which may have changed it."""
        connection.execute("reset all")
        for name, value in _SESSION.items():
            connection.execute(QUERIES["set_session_setting"], {"name": name, "value": value})

    def rollback(self) -> None:
        """Roll back; a lost connection has done so, and one cut off in the middle of a statement is given up."""
        if self.connection.closed or self.connection.info.transaction_status == TransactionStatus.ACTIVE:
            self.connection.close()
            self._in_transaction = False
        else:
            super().rollback()

    def savepoint_rollback(self, id: str) -> None:
        """Roll back to a savepoint; a connection that can't is given up by the rollback that follows."""
        if self.connection.info.transaction_status != TransactionStatus.ACTIVE:
            super().savepoint_rollback(id)

    def ensure_internal_schema_updated(self) -> None:
        """Do nothing: `bootstrap` does it, under the lock."""

    def get_log_data(self, migration: Any = None, operation: str = "apply") -> dict[str, Any]:
        """Return a row of yoyo's log, without asking the name service, which may take seconds."""
        row: dict[str, Any] = super().get_log_data(migration, operation)
        return row | {"username": self.connection.info.user, "hostname": socket.gethostname()}

    @contextmanager
    def exclusive(self, wait_seconds: float) -> Iterator[None]:
        """Hold the service's advisory lock; it goes with the session, so a crash leaves none behind."""
        key = lock_key(self.service)
        timeout = {"name": "lock_timeout", "value": f"{int(wait_seconds * 1000)}ms"}
        self.connection.execute(QUERIES["set_session_setting"], timeout)
        try:
            self.connection.execute(QUERIES["lock_service"], {"key": key})
        except psycopg.errors.LockNotAvailable as error:
            pid, holder = self._holder(key)
            kill = f" If it hangs, end it: select pg_terminate_backend({pid});" if pid else ""
            raise Busy(
                f"Another migrate of {self.service} is running on this database: {holder}.",
                why=f"Two at once would trip over each other; waited {wait_seconds:g} s.",
                remedy=f"wait for it, then: plystractl migrate status --service {self.service}.{kill}",
            ) from error
        try:
            self.init_connection(self.connection)
            yield
        finally:
            if not self.connection.closed:
                self.connection.execute(QUERIES["unlock_service"], {"key": key})

    def bootstrap(self) -> None:
        """Create the bookkeeping tables, all or none; call it with the lock held."""
        with self.transaction():
            if internalmigrations.needs_upgrading(self):
                internalmigrations.upgrade(self)
            self.connection.execute(QUERIES["create_ledger"])
            # Only where it is needed: even without a change it would wait for everybody who reads the ledger.
            if self.connection.execute(QUERIES["has_schema_digest"]).fetchone() != (True,):
                self.connection.execute(QUERIES["add_schema_digest"])
            self.connection.execute(grant_reading(self.service))

    def apply_one(self, migration: FileMigration, force: bool = False, mark: bool = True) -> None:
        """Apply a migration so that it, yoyo's mark and the ledger row become durable in one commit.

        One that can't run in a transaction is recorded as started before and as applied after it. So is a batched data
        migration, whose statement runs, one transaction each time, until it finds no more rows.
        """
        if force or not mark:
            raise NotImplementedError("a migration is applied as a whole or not at all")
        self.init_connection(self.connection)
        if migration.use_transactions:
            with self.transaction():
                self._start(migration)
                self._run(migration.file.name, migration.source)
                self._finish(migration)
        else:
            if is_batched(migration.file):
                require_batch(migration.file)
            self._clear_up(migration)
            with self.transaction():
                self._start(migration)
            if is_batched(migration.file):
                self._run_in_batches(migration)
            else:
                self.connection.execute(migration.source)
            self.init_connection(self.connection)
            with self.transaction():
                self._finish(migration)

    def undo_one(self, migration: FileMigration, name: str, text: str, *, in_transaction: bool) -> None:
        """Run a migration's rollback file so that its effect, yoyo's mark and the ledger row go in one commit.

        Where it can't run in a transaction, the migration counts as interrupted from before it until after it: then
        applying it again clears up whatever the rollback left.
        """
        self.init_connection(self.connection)
        if in_transaction:
            with self.transaction():
                self._run(name, text)
                self._forget(migration)
        else:
            with self.transaction():
                self.unmark_one(migration, log=False)
                self.connection.execute(QUERIES["reopen_migration"], {"id": migration.id})
            self.connection.execute(text)
            self.init_connection(self.connection)
            with self.transaction():
                self._forget(migration)

    def settle_one(self, migration: FileMigration, *, applied: bool) -> None:
        """Record a migration as applied, or as not applied, whatever is recorded now; within a transaction.

        Of a row that says applied already no more than the hash of the file is changed.
        """
        if not applied:
            self._forget(migration)
            return
        self.unmark_one(migration, log=False)
        self.record_one(migration)
        self.connection.execute(QUERIES["record_hash"], {"id": migration.id, "sha256": migration.file.sha256})

    def _run(self, name: str, text: str) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run the text of a file in the transaction that is open."""
        before = self._identity()
        cursor: psycopg.Cursor[tuple[Any, ...]] = self.connection.execute(text)
        self._require_same_identity(name, before)
        return cursor

    def _run_in_batches(self, migration: FileMigration) -> None:
        total = 0
        while True:
            with self.transaction():
                cursor = self._run(migration.file.name, migration.source)
                rows = rows_changed(migration.file.name, cursor)
            if rows == 0:
                return
            total += rows
            self._progress(migration.id, total)

    def note_failure(self, migration: FileMigration, cause: str) -> None:
        """Keep in yoyo's log how a migration failed that is left begun."""
        row = {"hash": migration.hash, "id": migration.id, "hostname": socket.gethostname(), "cause": cause}
        with self.transaction():
            self.connection.execute(QUERIES["note_failure"], row)

    def record_one(self, migration: FileMigration) -> None:
        """Record a migration as applied whose effect is there already; the caller has opened the transaction."""
        self._start(migration)
        self._finish(migration)

    def _start(self, migration: FileMigration) -> None:
        file = migration.file
        row = {"id": file.id, "ordinal": file.ordinal, "sha256": file.sha256, "tool_version": SERVICE_VERSION}
        self.connection.execute(QUERIES["start_migration"], row)

    def _finish(self, migration: FileMigration) -> None:
        self.connection.execute(QUERIES["set_transaction_setting"], {"name": "search_path", "value": "public"})
        self.mark_one(migration, log=False)
        self.log_migration(migration, "apply")
        digest = self._schema_digest(self.connection) if self._schema_digest else None
        self.connection.execute(QUERIES["finish_migration"], {"id": migration.file.id, "schema_digest": digest})

    def _forget(self, migration: FileMigration) -> None:
        self.connection.execute(QUERIES["set_transaction_setting"], {"name": "search_path", "value": "public"})
        self.unmark_one(migration, log=False)
        self.log_migration(migration, "rollback")
        self.connection.execute(QUERIES["forget_migration"], {"id": migration.id})

    def _identity(self) -> tuple[str, str]:
        """Return the current transaction and the role it runs as."""
        row = self.connection.execute(QUERIES["identify_transaction"]).fetchone()
        return (str(row[0]), str(row[1])) if row else ("", "")

    def _require_same_identity(self, name: str, before: tuple[str, str]) -> None:
        """Notice a file that ended our transaction, or became somebody else, in a way the reading of it missed."""
        after = self._identity()
        if after[0] != before[0]:
            raise NeedsRepair(
                f"{name} ended the transaction that it ran in.",
                why="What it did before that is committed, while it isn't recorded as applied.",
                remedy="undo by hand what it did, take the offending statement out, and run migrate up again.",
            )
        if after[1] != before[1]:
            raise ApplyFailed(
                f"{name} changed the role that it ran as, from {before[1]} to {after[1]}.",
                why="What it made would belong to somebody else. It was rolled back: nothing has changed.",
                remedy="take the offending statement out.",
            )

    def _clear_up(self, migration: FileMigration) -> None:
        """Drop the indexes that an interrupted run of this migration left, valid or not: they are built again.

        On the first run none of them may be there: so what the second run drops is never somebody else's.
        """
        added = [word.lstrip("+") for word in migration.file.header["indexes"].split() if word.startswith("+")]
        found = self.connection.execute(QUERIES["find_indexes"], {"names": added}).fetchall()
        interrupted = self.connection.execute(QUERIES["is_interrupted"], {"id": migration.file.id}).fetchone() == (
            True,
        )
        if found and not interrupted:
            raise ApplyFailed(
                f"{migration.file.name} is to build {'.'.join(found[0])}, and there is one of that name already.",
                why="If the build failed halfway, nobody could tell the two apart. Nothing was changed.",
                remedy="see where that index comes from, and drop it or rename the new one.",
            )
        for schema, name in found:
            self.connection.execute(sql.SQL("drop index concurrently {}").format(sql.Identifier(schema, name)))

    def _become_owner(self) -> None:
        owner = Roles(self.service).owner
        try:
            self.connection.execute(sql.SQL("set role {}").format(sql.Identifier(owner)))
        except psycopg.Error as error:
            user = self.connection.info.user
            self.connection.close()
            raise UsageError(
                f"The user {user} of the DSN can't act as {owner}: {str(error).strip()}.",
                why="Everything in the database belongs to that role, so only it can migrate.",
                remedy=f"plystractl up makes the roles; on a server of your own: create role {owner} nologin; "
                f"grant {owner} to {user};",
            ) from error

    def _holder(self, key: int) -> tuple[int | None, str]:
        row = self.connection.execute(QUERIES["find_lock_holder"], {"key": key}).fetchone()
        if row is None:
            return None, "it has just ended"
        pid, user, application, address, since = row
        place = f"from {address or 'a local socket'}"
        return int(pid), f"pid {pid}, {application or 'unnamed application'}, user {user}, {place}, since {since}"
