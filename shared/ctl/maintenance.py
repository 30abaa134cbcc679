"""`plystractl maintenance`: lets authz refuse all requests with 503 for a while, on all replicas, and keeps who did so and why.

It writes one row to authz's database and needs no more than that: authz may be down, and obeys when it comes up.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec
import psycopg
from cyclopts import App, Parameter
from cyclopts.validators import Number
from psycopg import sql
from psycopg.rows import class_row

from shared.ctl.configuration import owner_dsn
from shared.ctl.console import OUT, Format
from shared.ctl.reports import Report, print_report
from shared.db import load_queries
from shared.migrations.bootstrap import Connection, Roles
from shared.migrations.errors import CannotCompare, ExitCode, UsageError
from shared.migrations.ledger import connect

RETRY_AFTER_SECONDS: Final = 30
HISTORY: Final = 20
_LONGEST_REASON: Final = 500
_LONGEST_RETRY: Final = 86_400
_QUERIES: Final = load_queries(Path(__file__).with_name("maintenance.sql"))

app: Final = App(name="maintenance", help="Let authz refuse requests with 503 while you work, and let it answer again.")


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """One switch as it is recorded; `operator` is who ran the tool, `session_role` who the database knows it was."""

    is_on: bool
    switched_at: datetime
    operator: str
    session_role: str
    reason: str | None
    retry_after_seconds: int | None


class MaintenanceReport(Report, frozen=True, kw_only=True, tag="plystractl.maintenance/1"):
    """How it is, since when, and the last switches, newest first; `changed` tells whether this command switched."""

    is_on: bool
    changed: bool
    since: datetime | None
    switches: list[Switch]


@app.command
def on(
    *,
    reason: str,
    retry_after: Annotated[int, Parameter(validator=Number(gte=1, lte=_LONGEST_RETRY))] = RETRY_AFTER_SECONDS,
    format: Format = "human",
) -> ExitCode:
    """Switch maintenance on: every replica of authz answers 503 within a second, all but health, ready, version and metrics.

    What was asked before is answered, and events go on being delivered to audit. While it is on already, another reason
    or time replaces what callers are told.

    Parameters
    ----------
    reason
        Why, in a few words; callers are told.
    retry_after
        Seconds after which callers are to ask again.
    format
        For people, or one JSON document.
    """
    reason = reason.strip()
    if not 1 <= len(reason) <= _LONGEST_REASON:
        raise UsageError(
            f"--reason has {len(reason)} characters.",
            why="Callers and whoever comes after you are told why nobody is let in.",
            remedy=f"give a reason of 1 to {_LONGEST_REASON} characters.",
        )
    with _switches() as connection:
        last = _read(connection, limit=1)
        changed = not (
            last and last[0].is_on and (last[0].reason, last[0].retry_after_seconds) == (reason, retry_after)
        )
        if changed:
            _switch(connection, is_on=True, reason=reason, retry_after=retry_after)
        report = _report(connection, changed=changed)
    return _show(report, format)


@app.command
def off(*, format: Format = "human") -> ExitCode:
    """Switch maintenance off: every replica of authz answers again within a second.

    Parameters
    ----------
    format
        For people, or one JSON document.
    """
    with _switches() as connection:
        last = _read(connection, limit=1)
        changed = bool(last and last[0].is_on)
        if changed:
            _switch(connection, is_on=False, reason=None, retry_after=None)
        report = _report(connection, changed=changed)
    return _show(report, format)


@app.command
def status(*, format: Format = "human") -> ExitCode:
    """Say whether maintenance is on, since when and why, and who switched it last; read-only.

    Parameters
    ----------
    format
        For people, or one JSON document.
    """
    with _switches(read_only=True) as connection:
        report = _report(connection, changed=False)
    return _show(report, format)


@contextmanager
def _switches(*, read_only: bool = False) -> Iterator[Connection]:
    """Open a transaction as the owner, in which nobody else switches."""
    with connect(owner_dsn("authz"), "maintenance", read_only=read_only) as connection, connection.transaction():
        try:
            if not read_only:
                connection.execute(sql.SQL("set local role {}").format(sql.Identifier(Roles("authz").owner)))
                connection.execute(_QUERIES["lock_maintenance"])
            yield connection
        except psycopg.errors.UndefinedTable as error:
            raise CannotCompare(
                "The database of authz has no table authz.maintenance.",
                why="It isn't migrated, or not far enough: nothing there could be told to services.",
                remedy="plystractl migrate up --service authz",
            ) from error


def close(dsn: str, reason: str) -> bool:
    """Switch maintenance on in a database of authz as its owner; False if its schema knows no maintenance yet."""
    with connect(dsn, "maintenance", read_only=False) as connection, connection.transaction():
        connection.execute(sql.SQL("set local role {}").format(sql.Identifier(Roles("authz").owner)))
        if connection.execute(_QUERIES["knows_maintenance"]).fetchone() != (True,):
            return False
        connection.execute(_QUERIES["lock_maintenance"])
        _switch(connection, is_on=True, reason=reason, retry_after=RETRY_AFTER_SECONDS)
    return True


def _read(connection: Connection, *, limit: int) -> list[Switch]:
    with connection.cursor(row_factory=class_row(Switch)) as cursor:
        return cursor.execute(_QUERIES["list_switches"], {"limit": limit}).fetchall()


def _switch(connection: Connection, *, is_on: bool, reason: str | None, retry_after: int | None) -> None:
    operator = f"{getpass.getuser()}@{socket.gethostname()}"[:255]
    row = {"is_on": is_on, "operator": operator, "reason": reason, "retry_after_seconds": retry_after}
    connection.execute(_QUERIES["switch_maintenance"], row)


def _report(connection: Connection, *, changed: bool) -> MaintenanceReport:
    switches = _read(connection, limit=HISTORY)
    row = connection.execute(_QUERIES["find_beginning"]).fetchone()
    is_on = bool(switches and switches[0].is_on)
    return MaintenanceReport(is_on=is_on, changed=changed, since=row[0] if row else None, switches=switches)


def _show(report: MaintenanceReport, format: Format) -> ExitCode:
    if format == "json":
        print_report(report)
        return ExitCode.CLEAN
    if not report.is_on:
        last = report.switches[0] if report.switches else None
        ended = f", since {last.switched_at:%Y-%m-%d %H:%M:%S%z} by {last.operator}" if last else ""
        OUT.print(f"✓ Maintenance is off{ended}.", style="green")
        if report.changed:
            OUT.print("  next: plystractl smoke")
        return ExitCode.CLEAN
    last = report.switches[0]
    OUT.print(f"! Maintenance is on since {report.since:%Y-%m-%d %H:%M:%S%z}.", style="yellow")
    OUT.print(
        f"  why:  {last.reason} (by {last.operator}; callers are to ask again after {last.retry_after_seconds} s)"
    )
    OUT.print("  next: do your work, then: plystractl maintenance off")
    return ExitCode.CLEAN
