"""What is around the services: clocks that agree, room on the disk, backups that are young enough."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

import msgspec
from psycopg import conninfo

from shared.ctl.backups.folder import newest_backup
from shared.ctl.doctor.context import Context
from shared.ctl.doctor.findings import Finding, NotApplicable
from shared.embedded.place import RECORD, Place

_LOCAL: Final = frozenset({"127.0.0.1", "localhost", "::1", ""})
_TICK: Final = timedelta(seconds=1)  # the Date of an HTTP answer has whole seconds


def look_at_database_clock(context: Context, service: str) -> Iterator[Finding]:
    """Find a database server whose clock isn't this machine's."""
    context.session(service)
    before = context.now()
    there = context.row(service, "read_time")["now"]
    yield from _differ(context, f"The database server of {service}", there, there, before, context.now())


def look_at_service_clock(context: Context, service: str) -> Iterator[Finding]:
    """Find a service whose machine's clock isn't this one's."""
    before = context.now()
    date = context.ask(service, "/api/v1/health").headers.get("date")
    after = context.now()
    if date is None:
        raise NotApplicable("The answer has no Date.")
    there = parsedate_to_datetime(date)
    yield from _differ(context, f"The machine of {service}", there, there + _TICK, before, after)


def look_at_disk(context: Context, service: str) -> Iterator[Finding]:
    """Find too little room where an embedded PostgreSQL of this machine has its data."""
    size = context.row(service, "read_size")["bytes"]
    folder = _embedded_folder(context, service)
    if folder is None:
        raise NotApplicable(f"SQL doesn't tell how much room the server's disk has; the database has {size} bytes.")
    usage = shutil.disk_usage(folder)
    if usage.free < context.limits.free_bytes or usage.free < context.limits.free_share * usage.total:
        yield Finding(
            seen=f"{folder} has {usage.free} of {usage.total} bytes left; the database of {service} has {size}.",
            why="PostgreSQL stops when it can't write.",
            next=f"df -h {folder}, and delete there what nobody needs",
        )


def look_at_backup(context: Context, service: str) -> Iterator[Finding]:
    """Find that there is no backup, or none that is young enough."""
    folder = context.backups
    command = f"plystractl backup create --service {service}" + (f" --out {folder}" if folder else "")
    if folder is None:
        if not context.is_production:
            raise NotApplicable(
                "Neither --backups nor PLYSTRA_BACKUP_DIR says where backups are, and this isn't production."
            )
        seen = "Neither --backups nor PLYSTRA_BACKUP_DIR says where backups are."
    elif (newest := newest_backup(folder, service)) is None:
        seen = f"{folder} holds no backup of {service} that is whole."
    elif (age := context.now() - newest.created_at) > timedelta(hours=context.backup_max_age_hours):
        seen = f"The newest backup of {service} in {folder} is {age.total_seconds() / 3600:.1f} hours old."
    else:
        return
    yield Finding(seen=seen, why="What was recorded since then would be lost with the server.", next=command)


def _embedded_folder(context: Context, service: str) -> Path | None:
    """Return where the data of this database lies, if its server is the embedded one of the home."""
    dsn = context.dsn(service)
    parts = conninfo.conninfo_to_dict(dsn or "")
    try:
        place = msgspec.json.decode((context.home / RECORD).read_bytes(), type=Place)
    except (OSError, msgspec.MsgspecError):
        return None
    is_ours = parts.get("host", "") in _LOCAL and str(parts.get("port", "")) == str(place.port)
    return place.root if is_ours and place.root.is_dir() else None


def _differ(
    context: Context, whose: str, earliest: datetime, latest: datetime, before: datetime, after: datetime
) -> Iterator[Finding]:
    """Compare two spans of time in which the same moment lies: there between the first two, here between the others."""
    seconds = max((earliest - after).total_seconds(), (before - latest).total_seconds(), 0.0)
    if seconds > context.limits.clock_warning_seconds:
        side = "ahead of" if earliest > after else "behind"
        yield Finding(
            seen=f"{whose} is {seconds:.1f} s {side} this machine.",
            why="Validities begin and end, and records are dated, by the clock of the machine that decides or writes.",
            next="timedatectl set-ntp true, on the machine that is wrong",
            level="finding" if seconds > context.limits.clock_seconds else "warning",
        )
