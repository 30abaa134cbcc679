"""`plystractl migrate lock` and `new`: what works on the files alone and needs no database."""

from __future__ import annotations

from typing import Literal

from shared.ctl.configuration import Which
from shared.ctl.console import OUT, Format
from shared.ctl.outcomes import Outcome, ServiceReport, run_for_each
from shared.ctl.reports import Report, print_report
from shared.migrations.errors import ExitCode
from shared.migrations.files import LOCK_FILE, read_folder
from shared.migrations.findings import Finding
from shared.migrations.lockfile import number_gaps, read_lock, render_lock
from shared.migrations.runner import HasFindings
from shared.migrations.scaffold import Kind, Phase, scaffold
from shared.migrations.verify import compare_files


class LockReport(Report, frozen=True, kw_only=True, tag="plystractl.migrate.lock/1"):
    """What `migrate lock` prints for a machine."""

    exit_code: int
    services: list[ServiceReport]


class NewReport(Report, frozen=True, kw_only=True, tag="plystractl.migrate.new/1"):
    """The files that `migrate new` wrote."""

    service: str
    folder: str
    files: list[str]


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


def new(
    slug: str,
    *,
    service: Literal["authz", "audit"],
    kind: Kind = "schema",
    phase: Phase = "expand",
    format: Format = "human",
) -> ExitCode:
    """Begin a migration: write its file with an unfilled header, and its rollback file.

    Parameters
    ----------
    slug
        What it is about, such as member_email; it becomes part of the id.
    service
        Whose folder.
    kind
        Whether it changes the schema or rows; a data migration is run in batches.
    phase
        Its part of a change in three releases: expand, migrate, contract.
    format
        For people, or one JSON document.
    """
    folder = read_folder(service)
    if folder.faults:
        raise HasFindings(list(folder.faults))
    files = scaffold(folder, slug, kind, phase)
    if format == "json":
        print_report(NewReport(service=service, folder=str(folder.path), files=files))
        return ExitCode.CLEAN
    for name in files:
        OUT.print(f"✓ {folder.path / name}", style="green")
    OUT.print("next: write the statements and fill the header in; a key without a value counts as a fault. Then:")
    OUT.print(f"  plystractl migrate lock --service {service}")
    OUT.print(f"  plystractl migrate plan --service {service}")
    OUT.print(
        f"  plystractl migrate up --service {service}, then down and up again: a rollback is tried before it is needed"
    )
    return ExitCode.CLEAN
