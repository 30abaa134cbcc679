"""`plystractl migrate`: apply, verify and show the migrations of each service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from cyclopts import App

from shared.ctl.configuration import Which, chosen, owner_dsn
from shared.ctl.console import OUT, Format, print_error, print_finding, print_json
from shared.ctl.diff import diff
from shared.migrations.errors import ExitCode, OperatorError
from shared.migrations.files import LOCK_FILE, read_folder
from shared.migrations.findings import Finding
from shared.migrations.lockfile import number_gaps, read_lock, render_lock
from shared.migrations.runner import WAIT_SECONDS, HasFindings, migrate_up, migration_status
from shared.migrations.verify import SCOPE, compare_files, verify

app: Final = App(name="migrate", help="Apply, verify and show the versioned migrations of each service's database.")
app.command(diff)


class Outcome(msgspec.Struct, kw_only=True):
    """What a command found or did for one service."""

    service: str
    exit_code: ExitCode = ExitCode.CLEAN
    applied: list[str] = []
    findings: list[Finding] = []
    migrations: list[dict[str, Any]] = []
    error: OperatorError | None = None

    def describe(self) -> dict[str, Any]:
        """Return it for a machine."""
        error = self.error and {"found": self.error.found, "why": self.error.why, "next": self.error.remedy}
        return {
            "service": self.service,
            "exit_code": int(self.exit_code),
            "applied": self.applied,
            "findings": [finding.describe() for finding in self.findings],
            "migrations": self.migrations,
            "error": error or None,
        }


@app.command
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

    return _run("migrate up", service, format, work, show)


@app.command(name="verify")
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

    return _run("migrate verify", service, format, work, show)


@app.command
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
        rows = migration_status(outcome.service, owner_dsn(outcome.service))
        outcome.migrations = [msgspec.to_builtins(row) for row in rows]

    def show(outcome: Outcome) -> None:
        for row in outcome.migrations:
            recorded = row["recorded"] or {}
            when = (recorded.get("applied_at") or "")[:19]
            OUT.print(f"{outcome.service}  {row['state']:<11}  {when:<19}  {row['id']}: {row['purpose'] or ''}")

    return _run("migrate status", service, format, work, show)


@app.command
def lock(*, service: Which = "both", check: bool = False, format: Format = "human") -> ExitCode:
    """Write migrations.lock anew from the files; needs no database.

    Parameters
    ----------
    service
        Whose folder.
    check
        Change nothing; fail when a lock file isn't what it would be written as.
    format
        For people, or one JSON document.
    """

    def work(outcome: Outcome) -> None:
        folder = read_folder(outcome.service)
        file, wanted = folder.path / LOCK_FILE, render_lock(folder)
        faults = [*folder.faults, *number_gaps(folder)]
        if check:
            faults = compare_files(folder, read_lock(outcome.service, folder.path))
            if not faults and file.read_text(encoding="utf-8") != wanted:
                seen = "It isn't as the tool writes it, though it says the same."
                faults = [Finding(service=outcome.service, code="chain_broken", subject=LOCK_FILE, seen=seen)]
        if faults:
            raise HasFindings(faults)
        if not check:
            file.write_text(wanted, encoding="utf-8")

    def show(outcome: Outcome) -> None:
        if outcome.exit_code == ExitCode.CLEAN:
            OUT.print(f"✓ {outcome.service}: {LOCK_FILE} {'is current' if check else 'is written'}.", style="green")

    return _run("migrate lock", service, format, work, show)


def _run(
    command: str,
    which: Which,
    format: Format,
    work: Callable[[Outcome], None],
    show: Callable[[Outcome], None],
) -> ExitCode:
    """Do the work for each service, each whatever became of the other, and return the gravest of their exit codes."""
    outcomes = []
    for service in chosen(which):
        outcome = Outcome(service=service)
        try:
            work(outcome)
        except HasFindings as error:
            outcome.findings, outcome.exit_code = error.findings, error.exit_code
        except OperatorError as error:
            outcome.error, outcome.exit_code = error, error.exit_code
        outcomes.append(outcome)
        if format == "human":
            show(outcome)
            _show_trouble(outcome)
    exit_code = max(outcome.exit_code for outcome in outcomes)
    if format == "json":
        services = [outcome.describe() for outcome in outcomes]
        print_json({"command": command, "exit_code": int(exit_code), "services": services})
    return exit_code


def _show_trouble(outcome: Outcome) -> None:
    if outcome.findings:
        OUT.print(f"{outcome.service}: {len(outcome.findings)} finding{'s' * (len(outcome.findings) > 1)}")
        for finding in outcome.findings:
            print_finding(finding)
    if outcome.error is not None:
        print_error(outcome.error)
