"""`plystractl schema check --queries` and `schema lock-queries`: every statement of the services, compared or written down."""

from __future__ import annotations

import subprocess
import sys

import msgspec
from psycopg import sql

from shared.ctl.configuration import load_operator_settings, owner_dsn
from shared.ctl.console import OUT, print_error, print_finding
from shared.ctl.outcomes import FindingReport, TroubleReport
from shared.ctl.scratch import scratch_database, scratch_server
from shared.migrations.bootstrap import SERVICES, Roles
from shared.migrations.errors import CannotCompare, ExitCode, OperatorError
from shared.migrations.ledger import connect
from shared.migrations.runner import migrate_up
from shared.queries.check import check_queries, load_lock
from shared.queries.findings import QueryFinding
from shared.queries.lock import QUERIES_LOCK_FILE, render_lock, sources
from shared.queries.locking import lock_queries


class ServiceQueries(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one service's statements; `error` is why nothing could be."""

    exit_code: int
    statements: int
    findings: list[FindingReport]
    error: TroubleReport | None


class ComparedQueries(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one service's statements."""

    exit_code: ExitCode
    statements: int = 0
    findings: list[QueryFinding] = []
    error: OperatorError | None = None

    def describe(self) -> ServiceQueries:
        """Return it for a machine."""
        error = self.error
        return ServiceQueries(
            exit_code=int(self.exit_code),
            statements=self.statements,
            findings=[FindingReport(**finding.describe()) for finding in self.findings],
            error=TroubleReport.of(error) if error else None,
        )


def app_dsn(service: str) -> str:
    """Return the DSN that a service's statements are prepared with: its own, or else the owner's."""
    own: str | None = getattr(load_operator_settings(), f"{service}_app_dsn")
    return own or owner_dsn(service)


def compare_queries(service: str) -> ComparedQueries:
    """Prepare every statement of a service on its database and compare what it takes and gives; executes none.

    Each is prepared as the service's own role: with its app DSN, or with the owner's if that may become it.
    """
    try:
        findings = check_queries(service, app_dsn(service))
        statements = len(load_lock(service, sources(service)).queries)
    except OperatorError as error:
        return ComparedQueries(exit_code=error.exit_code, error=error)
    code = ExitCode.FINDINGS if findings else ExitCode.CLEAN
    return ComparedQueries(exit_code=code, statements=statements, findings=findings)


def show_queries(service: str, found: ComparedQueries) -> None:
    """Print for people what became of a service's statements."""
    if found.error is not None:
        print_error(found.error)
    elif found.findings:
        OUT.print(f"{service}: {len(found.findings)} finding{'s' * (len(found.findings) > 1)} about statements")
    else:
        OUT.print(f"✓ {service}: all {found.statements} statements take and give what the code knows.", style="green")
    for finding in found.findings:
        print_finding(finding)


def lock_queries_command(*, check: bool = False) -> ExitCode:
    """Write queries.lock.json of each service from its statements, on a scratch PostgreSQL that is made for it.

    Parameters
    ----------
    check
        Change nothing; fail when a lock file isn't what it would be written as.
    """
    stale = []
    with scratch_server(None, why="Statements are described by the schema that the migrations make.") as server:
        for service in SERVICES:
            content = _describe(service, server)
            file = sources(service) / QUERIES_LOCK_FILE
            if not check:
                file.write_bytes(content)
            elif not file.exists() or file.read_bytes() != content:
                stale.append(file)
    for file in stale:
        OUT.print(f"✗ {file} isn't what the statements and the schema say.", style="red")
    if stale:
        OUT.print("  why:  a live database is compared with it.")
        OUT.print("  next: plystractl schema lock-queries, and look at the difference")
        return ExitCode.FINDINGS
    OUT.print(f"✓ {QUERIES_LOCK_FILE} of each service is {'current' if check else 'written'}.", style="green")
    return ExitCode.CLEAN


def _describe(service: str, server: str) -> bytes:
    """Return what the lock file of a service says, as its own role sees a database that is migrated for it."""
    with scratch_database(server, service) as dsn:
        migrate_up(service, dsn)
        with connect(dsn, "schema lock-queries", read_only=True) as connection:
            connection.execute(sql.SQL("set role {}").format(sql.Identifier(Roles(service).app)))
            return render_lock(lock_queries(service, connection, _statements(service)))


def _statements(service: str) -> dict[str, dict[str, str]]:
    """Ask a service's program what it sends."""
    command = [sys.executable, "-m", f"services.{service}", "statements"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise CannotCompare(
            f"`python {' '.join(command[1:])}` failed:\n{done.stderr.decode(errors='replace').strip()}",
            why="There is nothing to write or to compare with.",
            remedy="mend what it names.",
        )
    return msgspec.json.decode(done.stdout, type=dict[str, dict[str, str]])
