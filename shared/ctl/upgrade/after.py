"""What is looked at after an upgrade: is everything as this release makes it, does it run, and is nothing lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from psycopg import sql

from shared.ctl.backups.folder import newest_backup
from shared.ctl.configuration import owner_dsn
from shared.ctl.projections import compare_projections
from shared.ctl.queries import app_dsn
from shared.ctl.upgrade.answers import get, running_version
from shared.ctl.upgrade.looks import Line, Look, told
from shared.migrations.errors import CannotCompare
from shared.migrations.ledger import connect
from shared.migrations.schema import verify_schema
from shared.migrations.verify import verify
from shared.queries.check import check_queries
from shared.release import SERVICE_VERSION

# What the relay has delivered is let go of, and so are answers that were kept for a key.
_EMPTIED: Final = ("outbox", "idempotency_key")


def look_at_ledger(service: str) -> Iterator[Line]:
    """See that the migrations are as recorded, and none is pending."""
    faults = verify(service, owner_dsn(service))
    yield from told(service, "migrations", faults)
    if not faults:
        yield Line(service=service, name="migrations", state="well", seen="All are applied, as they are recorded.")


def look_at_schema(service: str) -> Iterator[Line]:
    """See that the catalogue is what the applied migrations make, as far as it can be compared."""
    try:
        faults = verify_schema(service, owner_dsn(service))
    except CannotCompare as error:
        yield Line(service=service, name="schema", state="note", seen=error.found, why=error.why, next=error.remedy)
        return
    yield from told(service, "schema", faults)
    if not faults:
        yield Line(service=service, name="schema", state="well", seen="It is what the applied migrations make.")


def look_at_statements(service: str) -> Iterator[Line]:
    """See that every statement of this release works on the database."""
    faults = check_queries(service, app_dsn(service))
    yield from told(service, "statements", faults)
    if not faults:
        yield Line(service=service, name="statements", state="well", seen="All take and give what the code knows.")


def look_at_projections(service: str) -> Iterator[Line]:
    """See that authz's permission graph is what its events make."""
    if service != "authz":
        return
    compared = compare_projections(owner_dsn(service))
    yield from told(service, "projections", compared.differences)
    if not compared.differences:
        seen = f"The tables are what {compared.events} events make, up to revision {compared.revision}."
        yield Line(service=service, name="projections", state="well", seen=seen)


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
        status = get(service, "/api/v1/ready")
        if status is not None and status.is_success:
            yield Line(service=service, name="ready", state="well", seen="It is ready.")
        else:
            seen = f"It isn't ready: {status.text[:300] if status is not None else 'no answer'}"
            why = "A service that isn't ready answers no question."
            yield Line(service=service, name="ready", state="finding", seen=seen, why=why, next="plystractl doctor")


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
