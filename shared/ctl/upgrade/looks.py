"""What is looked at before and after an upgrade; each look yields lines, and none keeps another from being taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal

import httpx
import msgspec
import psycopg
from psycopg import sql

from shared.ctl.configuration import load_operator_settings, owner_dsn
from shared.ctl.queries import app_dsn
from shared.ctl.upgrade.backups import newest_backup
from shared.ctl.upgrade.steps import STEPS, command_of
from shared.db import load_queries
from shared.migrations.errors import OperatorError
from shared.migrations.ledger import connect, read_bookkeeping
from shared.migrations.lockfile import required_migrations
from shared.migrations.plan import Plan, make_plan
from shared.migrations.verify import verify
from shared.queries.check import check_queries
from shared.release import SERVICE_VERSION

QUERIES: Final = load_queries(Path(__file__).with_name("upgrade.sql"))
_HTTP_SECONDS: Final = 5.0
# What the relay has delivered is let go of, and so are answers that were kept for a key.
_EMPTIED: Final = ("outbox", "idempotency_key")

State = Literal["well", "note", "finding", "unreachable", "refused"]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at; `why` and `next` are there for what isn't well."""

    service: str
    name: str
    state: State
    seen: str
    why: str | None = None
    next: str | None = None


Look = Callable[[str], Iterator[Line]]


def take(name: str, service: str, look: Look) -> list[Line]:
    """Take a look; whatever stops it is a line too."""
    try:
        return list(look(service))
    except OperatorError as error:
        state: State = "unreachable" if error.exit_code == error.exit_code.UNREACHABLE else "finding"
        return [Line(service=service, name=name, state=state, seen=error.found, why=error.why, next=error.remedy)]


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
    for fault in faults:
        yield Line(
            service=service,
            name=f"migrations: {fault.code}",
            state="finding",
            seen=f"{fault.subject}: {fault.seen}",
            why=fault.why,
            next=fault.remedy,
        )
    yield Line(service=service, name="migrations", state="well" if not plan.pending else "note", seen=_told(plan))


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
    """Return the look for a backup of what is in the database now."""

    def look(service: str) -> Iterator[Line]:
        next = command_of(STEPS[1], backups=str(folder or ""))
        why = "Without one there is no way back from a change that turns out wrong."
        if folder is None:
            seen = "No folder of backups was named."
            yield Line(service=service, name="backup", state="finding", seen=seen, why=why, next=next)
            return
        with connect(owner_dsn(service), "upgrade", read_only=True) as connection:
            ledger = read_bookkeeping(connection).ledger
        backup = newest_backup(folder, service)
        last = max((row.applied_at for row in ledger.values() if row.applied_at), default=None)
        if backup is None:
            seen = f"There is none in {folder}."
        elif last is not None and backup.created_at < last:
            seen = f"The newest is of {backup.created_at:%Y-%m-%d %H:%M:%S%z}, from before the last migration."
        else:
            seen = f"The newest is of {backup.created_at:%Y-%m-%d %H:%M:%S%z}, with what is applied now."
            yield Line(service=service, name="backup", state="well", seen=seen)
            return
        yield Line(service=service, name="backup", state="finding", seen=seen, why=why, next=next)

    return look


def look_for_loss(folder: Path | None) -> Look:
    """Return the look for tables that have fewer rows than the newest backup says; slots of the outbox may be emptied."""

    def look(service: str) -> Iterator[Line]:
        backup = newest_backup(folder, service) if folder else None
        if backup is None:
            yield Line(service=service, name="rows", state="note", seen="No backup was named to compare with.")
            return
        lost = []
        with connect(owner_dsn(service), "upgrade", read_only=True) as connection:
            for table in backup.contents.tables:
                schema, _, name = table.name.rpartition(".")
                if name.startswith(_EMPTIED) or schema not in ("", service):
                    continue
                place = sql.Identifier(schema or service, name)
                row = connection.execute(sql.SQL("select count(*) from {}").format(place)).fetchone()
                if row is None or row[0] < table.rows:
                    lost.append(f"{table.name} has {row[0] if row else 0} rows, not {table.rows}")
        if lost:
            yield Line(
                service=service,
                name="rows",
                state="finding",
                seen=f"{'; '.join(lost)}.",
                why="Rows that were there before the upgrade are gone.",
                next="plystractl maintenance on, and find out what took them; the backup has them.",
            )
        else:
            yield Line(service=service, name="rows", state="well", seen="No table has fewer rows than the backup.")

    return look


