"""Puts a backup in the place of a service's database, so that at every moment one whole database is there.

The dump goes into a new database beside the old one, is compared with the manifest there, and takes over the name in one
transaction; the old one is kept under another. A restore that fails leaves everything as it was. A user who may not create
databases restores into an empty one, in one transaction.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import Final

import msgspec
import psycopg
from psycopg import sql

from shared.ctl.backups.contents import SQL as CONTENTS
from shared.ctl.backups.contents import Progress
from shared.ctl.backups.faults import BadBackup, RefusedByPolicy
from shared.ctl.backups.manifest import AuditCheckpoint, Manifest
from shared.ctl.backups.putting import compare, put, require_roles, with_database
from shared.ctl.backups.verification import verify_backup
from shared.ctl.backups.witness import SQL, Loss, ask_replaced, record_loss, require_acknowledged, witnesses_of
from shared.ctl.maintenance import close
from shared.migrations.bootstrap import SERVICES, Connection, create_database
from shared.migrations.errors import Busy, UsageError
from shared.migrations.findings import Finding
from shared.migrations.ledger import connect
from shared.migrations.verify import verify

# PostgreSQL cuts a name after 63 bytes; what is made of one must not come out as the name itself.
_LONGEST: Final = 63
_PATIENCE_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.05
_NEXT: Final = "plystractl authz catch-up --from-audit, then plystractl maintenance off"


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator asks for: which backup, where to, and what may be lost by it."""

    folder: Path
    service: str
    dsn: str
    server_dsn: str | None = None
    authz_dsn: str | None = None
    replace: bool = False
    acknowledge_loss: bool = False
    reason: str | None = None
    programs: Path | None = None

    @property
    def database(self) -> str:
        """The name of the database that the backup is to become."""
        return str(psycopg.conninfo.conninfo_to_dict(self.dsn).get("dbname") or "")

    @property
    def maintenance_dsn(self) -> str:
        """Where databases are made and renamed from."""
        return self.server_dsn or with_database(self.dsn, "postgres")


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What was done; `kept_as` is the name of the database that was there before."""

    manifest: Manifest
    kept_as: str | None
    losses: list[Loss]
    loss_event_id: str | None
    made_roles: list[str]
    migration_findings: list[Finding]
    witness: str | None
    closed: bool  # maintenance is on, so authz changes nothing before it has caught up


def restore(wish: Wish, *, now: datetime, progress: Progress) -> Restored:
    """Restore; raises `BadBackup`, `RefusedByPolicy`, `UsageError` or `Unreachable`, and then nothing has changed."""
    manifest = verify_backup(wish.folder, wish.service, wish.programs)
    with connect(wish.maintenance_dsn, "backup restore", read_only=False) as server:
        exists = _asks(server, "database_exists", name=wish.database)
        may_create = _asks(server, "may_create_databases")
        _require_only_one(server, wish.database)
        _require_alone(server, wish.database)
        is_occupied, losses = _look(wish, manifest) if exists else (False, [])
        _permit(wish, exists=exists, may_create=may_create, is_occupied=is_occupied)
        witness = None
        if isinstance(manifest.contents.checkpoint, AuditCheckpoint):
            seen, witness = witnesses_of(manifest.contents.checkpoint, wish.authz_dsn)
            losses += seen
            require_acknowledged(losses, acknowledged=wish.acknowledge_loss)
        made_roles = require_roles(server, wish.service)

        closed = False

        def fill(dsn: str) -> str | None:
            nonlocal closed
            progress("restoring the dump")
            put(wish.folder, manifest, dsn, wish.programs)
            if faults := compare(manifest, dsn, progress):
                raise BadBackup(faults)
            if wish.service == "authz":
                closed = close(dsn, f"restored from the backup of {manifest.created_at:%Y-%m-%d %H:%M:%SZ}: {_NEXT}")
            return record_loss(dsn, manifest, losses, wish.reason) if losses else None

        kept_as = event_id = None
        if may_create:
            stamp = f"{now:%Y%m%dT%H%M%S}_{token_hex(3)}"
            beside = _beside(wish.database, f"_restoring_{stamp}")
            with _made(server, wish.service, beside):
                event_id = fill(with_database(wish.maintenance_dsn, beside))
                kept_as = _beside(wish.database, f"_before_{stamp}") if exists else None
                _swap(server, wish.database, beside, kept_as)
        else:
            event_id = fill(wish.dsn)
    return Restored(
        manifest=manifest,
        kept_as=kept_as,
        losses=losses,
        loss_event_id=event_id,
        made_roles=made_roles,
        migration_findings=verify(wish.service, wish.dsn),
        witness=witness,
        closed=closed,
    )


def _look(wish: Wish, manifest: Manifest) -> tuple[bool, list[Loss]]:
    """Tell whether the database that is there holds anything, and whether it knows of more than the backup."""
    with connect(with_database(wish.maintenance_dsn, wish.database), "backup restore", read_only=True) as connection:
        _require_own(wish, connection)
        is_occupied = connection.execute(CONTENTS["list_tables"]).fetchone() is not None
        loss = None
        if isinstance(manifest.contents.checkpoint, AuditCheckpoint):
            loss = ask_replaced(manifest.contents.checkpoint, connection)
    return is_occupied, [] if loss is None else [loss]


def _require_own(wish: Wish, connection: Connection) -> None:
    """Raise when the database that is there is another service's, or the one that databases are renamed from."""
    theirs = {name for (name,) in connection.execute(SQL["list_schemas"])} & (set(SERVICES) - {wish.service})
    is_maintenance = psycopg.conninfo.conninfo_to_dict(wish.maintenance_dsn).get("dbname") == wish.database
    if not theirs and not (is_maintenance and wish.replace):
        return
    what = f"holds {', '.join(sorted(theirs))}" if theirs else "is the one that databases are made and renamed from"
    raise UsageError(
        f"The database {wish.database} {what}.",
        why=f"A backup of {wish.service} can't take its place.",
        remedy=f"correct PLYSTRA_{wish.service.upper()}_DSN, which is to name {wish.service}'s database.",
    )


