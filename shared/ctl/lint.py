"""`plystractl migrate lint`: the migration files as a strict reviewer reads them; needs no database."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from shared.catalogue.schema_lock import read_schema_lock
from shared.ctl.annotations import AnnotationFormat, print_github, print_sarif
from shared.ctl.configuration import Which, chosen
from shared.ctl.console import OUT, print_finding
from shared.ctl.outcomes import FindingReport
from shared.ctl.reports import Report, print_report
from shared.ctl.squawk import run_squawk
from shared.migrations.errors import ExitCode, UsageError
from shared.migrations.files import read_folder
from shared.migrations.lint import lint_folder
from shared.migrations.lint_rules import RULES, LintFinding

_RULE_TEXTS: Final = {rule: why for rule, (why, _) in RULES.items()}


class LintFindingReport(FindingReport, frozen=True, kw_only=True):
    """Something in a migration file that a rule speaks against."""

    file: str | None
    line: int | None


class LintReport(Report, frozen=True, kw_only=True, tag="plystractl.migrate.lint/1"):
    """What `migrate lint` prints for a machine."""

    exit_code: int
    findings: list[LintFindingReport]


def lint(*, service: Which = "both", folder: Path | None = None, format: AnnotationFormat = "human") -> ExitCode:
    """Read the migration files as a strict reviewer would: squawk's rules and those of this project; needs no database.

    Parameters
    ----------
    service
        Whose folder.
    folder
        Another folder than the one that came with this code; for one service.
    format
        For people, one JSON document, annotations of GitHub's workflows, or a SARIF document.
    """
    if folder is not None and service == "both":
        raise UsageError(
            "A folder was named, and no service.",
            why="The roles that may be granted something, and what is expected of the schema, are a service's own.",
            remedy="add --service authz or --service audit.",
        )
    findings: list[LintFinding] = []
    for each in chosen(service):
        findings += lint_service(each, folder)
    if format == "json":
        reports = [_describe(finding) for finding in findings]
        print_report(LintReport(exit_code=int(bool(findings)), findings=reports))
    elif format == "github":
        print_github(findings)
    elif format == "sarif":
        print_sarif("plystractl migrate lint", _RULE_TEXTS, findings)
    else:
        for finding in findings:
            print_finding(finding)
            OUT.print(f"      at:   {finding.file}:{finding.line}")
        if not findings:
            OUT.print("✓ The migrations break no rule.", style="green")
    return ExitCode.FINDINGS if findings else ExitCode.CLEAN


def lint_service(service: str, folder: Path | None = None) -> list[LintFinding]:
    """Return what is found in the migrations of a service, in the order of files and lines."""
    files = read_folder(service, folder)
    place = str(files.path)
    if files.path.is_relative_to(Path.cwd()):
        place = files.path.relative_to(Path.cwd()).as_posix()
    try:
        schema = read_schema_lock(files.path)
    except msgspec.DecodeError as error:
        raise UsageError(
            f"{files.path}/schema.lock.json can't be read: {error}.",
            why="The headers are compared with what it says the migrations did.",
            remedy=f"git restore {place}/schema.lock.json",
        ) from error
    found = [*run_squawk(service, files.migrations, place), *lint_folder(files, schema, place)]
    return sorted(found, key=lambda each: (each.file or "", each.line or 0, each.code))


def _describe(finding: LintFinding) -> LintFindingReport:
    return LintFindingReport(
        service=finding.service,
        code=finding.code,
        subject=finding.subject,
        seen=finding.seen,
        why=finding.why,
        next=finding.remedy,
        file=finding.file,
        line=finding.line,
    )