def look_at_ledger(service: str) -> Iterator[Line]:
    """See that the migrations are as recorded, and none is pending."""
    faults = verify(service, owner_dsn(service))
    for fault in faults:
        seen = f"{fault.subject}: {fault.seen}"
        name = f"migrations: {fault.code}"
        yield Line(service=service, name=name, state="finding", seen=seen, why=fault.why, next=fault.remedy)
    if not faults:
        yield Line(service=service, name="migrations", state="well", seen="All are applied, as they are recorded.")


def look_at_statements(service: str) -> Iterator[Line]:
    """See that every statement of this release works on the database."""
    faults = check_queries(service, app_dsn(service))
    for fault in faults:
        seen = f"{fault.subject}: {fault.seen}"
        name = f"statements: {fault.code}"
        yield Line(service=service, name=name, state="finding", seen=seen, why=fault.why, next=fault.remedy)
    if not faults:
        yield Line(service=service, name="statements", state="well", seen="All take and give what the code knows.")


def look_at_answers(service: str) -> Iterator[Line]:
    """See that the release that answers is this tool's, and ready."""
    version = running_version(service)
    next = f"start {service} of release {SERVICE_VERSION}; PLYSTRA_{service.upper()}_URL says where it is."
    if version is None:
        why = "Whether it works was not seen."
        yield Line(service=service, name="running", state="finding", seen="Nobody answers.", why=why, next=next)
    elif version != SERVICE_VERSION:
        why = "Tool and services of one release belong together."
        seen = f"Release {version} answers, and this tool is {SERVICE_VERSION}."
        yield Line(service=service, name="running", state="finding", seen=seen, why=why, next=next)
    else:
        yield Line(service=service, name="running", state="well", seen=f"Release {version} answers.")
    if version is not None:
        status = _get(service, "/api/v1/ready")
        if status is not None and status.is_success:
            yield Line(service=service, name="ready", state="well", seen="It is ready.")
        else:
            seen = f"It isn't ready: {status.text[:300] if status is not None else 'no answer'}"
            why = "A service that isn't ready answers no question."
            yield Line(service=service, name="ready", state="finding", seen=seen, why=why, next="plystractl doctor")


def running_version(service: str) -> str | None:
    """Return the release of the service that answers at its URL; None when nobody does, or no URL is set."""
    response = _get(service, "/api/v1/version")
    if response is None or not response.is_success:
        return None
    try:
        return str(response.json()["data"]["service_version"])
    except (ValueError, KeyError, TypeError):  # somebody else answers there
        return None


def is_in_maintenance() -> bool | None:
    """Tell whether maintenance is on; None when authz's database is of a release that knows no maintenance."""
    with connect(owner_dsn("authz"), "upgrade", read_only=True) as connection:
        row = connection.execute(QUERIES["table_exists"].encode(), {"name": "authz.maintenance"}).fetchone()
        if not (row and row[0]):
            return None
        row = connection.execute(QUERIES["read_maintenance"].encode()).fetchone()
    return bool(row and row[0])


def _told(plan: Plan) -> str:
    if not plan.pending:
        return "Nothing is pending."
    phases = {migration.phase for migration in plan.pending}
    ids = ", ".join(f"{migration.id} ({migration.phase})" for migration in plan.pending)
    if phases <= {"expand"}:
        return f"Pending: {ids}. All of them expand: the release before keeps working on the new schema."
    return f"Pending: {ids}. Not all expand: every process of the release before must be gone first."


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("+", maxsplit=1)[0].split(".") if part.isdecimal())


def _get(service: str, path: str) -> httpx.Response | None:
    url: str | None = getattr(load_operator_settings(), f"{service}_url")
    if url is None:
        return None
    try:
        return httpx.get(f"{url.rstrip('/')}{path}", timeout=_HTTP_SECONDS, trust_env=False)
    except (httpx.RequestError, httpx.InvalidURL):
        return None
