"""`plystractl authz`: what an operator asks of the permission graph itself."""

from __future__ import annotations

import contextlib
import time
import uuid
from datetime import datetime
from typing import Annotated, Final

from cyclopts import App, Parameter
from cyclopts.validators import Number

from shared.ctl.catch_up import Standing, catch_up, compare_standing
from shared.ctl.configuration import owner_dsn
from shared.ctl.console import ERR, OUT, Format, print_finding
from shared.ctl.first_fault import FaultReport
from shared.ctl.projections import NOUNS, compare_projections
from shared.ctl.replay import Chosen, Replayed
from shared.ctl.replay import replay as replay_decisions
from shared.ctl.reports import Report, print_report
from shared.migrations.errors import ExitCode, UsageError

app: Final = App(
    name="authz",
    help="Prove that the permission graph is what its history made of it, and decisions what it made of them.",
)


class ProjectionsReport(Report, frozen=True, kw_only=True, tag="plystractl.authz.verify-projections/1"):
    """What was compared, and the first fault of each kind with how many there are."""

    exit_code: ExitCode
    events: int
    revision: int
    differences: list[FaultReport]


class ReplayReport(Report, frozen=True, kw_only=True, tag="plystractl.authz.replay/1"):
    """Which decisions were derived again, and the first disagreement of each kind with how many there are."""

    exit_code: ExitCode
    decisions: int
    log_indexes: tuple[int, int] | None
    revisions: tuple[int, int] | None
    inline: dict[str, int]
    disagreements: list[FaultReport]


@app.command
def verify_projections(*, format: Format = "human") -> ExitCode:
    """Replay every event and compare each table of the graph row by row; read-only, while authz goes on.

    Names the first fault of each kind, and how many there are.

    Parameters
    ----------
    format
        For people, or one JSON document.
    """
    comparison = compare_projections(owner_dsn("authz"))
    differences = comparison.differences
    exit_code = ExitCode.FINDINGS if differences else ExitCode.CLEAN
    if format == "json":
        print_report(
            ProjectionsReport(
                exit_code=exit_code,
                events=comparison.events,
                revision=comparison.revision,
                differences=[difference.describe() for difference in differences],
            )
        )
        return exit_code
    compared = f"{comparison.events} events up to revision {comparison.revision}, {len(NOUNS)} tables"
    if not differences:
        OUT.print(f"✓ authz: each row is what its events made of it ({compared}).", style="green")
        return exit_code
    OUT.print(
        f"authz: {compared}; {sum(difference.total for difference in differences)} faults, the first of each kind:"
    )
    for difference in differences:
        print_finding(difference)
    return exit_code


class CaughtUp(Report, frozen=True, kw_only=True, tag="plystractl.authz.catch-up/1"):
    """How authz stood to audit, and how many changes were appended."""

    exit_code: int
    standing: Standing
    appended: int


@app.command(name="catch-up")
def catch_up_command(*, from_audit: bool = False, check: bool = False, format: Format = "human") -> ExitCode:
    """Bring an authz that was restored from a backup up to the changes that audit has of it.

    Reads audit's log, appends each change with its own id to authz's history and writes the rows that it left, all in one
    transaction. It may be run again at any time.

    Parameters
    ----------
    from_audit
        Say that audit's log is what to go by; needed unless --check is given.
    check
        Change nothing; exit 1 when authz is behind.
    format
        For people, or one JSON document.
    """
    if not (from_audit or check):
        raise UsageError(
            "catch-up needs --from-audit, or --check.",
            why="It writes changes into authz that it didn't make itself.",
            remedy="plystractl authz catch-up --check tells by how much authz is behind.",
        )
    dsns = owner_dsn("authz"), owner_dsn("audit")
    standing = compare_standing(*dsns) if check else catch_up(*dsns, lambda text: ERR.print(f"authz: {text}"))
    exit_code = ExitCode.FINDINGS if check and standing.missing else ExitCode.CLEAN
    appended = 0 if check else standing.missing
    if format == "json":
        print_report(CaughtUp(exit_code=int(exit_code), standing=standing, appended=appended))
        return exit_code
    if exit_code == ExitCode.FINDINGS:
        told = f"revision {standing.authz_revision}, audit has changes up to {standing.audit_revision}"
        OUT.print(f"✗ authz is {standing.missing} changes behind audit ({told}).", style="red")
        OUT.print(
            "  why:  It decides on rights that were changed since, and its next change would be a second history."
        )
        OUT.print("  next: stop authz, then: plystractl authz catch-up --from-audit")
    elif appended:
        OUT.print(f"✓ authz: {appended} changes appended, now at revision {standing.audit_revision}.", style="green")
        OUT.print("  next: plystractl authz verify-projections")
    else:
        OUT.print(f"✓ authz isn't behind audit (revision {standing.authz_revision}).", style="green")
    if standing.lost:
        OUT.print(
            f"  At least {standing.lost} later changes were decided on and never reached audit: they are lost, and have "
            "to be made again by hand."
        )
    return exit_code


