"""What the migrate commands have in common: the work is done for each service in turn, whatever became of the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import msgspec

from shared.ctl.annotations import AnnotationFormat, print_github, print_sarif
from shared.ctl.configuration import Which, chosen
from shared.ctl.console import OUT, print_error, print_finding
from shared.ctl.reports import Report, print_report
from shared.migrations.errors import ExitCode, OperatorError
from shared.migrations.findings import FAULTS, Finding
from shared.migrations.plan import Plan
from shared.migrations.repair import Settled
from shared.migrations.runner import HasFindings, MigrationStatus


class FindingReport(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that was found."""

    service: str
    code: str
    subject: str
    seen: str
    why: str
    next: str


class TroubleReport(msgspec.Struct, frozen=True, kw_only=True):
    """What stopped a command for one service."""

    found: str
    why: str
    next: str

    @classmethod
    def of(cls, error: OperatorError) -> Self:
        """Return what a machine is told of an error."""
        return cls(found=error.found, why=error.why, next=error.remedy)


class ServiceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a command found or did for one service, for a machine; the members with a default are of one command each."""

    service: str
    exit_code: int
    applied: list[str]
    findings: list[FindingReport]
    migrations: list[MigrationStatus]
    error: TroubleReport | None
    undone: list[str] | msgspec.UnsetType = msgspec.UNSET
    plan: Plan | msgspec.UnsetType = msgspec.UNSET
    settled: list[Settled] | msgspec.UnsetType = msgspec.UNSET
    schema_differences: list[str] | msgspec.UnsetType | None = msgspec.UNSET


class Outcome(msgspec.Struct, kw_only=True):
    """What a command found or did for one service."""

    service: str
    exit_code: ExitCode = ExitCode.CLEAN
    applied: list[str] = []
    findings: list[Finding] = []
    migrations: list[MigrationStatus] = []
    undone: list[str] | msgspec.UnsetType = msgspec.UNSET
    plan: Plan | msgspec.UnsetType = msgspec.UNSET
    settled: list[Settled] | msgspec.UnsetType = msgspec.UNSET
    schema_differences: list[str] | msgspec.UnsetType | None = msgspec.UNSET
    error: OperatorError | None = None

    def describe(self) -> ServiceReport:
        """Return it for a machine."""
        error = self.error
        return ServiceReport(
            service=self.service,
            exit_code=int(self.exit_code),
            applied=self.applied,
            findings=[FindingReport(**finding.describe()) for finding in self.findings],
            migrations=self.migrations,
            undone=self.undone,
            plan=self.plan,
            settled=self.settled,
            schema_differences=self.schema_differences,
            error=TroubleReport.of(error) if error else None,
        )


def run_for_each(
    report: Callable[..., Report],
    which: Which,
    format: AnnotationFormat,
    work: Callable[[Outcome], None],
    show: Callable[[Outcome], None],
) -> ExitCode:
    """Do the work for each service and return the gravest of their exit codes.

    `work` fills an outcome in; what it raises becomes part of that. `show` prints one for people; for a machine there is
    one `report`, a kind that has the members `exit_code` and `services`.
    """
    outcomes = []
    stopped = False
    for service in chosen(which):
        outcome = Outcome(service=service)
        try:
            work(outcome)
        except HasFindings as error:
            outcome.findings, outcome.exit_code = error.findings, error.exit_code
        except OperatorError as error:
            outcome.error, outcome.exit_code = error, error.exit_code
            stopped = isinstance(error.__cause__, KeyboardInterrupt)
        outcomes.append(outcome)
        if format == "human":
            show(outcome)
            _show_trouble(outcome)
        elif format != "json" and outcome.error is not None:
            print_error(outcome.error)
        if stopped:
            break  # Ctrl-C means the command, not one service of it
    exit_code = max(outcome.exit_code for outcome in outcomes)
    if format == "json":
        print_report(report(exit_code=int(exit_code), services=[outcome.describe() for outcome in outcomes]))
    findings = [finding for outcome in outcomes for finding in outcome.findings]
    if format == "github":
        print_github(findings)
    elif format == "sarif":
        print_sarif("plystractl migrate verify", {code: why for code, (why, _) in FAULTS.items()}, findings)
    return exit_code


def _show_trouble(outcome: Outcome) -> None:
    if outcome.findings:
        OUT.print(f"{outcome.service}: {len(outcome.findings)} finding{'s' * (len(outcome.findings) > 1)}")
        for finding in outcome.findings:
            print_finding(finding)
    if outcome.error is not None:
        print_error(outcome.error)
