"""The commands `plystractl upgrade plan` and `upgrade verify`: a line for each look, then what to type."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from cyclopts import App

from shared.ctl.backups.folder import backup_folder
from shared.ctl.configuration import owner_dsn
from shared.ctl.console import OUT, Format
from shared.ctl.reports import Report, print_report
from shared.ctl.upgrade import after, before
from shared.ctl.upgrade.answers import running_version
from shared.ctl.upgrade.looks import Line, State, take
from shared.ctl.upgrade.steps import command_of, steps
from shared.migrations.bootstrap import SERVICES
from shared.migrations.errors import ExitCode
from shared.migrations.plan import Plan, make_plan
from shared.release import SERVICE_VERSION

_REASON: Final = f"upgrade to {SERVICE_VERSION}"
_MARKS: Final[dict[State, tuple[str, str]]] = {
    "well": ("✓", "green"),
    "note": ("·", "dim"),
    "finding": ("✗", "red"),
    "unreachable": ("✗", "red"),
    "refused": ("✗", "red"),
}
_CODES: Final[dict[State, ExitCode]] = {
    "well": ExitCode.CLEAN,
    "note": ExitCode.CLEAN,
    "finding": ExitCode.FINDINGS,
    "unreachable": ExitCode.UNREACHABLE,
    "refused": ExitCode.REFUSED,
}

app: Final = App(name="upgrade", help="See what an upgrade needs, in which order, and what has come of it.")


class PlannedStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step with what to type, and whether it is seen to be done; of one that leaves no trace it isn't known."""

    name: str
    command: str
    does: str
    is_done: bool


class UpgradePlanReport(Report, frozen=True, kw_only=True, tag="plystractl.upgrade.plan/1"):
    """What was looked at before an upgrade, and its steps in order."""

    exit_code: int
    tool_version: str
    lines: list[Line]
    steps: list[PlannedStep]


class UpgradeVerifyReport(Report, frozen=True, kw_only=True, tag="plystractl.upgrade.verify/1"):
    """What was looked at after an upgrade."""

    exit_code: int
    tool_version: str
    lines: list[Line]


@app.command
def plan(*, backups: Path | None = None, format: Format = "human") -> ExitCode:
    """Look whether this release can take the place of what is there, and print the steps with what is done ticked; read-only.

    Parameters
    ----------
    backups
        The folder of backups; PLYSTRA_BACKUP_DIR unless given.
    format
        For people, or one JSON document.
    """
    folder = backup_folder(backups)
    each = {
        "release": before.look_at_release,
        "migrations": before.look_at_pending,
        "running": before.look_at_running,
        "outbox": before.look_at_waiting,
        "backup": before.look_for_backup(folder),
    }
    lines = [line for service in SERVICES for name, look in each.items() for line in take(name, service, look)]
    exit_code = _exit_code(lines)
    planned = _planned(lines, folder) if exit_code in (ExitCode.CLEAN, ExitCode.FINDINGS) else []
    if format == "json":
        print_report(
            UpgradePlanReport(exit_code=int(exit_code), tool_version=SERVICE_VERSION, lines=lines, steps=planned)
        )
        return exit_code
    _show(lines)
    for number, step in enumerate(planned, start=1):
        OUT.print(f"{number:>3}. [{'x' if step.is_done else ' '}] {step.command}", end="")
        OUT.print(f"   ({step.does})" if step.command != step.does else "", style="dim")
    return exit_code


@app.command
def verify(*, backups: Path | None = None, format: Format = "human") -> ExitCode:
    """Look whether an upgrade has come out as it should: migrations, schema, statements, permission graph, services, rows.

    It only reads.

    Parameters
    ----------
    backups
        The folder with the backup from before; PLYSTRA_BACKUP_DIR unless given. No table may have fewer rows.
    format
        For people, or one JSON document.
    """
    each = {
        "release": before.look_at_release,
        "migrations": after.look_at_ledger,
        "schema": after.look_at_schema,
        "statements": after.look_at_statements,
        "projections": after.look_at_projections,
        "running": after.look_at_answers,
        "rows": after.look_for_loss(backup_folder(backups)),
    }
    lines = [line for service in SERVICES for name, look in each.items() for line in take(name, service, look)]
    exit_code = _exit_code(lines)
    if format == "json":
        print_report(UpgradeVerifyReport(exit_code=int(exit_code), tool_version=SERVICE_VERSION, lines=lines))
    else:
        _show(lines)
    return exit_code


def _exit_code(lines: Sequence[Line]) -> ExitCode:
    return max(_CODES[line.state] for line in lines)


def _planned(lines: Sequence[Line], folder: Path | None) -> list[PlannedStep]:
    """Return the steps, those ticked of which it shows that they are done."""
    plans = _plans()
    maintenance = before.is_in_maintenance()
    is_migrated = not any(each.pending for each in plans)
    done = {
        "plan": True,
        "backup": all(line.state == "well" for line in lines if line.name == "backup"),
        "maintenance on": maintenance is True,
        "migrate plan": is_migrated,
        "migrate up": is_migrated,
        "start": is_migrated and all(running_version(service) == SERVICE_VERSION for service in SERVICES),
    }
    digest = ",".join(each.digest for each in plans)
    values = {"backups": str(folder) if folder else "", "digest": digest, "reason": _REASON}
    return [
        PlannedStep(
            name=step.name, command=command_of(step, **values), does=step.does, is_done=done.get(step.name, False)
        )
        for step in steps(knows_maintenance=maintenance is not None)
    ]


def _plans() -> list[Plan]:
    return [make_plan(service, owner_dsn(service))[0] for service in SERVICES]


def _show(lines: Sequence[Line]) -> None:
    for line in lines:
        mark, style = _MARKS[line.state]
        OUT.print(f"{mark} {line.service} {line.name}: {line.seen}", style=style)
        if line.why:
            OUT.print(f"      why:  {line.why}")
        if line.next:
            OUT.print(f"      next: {line.next}")
