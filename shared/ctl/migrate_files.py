"""`plystractl migrate lock`: what works on the files alone and needs no database."""

from __future__ import annotations

from shared.ctl.configuration import Which
from shared.ctl.console import OUT, Format
from shared.ctl.outcomes import Outcome, ServiceReport, run_for_each
from shared.ctl.reports import Report
from shared.migrations.errors import ExitCode
from shared.migrations.files import LOCK_FILE, read_folder
from shared.migrations.findings import Finding
from shared.migrations.lockfile import number_gaps, read_lock, render_lock
from shared.migrations.runner import HasFindings
from shared.migrations.verify import compare_files


class LockReport(Report, frozen=True, kw_only=True, tag="plystractl.migrate.lock/1"):
    """What `migrate lock` prints for a machine."""

    exit_code: int
    services: list[ServiceReport]


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

    return run_for_each(LockReport, service, format, work, show)
