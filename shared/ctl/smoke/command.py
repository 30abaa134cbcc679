"""The command `plystractl smoke`: a line for each step with its time, and the exit code."""

from __future__ import annotations

import time
from typing import Annotated, Final, Literal

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from shared.ctl.configuration import load_operator_settings
from shared.ctl.console import OUT, Format
from shared.ctl.reports import Report, print_report
from shared.ctl.smoke.steps import Step, steps
from shared.ctl.smoke.world import Missed, NotApplicable, World
from shared.migrations.bootstrap import SERVICES
from shared.migrations.errors import ExitCode, UsageError

_MARKS: Final = {"passed": ("✓", "green"), "failed": ("✗", "red"), "not_applicable": ("–", "dim")}


class StepResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one step; `detail` is what came, or why it doesn't apply; the rest is for one that failed."""

    name: str
    state: Literal["passed", "failed", "not_applicable"]
    milliseconds: float
    detail: str | None = None
    expected: str | None = None
    came: str | None = None
    next: str | None = None


class SmokeReport(Report, frozen=True, kw_only=True, tag="plystractl.smoke/1"):
    """Every step with its result."""

    exit_code: int
    steps: list[StepResult]


def smoke(
    *,
    seeded: bool = False,
    patience: Annotated[float, Parameter(validator=Number(gt=0))] = 10.0,
    format: Format = "human",
) -> ExitCode:
    """Ask running services everything that has to work after an upgrade; changes nothing that is stored.

    Asks at PLYSTRA_AUTHZ_URL and PLYSTRA_AUDIT_URL, with the keys PLYSTRA_CALLER_KEY, PLYSTRA_AUDITOR_KEY and
    PLYSTRA_ADMIN_KEY. Every step is taken, whatever became of the others. The decisions are recorded, in the Space smoke_space.

    Parameters
    ----------
    seeded
        Ask the six questions of the worked example too.
    patience
        Seconds to wait for a decision in audit's log.
    format
        For people, or one JSON document.
    """
    settings = load_operator_settings()
    for service in SERVICES:
        if getattr(settings, f"{service}_url") is None:
            variable = f"PLYSTRA_{service.upper()}_URL"
            raise UsageError(
                f"{variable} isn't set (nor {variable}_FILE).",
                why=f"It says where {service} is.",
                remedy="`set -a; . .plystra/dev.env; set +a` after `make up`, or set it to http://host:port",
            )
    world, results = World(settings, patience=patience), []
    for step in steps(seeded=seeded):
        results.append(result := _take(step, world))
        if format == "human":
            _show(result)
    failed = sum(result.state == "failed" for result in results)
    exit_code = ExitCode.FINDINGS if failed else ExitCode.CLEAN
    if format == "json":
        print_report(SmokeReport(exit_code=int(exit_code), steps=results))
    else:
        told = f"{failed} of {len(results)} steps failed." if failed else f"None of {len(results)} steps failed."
        OUT.print(told, style="red" if failed else "green")
    return exit_code


def _take(step: Step, world: World) -> StepResult:
    started = time.monotonic()

    def took() -> float:
        return round(1000 * (time.monotonic() - started), 1)

    try:
        detail = step.run(world)
    except NotApplicable as reason:
        return StepResult(name=step.name, state="not_applicable", milliseconds=took(), detail=str(reason))
    except Missed as missed:
        return StepResult(
            name=step.name,
            state="failed",
            milliseconds=took(),
            expected=missed.expected,
            came=missed.came,
            next=missed.next,
        )
    except Exception as error:  # noqa: BLE001  # an answer of an unforeseen form: the other steps are to be taken all the same
        return StepResult(
            name=step.name,
            state="failed",
            milliseconds=took(),
            expected="an answer of the documented form",
            came=f"{type(error).__name__}: {error}",
            next="plystractl doctor: see version",
        )
    return StepResult(name=step.name, state="passed", milliseconds=took(), detail=detail)


def _show(result: StepResult) -> None:
    mark, style = _MARKS[result.state]
    OUT.print(f"{mark} {result.name:<15} {result.milliseconds:>8.1f} ms  {result.detail or ''}".rstrip(), style=style)
    if result.state == "failed":
        OUT.print(f"    expected: {result.expected}")
        OUT.print(f"    came:     {result.came}")
        OUT.print(f"    next:     {result.next}")
