"""`plystractl migrate verify`, `status` and `plan`: what there is; they only read."""

from __future__ import annotations

from shared.ctl.annotations import AnnotationFormat
from shared.ctl.configuration import Which, owner_dsn
from shared.ctl.console import OUT, Format
from shared.ctl.outcomes import Outcome, ServiceReport, run_for_each
from shared.ctl.reports import Report
from shared.migrations.errors import ExitCode
from shared.migrations.plan import PlannedMigration, make_plan
from shared.migrations.runner import HasFindings, migration_status
from shared.migrations.schema import verify_schema
from shared.migrations.verify import SCOPE, verify


class VerifyReport(Report, frozen=True, kw_only=True, tag="plystractl.migrate.verify/1"):
    """What `migrate verify` prints for a machine."""

    exit_code: int
    services: list[ServiceReport]


class StatusReport(Report, frozen=True, kw_only=True, tag="plystractl.migrate.status/1"):
    """What `migrate status` prints for a machine."""

    exit_code: int
    services: list[ServiceReport]


class PlanReport(Report, frozen=True, kw_only=True, tag="plystractl.migrate.plan/1"):
    """What `migrate up` would do; `digest` is that of all the services together, as `migrate up --plan` takes it."""

    exit_code: int
    services: list[ServiceReport]
    digest: str | None


def verify_command(*, service: Which = "both", format: AnnotationFormat = "human", schema: bool = True) -> ExitCode:
    """Compare files, lock file, ledger, yoyo's table and schema; read-only, and any role that may read the ledger will do.

    The schema is compared when the rest is in order, as otherwise it isn't known how it should be.

    Parameters
    ----------
    service
        Whose database, named by PLYSTRA_AUTHZ_DSN and PLYSTRA_AUDIT_DSN.
    schema
        Compare the schema too; it can't be on another major version of PostgreSQL than schema.lock.json was taken on.
    format
        For people, one JSON document, annotations of GitHub's workflows, or a SARIF document.
    """

    def work(outcome: Outcome) -> None:
        dsn = owner_dsn(outcome.service)
        outcome.findings = verify(outcome.service, dsn)
        if outcome.findings:
            outcome.exit_code = ExitCode.FINDINGS
        if schema and all(finding.code == "pending" for finding in outcome.findings):
            differences = verify_schema(outcome.service, dsn)
            outcome.findings = [*outcome.findings, *differences]
            outcome.exit_code = ExitCode.FINDINGS if outcome.findings else ExitCode.CLEAN

    def show(outcome: Outcome) -> None:
        if outcome.exit_code == ExitCode.CLEAN:
            OUT.print(f"✓ {outcome.service}: clean ({SCOPE}{', schema' if schema else ''}).", style="green")

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


def plan(*, service: Which = "both", format: Format = "human", digest: bool = False) -> ExitCode:
    """Show what `migrate up` would do, with the locks that it would take; read-only.

    Parameters
    ----------
    service
        Whose database, named by PLYSTRA_AUTHZ_DSN and PLYSTRA_AUDIT_DSN.
    format
        For people, or one JSON document.
    digest
        Print nothing but the digest of the plan, for `migrate up --plan`.
    """
    digests: list[str] = []

    def work(outcome: Outcome) -> None:
        outcome.plan, faults = make_plan(outcome.service, owner_dsn(outcome.service))
        if faults:
            raise HasFindings(faults)
        digests.append(outcome.plan.digest)

    def show(outcome: Outcome) -> None:
        if outcome.exit_code != ExitCode.CLEAN or digest or not outcome.plan:
            return
        OUT.print(f"{outcome.service}: {len(outcome.plan.applied)} applied, {len(outcome.plan.pending)} to apply.")
        for migration in outcome.plan.pending:
            _show_planned(migration)

    def report(exit_code: int, services: list[ServiceReport]) -> PlanReport:
        combined = ",".join(digests) if exit_code == ExitCode.CLEAN else None
        return PlanReport(exit_code=exit_code, services=services, digest=combined)

    exit_code = run_for_each(report, service, format, work, show)
    if exit_code == ExitCode.CLEAN and format == "human":
        OUT.print(",".join(digests) if digest else f"digest: {','.join(digests)}")
    return exit_code


def _show_planned(migration: PlannedMigration) -> None:
    how = "in one transaction" if migration.transactional else "outside of a transaction"
    OUT.print(f"  {migration.id} ({migration.state}, {migration.kind}, {migration.phase}, {how})")
    OUT.print(f"      purpose: {migration.purpose}")
    OUT.print(f"      locks:   {migration.locks}")
    for lock in migration.estimated_locks:
        OUT.print(f"      {lock.mode} on {lock.object}, which keeps off {lock.blocks}")
