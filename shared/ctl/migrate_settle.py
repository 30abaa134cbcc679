"""`plystractl migrate repair` and `baseline`: they put the bookkeeping right, and only as far as the schema proves it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from shared.ctl.configuration import Which, is_production, owner_dsn
from shared.ctl.console import OUT, Format
from shared.ctl.outcomes import Outcome, ServiceReport, run_for_each
from shared.ctl.reports import Report
from shared.migrations.errors import ExitCode, Refused, UsageError
from shared.migrations.expected import by_schema_lock
from shared.migrations.repair import baseline as record_baseline
from shared.migrations.repair import repair as settle


class RepairReport(Report, frozen=True, kw_only=True, tag="plystractl.migrate.repair/1"):
    """What `migrate repair` recorded anew, in `settled`."""

    exit_code: int
    services: list[ServiceReport]


class BaselineReport(Report, frozen=True, kw_only=True, tag="plystractl.migrate.baseline/1"):
    """What `migrate baseline` recorded as applied, in `applied`."""

    exit_code: int
    services: list[ServiceReport]


def repair(
    *, service: Which = "both", original: Path | None = None, format: Format = "human", yes: bool = False
) -> ExitCode:
    """Put ledger and marks right where the schema proves what is applied; the schema itself is never changed.

    Parameters
    ----------
    service
        Whose database, named by PLYSTRA_AUTHZ_DSN and PLYSTRA_AUDIT_DSN.
    original
        A file with the content that an edited migration had when it was applied.
    format
        For people, or one JSON document.
    yes
        In production: it is meant.
    """
    _require_yes("repair", yes=yes)
    content = None if original is None else _read(original)

    def work(outcome: Outcome) -> None:
        is_as_expected = by_schema_lock(outcome.service)
        outcome.settled = settle(outcome.service, owner_dsn(outcome.service), is_as_expected, original=content)

    def show(outcome: Outcome) -> None:
        if outcome.exit_code == ExitCode.CLEAN:
            for each in outcome.settled or []:
                OUT.print(f"✓ {outcome.service}: {each.id} was {each.was}; {each.is_now}.", style="green")
            if not outcome.settled:
                OUT.print(f"✓ {outcome.service}: nothing to repair.", style="green")

    return run_for_each(RepairReport, service, format, work, show)


def baseline(last: str, *, service: Literal["authz", "audit"], format: Format = "human", yes: bool = False) -> ExitCode:
    """Record the migrations up to one as applied in a database that has the schema and no bookkeeping.

    Parameters
    ----------
    last
        The id of the last of them, such as 0003.entity.
    service
        Whose database, named by PLYSTRA_AUTHZ_DSN and PLYSTRA_AUDIT_DSN.
    format
        For people, or one JSON document.
    yes
        In production: it is meant.
    """
    _require_yes("baseline", yes=yes)

    def work(outcome: Outcome) -> None:
        is_as_expected = by_schema_lock(outcome.service)
        outcome.applied = record_baseline(outcome.service, owner_dsn(outcome.service), last, is_as_expected)

    def show(outcome: Outcome) -> None:
        if outcome.exit_code == ExitCode.CLEAN:
            OUT.print(f"✓ {outcome.service}: {len(outcome.applied)} recorded as applied, up to {last}.", style="green")

    return run_for_each(BaselineReport, service, format, work, show)


def _require_yes(command: str, *, yes: bool) -> None:
    if is_production() and not yes:
        raise Refused(
            f"In production `migrate {command}` needs --yes.",
            why="It says what is applied, and every later command goes by that. An environment that isn't named counts as "
            "production.",
            remedy="plystractl migrate verify, and if its findings call for it, the same command with --yes",
        )


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{file} can't be read: {error.strerror}.",
            why="It is to prove what the edited migration was when it was applied.",
            remedy="name the file that holds that content.",
        ) from error
