"""The command `plystractl doctor`: a line for each check, what was found, and the exit code."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from shared.ctl.console import ERR, OUT, Format
from shared.ctl.doctor.checks import CHECKS
from shared.ctl.doctor.context import Context
from shared.ctl.doctor.examination import Result, State, examine
from shared.ctl.doctor.findings import Finding
from shared.ctl.doctor.limits import Limits
from shared.ctl.reports import Report, print_report
from shared.migrations.errors import ExitCode

_MARKS: Final[dict[State, tuple[str, str]]] = {
    "clean": ("✓", "green"),
    "warnings": ("!", "yellow"),
    "findings": ("✗", "red"),
    "not_applicable": ("–", "dim"),
}


class DoctorReport(Report, frozen=True, kw_only=True, tag="plystractl.doctor/1"):
    """Every check with its result, and how many came to which end."""

    exit_code: int
    checks: list[Result]
    clean: int
    warnings: int
    findings: int
    not_applicable: int


def doctor(
    *,
    home: Path = Path(".plystra"),
    backups: Path | None = None,
    backup_max_age: Annotated[float, Parameter(validator=Number(gt=0))] = 24.0,
    timeout: Annotated[float, Parameter(validator=Number(gt=0))] = Limits().check_seconds,
    format: Format = "human",
) -> ExitCode:
    """Look at configuration, connections, migrations, schema, roles, servers and delivery; only reads.

    Every check is run, whatever became of the others. Each finding says what was seen and the command or SQL that mends it.

    Parameters
    ----------
    home
        The folder that `up` was given, to look at the disk of its PostgreSQL.
    backups
        The folder of backups; PLYSTRA_BACKUP_DIR unless given.
    backup_max_age
        Hours that the newest backup of each service may be old.
    timeout
        Seconds that one check may take.
    format
        For people, or one JSON document.
    """
    context = Context(
        os.environ,
        home=home,
        backups=backups,
        backup_max_age_hours=backup_max_age,
        limits=Limits(check_seconds=timeout),
    )
    results = []
    for result in examine(context, CHECKS):
        results.append(result)
        if format == "human":
            _show(result)
    context.close()
    exit_code = _exit_code(context, results)
    counts = {state: sum(result.state == state for result in results) for state in _MARKS}
    if format == "json":
        print_report(DoctorReport(exit_code=int(exit_code), checks=results, **counts))
        return exit_code
    told = ", ".join(f"{counts[state]} {state.replace('_', ' ')}" for state in _MARKS)
    OUT.print(f"{len(results)} checks: {told}.", style="green" if exit_code == ExitCode.CLEAN else "red")
    if exit_code == ExitCode.UNREACHABLE:
        ERR.print("✗ Neither a database nor a service could be reached.", style="red")
    return exit_code


def _exit_code(context: Context, results: Sequence[Result]) -> ExitCode:
    if not context.reached:
        return ExitCode.UNREACHABLE
    return ExitCode.FINDINGS if any(result.state == "findings" for result in results) else ExitCode.CLEAN


def _show(result: Result) -> None:
    mark, style = _MARKS[result.state]
    title = f"{result.service or ''} {result.name}".strip()
    number = len(result.findings)
    told = f"{number} finding{'s' * (number > 1)}" if number else result.detail
    OUT.print(f"{mark} {title}: {told}", style=style)
    for finding in result.findings:
        _show_finding(finding, result.service)


def _show_finding(finding: Finding, service: str | None) -> None:
    place = f" (SQL in the database of {service})" if finding.next.endswith(";") and service else ""
    OUT.print(f"    seen: {finding.seen}")
    OUT.print(f"    why:  {finding.why}")
    OUT.print(f"    next: {finding.next}{place}")