def _permit(wish: Wish, *, exists: bool, may_create: bool, is_occupied: bool) -> None:
    if is_occupied and not wish.replace:
        raise RefusedByPolicy(
            f"The database {wish.database} isn't empty.",
            why="What is in it would no longer be what the service works on.",
            remedy="add --replace (it is kept under another name), or name an empty database.",
        )
    if may_create or (exists and not is_occupied):
        return
    raise UsageError(
        f"{'The database ' + wish.database + ' is not empty' if exists else 'There is no database ' + wish.database}, "
        "and this user may not create databases.",
        why="Without a new database beside it, a restore that fails would leave neither the old nor the new one.",
        remedy="name a user who may create databases by --server postgresql://…/postgres, or make an empty database.",
    )


def _require_only_one(server: Connection, name: str) -> None:
    """Raise while another restore puts something in the place of the same database; held as long as the connection."""
    if not _asks(server, "lock_restore", name=name):
        raise Busy(
            f"Another restore of {name} is running.",
            why="Each would put its own copy in the place of the other's.",
            remedy="wait for it; then look whether this one is still wanted.",
        )


def _require_alone(server: Connection, name: str) -> None:
    """Raise while anybody is connected to the database that is to be replaced."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while sessions := server.execute(SQL["list_sessions"], {"name": name}).fetchall():
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_SECONDS)  # a session that was just closed takes a moment to be gone
    if not sessions:
        return
    named = ", ".join(f"{user} {application!r} (pid {pid})" for pid, user, application in sessions[:5])
    raise RefusedByPolicy(
        f"{len(sessions)} sessions are connected to {name}: {named}{' …' if len(sessions) > 5 else ''}.",
        why="What they write while a backup takes the place of their database would be lost.",
        remedy="stop the service, and whoever else is named; then run the same command again.",
    )


def _beside(name: str, suffix: str) -> str:
    """Return a name made of a database's, of no more bytes than PostgreSQL keeps."""
    return name.encode()[: _LONGEST - len(suffix)].decode(errors="ignore") + suffix


@contextlib.contextmanager
def _made(server: Connection, service: str, name: str) -> Iterator[None]:
    """Make a database, and drop it unless the block succeeds; never one that was there before."""
    if _asks(server, "database_exists", name=name):
        raise Busy(
            f"There is a database {name} already.",
            why="Another restore may be at work in it.",
            remedy="wait for that one, or drop the database if nobody needs it; then run the same command again.",
        )
    try:
        create_database(server, service, name)
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        _drop(server, name)
        raise UsageError(
            f"{server.info.user} may not make a database for {service}: {str(error).strip()}.",
            why=f"It belongs to {service}_owner, so its maker has to be a member of that role.",
            remedy=f"as a superuser: grant {service}_owner to {server.info.user}; or name a superuser by --server.",
        ) from error
    except BaseException:
        _drop(server, name)
        raise


def _drop(server: Connection, name: str) -> None:
    with contextlib.suppress(psycopg.OperationalError, psycopg.errors.InsufficientPrivilege):
        server.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def _swap(server: Connection, name: str, beside: str, kept_as: str | None) -> None:
    """Let the restored database take over the name; both renames or none."""
    rename = sql.SQL("alter database {} rename to {}")
    try:
        with server.transaction():
            if kept_as is not None:
                server.execute(rename.format(sql.Identifier(name), sql.Identifier(kept_as)))
            server.execute(rename.format(sql.Identifier(beside), sql.Identifier(name)))
    except psycopg.errors.ObjectInUse as error:
        _require_alone(server, name)
        raise RefusedByPolicy(
            f"Somebody was connected to {name} just now: {str(error).strip()}.",
            why="A database can't change its name while it is in use; it is as it was.",
            remedy="stop the service, then run the same command again.",
        ) from error


def _asks(connection: Connection, query: str, **values: str) -> bool:
    row = connection.execute(SQL[query], values or None).fetchone()
    return bool(row and row[0])
