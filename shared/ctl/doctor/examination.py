"""Runs checks, each whatever became of the others, within a time limit; a crash is a finding."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec
import psycopg

from shared.ctl.doctor.context import Context
from shared.ctl.doctor.findings import Check, Finding, Group, NotApplicable

State = Literal["clean", "warnings", "findings", "not_applicable"]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one check; `detail` is what it proved, or why it doesn't apply."""

    name: str
    group: Group
    service: str | None
    state: State
    detail: str
    seconds: float
    findings: list[Finding]


def examine(context: Context, checks: Iterable[Check]) -> Iterator[Result]:
    """Run every check in its order and yield its result."""
    for check in checks:
        started = time.monotonic()
        findings, why_not = _run(context, check)
        if why_not is not None:
            state: State = "not_applicable"
        elif any(finding.level == "finding" for finding in findings):
            state = "findings"
        else:
            state = "warnings" if findings else "clean"
        yield Result(
            name=check.name,
            group=check.group,
            service=check.service or None,
            state=state,
            detail=why_not or check.proves,
            seconds=round(time.monotonic() - started, 3),
            findings=findings,
        )


def _run(context: Context, check: Check) -> tuple[list[Finding], str | None]:
    """Return a check's findings, or why it doesn't apply."""
    ended: list[tuple[list[Finding], str | None]] = []

    def look() -> None:
        try:
            ended.append((list(check.look(context, check.service)), None))
        except NotApplicable as reason:
            ended.append(([], str(reason)))
        except (
            psycopg.errors.UndefinedTable,
            psycopg.errors.UndefinedFunction,
            psycopg.errors.InvalidSchemaName,
        ) as error:
            ended.append(
                ([], f"The schema isn't far enough ({_line(error)}); see {check.service or 'authz'} migrations.")
            )
        except Exception as error:  # noqa: BLE001  # whatever it is, the other checks are to be run and this one to be told of
            ended.append(([_crashed(check, error)], None))

    # A thread that hangs can't be ended; as a daemon it doesn't keep the program from ending.
    thread = threading.Thread(target=look, name=f"doctor {check.title}", daemon=True)
    thread.start()
    thread.join(context.limits.check_seconds)
    if ended:
        return ended[0]
    context.abandon()
    return [_timed_out(check, context.limits.check_seconds)], None


def _crashed(check: Check, error: Exception) -> Finding:
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return Finding(
            seen=f"The check may not look: {_line(error)}",
            why=f"What {check.title} would find remains unknown.",
            next=f"export PLYSTRA_{(check.service or 'authz').upper()}_DSN=… with the user {check.service or 'authz'}_migrator",
        )
    return Finding(
        seen=f"The check failed: {type(error).__name__}: {_line(error)}",
        why=f"What {check.title} would find remains unknown.",
        next="plystractl doctor, again; if that doesn't help, report it",
    )


def _timed_out(check: Check, seconds: float) -> Finding:
    return Finding(
        seen=f"The check didn't end within {seconds:g} s.",
        why=f"What {check.title} would find remains unknown; something hangs.",
        next="select pid, application_name, state, wait_event, query from pg_stat_activity where wait_event_type = 'Lock';",
    )


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]
