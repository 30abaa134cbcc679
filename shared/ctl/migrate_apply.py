"""`plystractl migrate up`: the command that changes a schema."""

from __future__ import annotations

from shared.ctl.configuration import Which, owner_dsn
from shared.ctl.console import OUT, Format
from shared.ctl.outcomes import Outcome, ServiceReport, run_for_each
from shared.ctl.reports import Report
from shared.migrations.errors import ExitCode, OperatorError
from shared.migrations.runner import WAIT_SECONDS, HasFindings, migrate_up


class UpReport(Report, frozen=True, kw_only=True, tag="plystractl.migrate.up/1"):
    """What `migrate up` prints for a machine."""

    exit_code: int
    services: list[ServiceReport]


def up(*, service: Which = "both", format: Format = "human", wait: float = WAIT_SECONDS) -> ExitCode:
    """Apply what is pending, in order, each migration as a whole.

    Parameters
    ----------
    service
        Whose database, named by PLYSTRA_AUTHZ_DSN and PLYSTRA_AUDIT_DSN.
    format
        For people, or one JSON document.
    wait
        Seconds to wait for another migrate of the same service.
    """

    def work(outcome: Outcome) -> None:
        def announce(id: str) -> None:
            outcome.applied.append(id)
            if format == "human":
                OUT.print(f"{outcome.service}: applying {id}")

        dsn = owner_dsn(outcome.service)
        try:
            outcome.applied = migrate_up(outcome.service, dsn, wait_seconds=wait, announce=announce)
        except HasFindings:
            raise
        except OperatorError:
            outcome.applied = outcome.applied[:-1]  # the last one announced is the one that failed
            raise

    def show(outcome: Outcome) -> None:
        if outcome.exit_code == ExitCode.CLEAN:
            done = f"{len(outcome.applied)} applied" if outcome.applied else "nothing to apply"
            OUT.print(f"✓ {outcome.service}: {done}.", style="green")

    return run_for_each(UpReport, service, format, work, show)
