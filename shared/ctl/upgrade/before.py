"""What is looked at before an upgrade: what is there, what is pending, who runs, what waits, and whether there is a way back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import psycopg

from shared.clock import utc_now
from shared.ctl.backups.folder import newest_backup
from shared.ctl.configuration import owner_dsn
from shared.ctl.upgrade.answers import running_version
from shared.ctl.upgrade.looks import Line, Look, told
from shared.ctl.upgrade.steps import BACKUP, command_of
from shared.db import load_queries
from shared.migrations.ledger import connect, read_bookkeeping
from shared.migrations.lockfile import required_migrations
from shared.migrations.plan import Plan, make_plan
from shared.release import SERVICE_VERSION

QUERIES: Final = load_queries(Path(__file__).with_name("upgrade.sql"))
# What came after a backup is lost by going back to it; `doctor` calls an older one too old, too.
_YOUNG: Final = timedelta(days=1)


def look_at_release(service: str) -> Iterator[Line]:
    """Compare the release that migrated the database last with this tool's."""
    with connect(owner_dsn(service), "upgrade", read_only=True) as connection:
        books = read_bookkeeping(connection)
    known = required_migrations(service)
    unknown = [id for id in books.applied if id not in known]
    last = max(books.ledger.values(), key=lambda row: row.ordinal, default=None)
    if last is None:
        yield Line(service=service, name="release", state="note", seen="Nothing is applied: this is an installation.")
    elif unknown or _numbers(last.tool_version) > _numbers(SERVICE_VERSION):
        yield Line(
            service=service,
            name="release",
            state="refused",
            seen=f"The database was migrated by release {last.tool_version} up to {last.id}; this tool is {SERVICE_VERSION}"
            + (f" and doesn't know {', '.join(unknown)}." if unknown else "."),
            why="This would be a downgrade: an older release knows nothing of what a newer one has changed.",
            next=f"install plystractl of release {last.tool_version}, or restore the backup from before that upgrade.",
        )
    else:
        seen = (
            f"The database was migrated by release {last.tool_version} up to {last.id}; this tool is {SERVICE_VERSION}."
        )
        yield Line(service=service, name="release", state="well", seen=seen)


def look_at_pending(service: str) -> Iterator[Line]:
    """Say what is pending, and whether the release before can go on meanwhile."""
    plan, faults = make_plan(service, owner_dsn(service))
    yield from told(service, "migrations", faults)
    yield Line(service=service, name="migrations", state="well" if not plan.pending else "note", seen=_pending(plan))


def look_at_waiting(service: str) -> Iterator[Line]:
    """Count what is still to be delivered to audit."""
    if service != "authz":
        return
    with connect(owner_dsn(service), "upgrade", read_only=True) as connection:
        try:
            row = connection.execute(QUERIES["count_waiting"].encode()).fetchone()
        except psycopg.errors.UndefinedTable:  # nothing is installed yet
            return
    waiting = row[0] if row else 0
    yield Line(
        service=service,
        name="outbox",
        state="note" if waiting else "well",
        seen=f"{waiting} events wait for delivery to audit"
        + ("; they are kept, and delivered afterwards." if waiting else "."),
    )


def look_at_running(service: str) -> Iterator[Line]:
    """Say which release answers, if one does."""
    version = running_version(service)
    seen = f"Release {version} answers." if version else "Nobody answers, or its URL isn't set."
    yield Line(service=service, name="running", state="note", seen=seen)


def look_for_backup(folder: Path | None) -> Look:
    """Return the look for a backup from which there is a way back: of what is applied now, or of what the upgrade found."""

    def look(service: str) -> Iterator[Line]:
        if folder is None:
            yield _no_way_back(service, folder, "Neither --backups nor PLYSTRA_BACKUP_DIR says where backups are.")
            return
        with connect(owner_dsn(service), "upgrade", read_only=True) as connection:
            ledger = read_bookkeeping(connection).ledger
        backup = newest_backup(folder, service)
        if backup is None:
            yield _no_way_back(service, folder, f"There is none in {folder}.")
            return
        last = max((row.applied_at for row in ledger.values() if row.applied_at), default=None)
        is_before = last is not None and backup.created_at < last
        is_pending = any(id not in ledger for id in required_migrations(service))
        seen = f"The newest is of {backup.created_at:%Y-%m-%d %H:%M:%S%z}"
        if utc_now() - backup.created_at > _YOUNG:
            yield _no_way_back(service, folder, f"{seen}, more than a day ago.")
        elif is_before and is_pending:
            yield _no_way_back(service, folder, f"{seen}, from before the last migration.")
        else:
            seen += ", the way back from the last migration." if is_before else ", with what is applied now."
            yield Line(service=service, name="backup", state="well", seen=seen)

    return look


def is_in_maintenance() -> bool | None:
    """Tell whether maintenance is on; None when authz's database is of a release that knows no maintenance."""
    with connect(owner_dsn("authz"), "upgrade", read_only=True) as connection:
        row = connection.execute(QUERIES["table_exists"].encode(), {"name": "authz.maintenance"}).fetchone()
        if not (row and row[0]):
            return None
        row = connection.execute(QUERIES["read_maintenance"].encode()).fetchone()
    return bool(row and row[0])


def _no_way_back(service: str, folder: Path | None, seen: str) -> Line:
    why = "Without one there is no way back from a change that turns out wrong."
    next = command_of(BACKUP, backups=str(folder or ""))
    return Line(service=service, name="backup", state="finding", seen=seen, why=why, next=next)


def _pending(plan: Plan) -> str:
    if not plan.pending:
        return "Nothing is pending."
    phases = {migration.phase for migration in plan.pending}
    ids = ", ".join(f"{migration.id} ({migration.phase})" for migration in plan.pending)
    if phases <= {"expand"}:
        return f"Pending: {ids}. All of them expand: the release before keeps working on the new schema."
    return f"Pending: {ids}. Not all expand: every process of the release before must be gone first."


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("+", maxsplit=1)[0].split(".") if part.isdecimal())
