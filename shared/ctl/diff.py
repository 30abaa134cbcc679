"""`plystractl migrate diff`: replays the migrations, and writes or checks both lock files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from shared.catalogue.compare import differences
from shared.catalogue.model import Difference
from shared.catalogue.schema_lock import SCHEMA_LOCK_FILE, SchemaLock, read_schema_lock, render_schema_lock
from shared.ctl.configuration import Which, chosen
from shared.ctl.console import OUT, Format, print_error
from shared.ctl.outcomes import TroubleReport
from shared.ctl.reports import Report, print_report
from shared.ctl.scratch import scratch_database, scratch_server
from shared.migrations.errors import CannotCompare, ExitCode, OperatorError
from shared.migrations.files import LOCK_FILE, MigrationFolder, read_folder
from shared.migrations.lockfile import number_gaps, render_lock
from shared.migrations.replay import replay
from shared.migrations.runner import HasFindings

State = Literal["current", "written", "stale"]


class ServiceDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay showed for one service; a difference is between the lock file that was there and the replay."""

    service: str
    exit_code: int
    lock_files: dict[str, State] = {}
    differences: list[Difference] = []
    error: TroubleReport | None = None


class DiffReport(Report, frozen=True, kw_only=True, tag="plystractl.migrate.diff/1"):
    """What `migrate diff` found or wrote."""

    exit_code: int
    services: list[ServiceDiff]


def diff(
    *, service: Which = "both", check: bool = False, server: str | None = None, format: Format = "human"
) -> ExitCode:
    """Replay the migrations in a scratch database and write migrations.lock and schema.lock.json anew.

    Parameters
    ----------
    service
        Whose folder.
    check
        Change nothing; fail when a lock file isn't what it would be written as.
    server
        DSN of the superuser of a PostgreSQL to make the scratch database on; by default an embedded one is started.
    format
        For people, or one JSON document.
    """
    with scratch_server(server, why="Migrations are replayed in a database of their own.") as dsn:
        found = [_diff(one, dsn, check=check) for one in chosen(service)]
    exit_code = max(ExitCode(one.exit_code) for one in found)
    if format == "json":
        print_report(DiffReport(exit_code=int(exit_code), services=found))
    else:
        for one in found:
            _show(one)
    return exit_code


def _diff(service: str, server: str, *, check: bool) -> ServiceDiff:
    try:
        files = read_folder(service)
        if faults := [*files.faults, *number_gaps(files)]:
            raise HasFindings(faults)
        with scratch_database(server, service) as dsn:
            lock = replay(service, dsn, files.path)
        return _compare(files, lock, check=check)
    except OperatorError as error:
        return ServiceDiff(service=service, exit_code=int(error.exit_code), error=TroubleReport.of(error))


def _compare(files: MigrationFolder, lock: SchemaLock, *, check: bool) -> ServiceDiff:
    try:
        before = read_schema_lock(files.path)
    except msgspec.DecodeError:
        before = None  # the file is then no lock file, and stale like any other text
    if check and before is not None and before.postgres_major != lock.postgres_major:
        raise CannotCompare(
            f"The scratch server is PostgreSQL {lock.postgres_major}; {SCHEMA_LOCK_FILE} was taken on {before.postgres_major}.",
            why="Another major version describes the same schema in other words.",
            remedy=f"name a server of PostgreSQL {before.postgres_major} by --server.",
        )
    states = {
        name: _settle(files.path / name, text, check=check)
        for name, text in ((LOCK_FILE, render_lock(files)), (SCHEMA_LOCK_FILE, render_schema_lock(lock)))
    }
    changed = differences(before.at(before.ids), lock.at(lock.ids)) if before is not None else []
    exit_code = ExitCode.FINDINGS if "stale" in states.values() else ExitCode.CLEAN
    return ServiceDiff(service=files.service, exit_code=int(exit_code), lock_files=states, differences=changed)


def _settle(file: Path, text: str, *, check: bool) -> State:
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return "current"
    if check:
        return "stale"
    file.write_text(text, encoding="utf-8")
    return "written"


def _show(found: ServiceDiff) -> None:
    for name, state in found.lock_files.items():
        mark, style = ("✗", "red") if state == "stale" else ("✓", "green")
        OUT.print(f"{mark} {found.service}: {name} is {state}.", style=style)
        if state == "stale":
            OUT.print(f"      next: plystractl migrate diff --service {found.service}")
    for difference in found.differences:
        OUT.print(f"  {difference}")
    if found.error is not None:
        print_error(OperatorError(found.error.found, why=found.error.why, remedy=found.error.next))