@app.command
def replay(
    *,
    decision: str | None = None,
    since: str | None = None,
    until: str | None = None,
    sample: Annotated[int, Parameter(validator=Number(gte=1))] | None = None,
    format: Format = "human",
) -> ExitCode:
    """Derive recorded decisions again, from their traces and from the history of the graph; read-only.

    Reads the decisions from audit's database and the history from authz's. Names the first fault of each kind, and how
    many there are.

    Parameters
    ----------
    decision
        The id of one decision.
    since
        Only decisions recorded in audit at this time or later, such as 2026-01-31T00:00:00Z.
    until
        Only decisions recorded before this time.
    sample
        How many decisions at most, spread over the whole range; 1000 unless told otherwise.
    format
        For people, or one JSON document.
    """
    if decision is not None and (since, until, sample) != (None, None, None):
        raise UsageError(
            "--decision names one decision, so --since, --until and --sample have nothing to choose from.",
            why="Which of them is meant can't be told.",
            remedy="leave out the one or the others.",
        )
    chosen = Chosen(
        decision=None if decision is None else _event_id(decision),
        since=_moment("since", since),
        until=_moment("until", until),
        number=1_000 if sample is None else sample,
    )
    started = time.monotonic()
    replayed = replay_decisions(owner_dsn("audit"), owner_dsn("authz"), chosen)
    exit_code = ExitCode.FINDINGS if replayed.disagreements else ExitCode.CLEAN
    if format == "json":
        print_report(
            ReplayReport(
                exit_code=exit_code,
                decisions=replayed.decisions,
                log_indexes=replayed.log_indexes,
                revisions=replayed.revisions,
                inline=replayed.inline,
                disagreements=[one.describe() for one in replayed.disagreements],
            )
        )
        return exit_code
    told = f"{_told(replayed)} in {time.monotonic() - started:.1f} s"
    if not replayed.disagreements:
        OUT.print(f"✓ authz: nothing disagrees ({told}).", style="green")
        return exit_code
    OUT.print(f"authz: {told}; {sum(one.total for one in replayed.disagreements)} faults, the first of each kind:")
    for one in replayed.disagreements:
        print_finding(one)
    return exit_code


def _told(replayed: Replayed) -> str:
    if replayed.log_indexes is None or replayed.revisions is None:
        return "no decision was replayed"
    (first, last), (earliest, latest) = replayed.log_indexes, replayed.revisions
    parts = ", ".join(f"{name} of {count}" for name, count in replayed.inline.items())
    inline = f"; from the request came {parts}" if parts else ""
    return f"{replayed.decisions} decisions replayed, log indexes {first} to {last}, revisions {earliest} to {latest}{inline},"


def _event_id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise UsageError(
            f"--decision: {text!r} isn't the id of a decision.",
            why="No decision can have it.",
            remedy="give the decision_id of an answer, a UUID such as 0192f0c1-7a3e-7cc0-8000-0123456789ab.",
        ) from error


def _moment(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment
    raise UsageError(
        f"--{option}: {text!r} isn't a time with an offset from UTC.",
        why="Which moment is meant can't be told.",
        remedy="write it as 2026-01-31T00:00:00Z.",
    )
