"""`plystractl migrate verify` and `status`: what there is; they only read."""

from __future__ import annotations

from shared.ctl.configuration import Which, owner_dsn
from shared.ctl.console import OUT, Format
from shared.ctl.outcomes import Outcome, ServiceReport, run_for_each
from shared.ctl.reports import Report
from shared.migrations.errors import ExitCode
from shared.migrations.runner import migration_status
from shared.migrations.verify import SCOPE, verify


class VerifyReport(Report, frozen=True, kw_only=True, tag="plystractl.migrate.verify/1"):
    """What `migrate verify` prints for a machine."""

    exit_code: int
    services: list[ServiceReport]


class StatusReport(Report, frozen=True, kw_only=True, tag="plystractl.migrate.status/1"):
    """What `migrate status` prints for a machine."""

    exit_code: int
    services: list[ServiceReport]


def verify_command(*, service: Which = "both", format: Format = "human") -> ExitCode:
    """Compare files, lock file, ledger and yoyo's table; read-only, and any role that may read the ledger will do.

    Parameters
    ----------
    service
        Whose database, named by PLYSTRA_AUTHZ_DSN and PLYSTRA_AUDIT_DSN.
    format
        For people, or one JSON document.
    """

    def work(outcome: Outcome) -> None:
        outcome.findings = verify(outcome.service, owner_dsn(outcome.service))
        if outcome.findings:
            outcome.exit_code = ExitCode.FINDINGS

    def show(outcome: Outcome) -> None:
        if outcome.exit_code == ExitCode.CLEAN:
            OUT.print(f"✓ {outcome.service}: clean ({SCOPE}).", style="green")

    return run_for_each(VerifyReport, service, format, work, show)


def status(*, service: Which = "both", format: Format = "human") -> ExitCode:
    """Show each migration and whether it is applied; read-only.

    Parameters
    ----------
    service
        Whose database, named by PLYSTRA_AUTHZ_DSN and PLYSTRA_AUDIT_DSN.
    format
        For people, or one JSON document.
    """

    def work(outcome: Outcome) -> None:
        outcome.migrations = migration_status(outcome.service, owner_dsn(outcome.service))

    def show(outcome: Outcome) -> None:
        for row in outcome.migrations:
            applied_at = row.recorded and row.recorded.applied_at
            when = f"{applied_at:%Y-%m-%dT%H:%M:%S}" if applied_at else ""
            OUT.print(f"{outcome.service}  {row.state:<11}  {when:<19}  {row.id}: {row.purpose or ''}")

    return run_for_each(StatusReport, service, format, work, show)
