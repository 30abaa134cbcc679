"""`plystractl schema`: is a database what its migrations make of it, and what would make it so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from cyclopts import App

from shared.catalogue.compare import restore_script
from shared.catalogue.model import Difference
from shared.catalogue.schema_lock import line_of
from shared.ctl.annotations import AnnotationFormat, Located, print_github, print_sarif
from shared.ctl.configuration import Which, chosen, is_production, owner_dsn
from shared.ctl.console import ERR, OUT, Format, print_error
from shared.ctl.outcomes import TroubleReport
from shared.ctl.queries import ComparedQueries, ServiceQueries, compare_queries, lock_queries_command, show_queries
from shared.ctl.reports import Report, print_report
from shared.migrations.building import build_schema
from shared.migrations.errors import ExitCode, OperatorError, Refused
from shared.migrations.files import default_folder
from shared.migrations.findings import FAULTS
from shared.migrations.ledger import connect
from shared.migrations.schema import SCHEMA_FAULT, check_schema, difference_fault

app: Final = App(name="schema", help="Compare a database with the schema that its migrations make.")

app.command(lock_queries_command, name="lock-queries")

DISABLED: Final = (
    "Automatic schema changes are disabled in production. Use versioned migrations: plystractl migrate up."
)


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """One difference, and the line of schema.lock.json that says how the object is to be, if it is to be there."""

    difference: Difference
    line: int | None


class CheckedSchema(msgspec.Struct, frozen=True, kw_only=True):
    """What `schema check` found for one service; `expected_at` is the last applied migration."""

    service: str
    exit_code: int
    expected_at: str | None = None
    drift: list[Drift] = []
    error: TroubleReport | None = None
    queries: ServiceQueries | msgspec.UnsetType = msgspec.UNSET


class CheckReport(Report, frozen=True, kw_only=True, tag="plystractl.schema.check/1"):
    """What `schema check` found."""

    exit_code: int
    services: list[CheckedSchema]


class BuiltSchema(msgspec.Struct, frozen=True, kw_only=True):
    """What `schema apply` did for one service: the migrations that are recorded as applied now."""

    service: str
    exit_code: int
    recorded: list[str] = []
    error: TroubleReport | None = None


class ApplyReport(Report, frozen=True, kw_only=True, tag="plystractl.schema.apply/1"):
    """What `schema apply` did."""

    exit_code: int
    services: list[BuiltSchema]


@app.command
def check(
    *, service: Which = "both", queries: bool = False, sql: bool = False, format: AnnotationFormat = "human"
) -> ExitCode:
    """Compare the live catalogue with the one expected after the last applied migration; read-only, for any role.

    Parameters
    ----------
    service
        Whose database, named by PLYSTRA_AUTHZ_DSN and PLYSTRA_AUDIT_DSN.
    queries
        Also prepare every statement of the service, as its own role, and compare what it takes and gives; executes none.
    sql
        Print only the SQL that would bring the database back, to be reviewed and run by a superuser.
    format
        For people, one JSON document, annotations of GitHub's workflows, or a SARIF document.
    """
    found = [_check(one) for one in chosen(service)]
    compared = {one.service: compare_queries(one.service) for one in found if queries}
    exit_codes = [ExitCode(one.exit_code) for one in found] + [one.exit_code for one in compared.values()]
    exit_code = max(exit_codes)
    if format == "json":
        services = [
            msgspec.structs.replace(
                one,
                exit_code=max(one.exit_code, compared[one.service].exit_code),
                queries=compared[one.service].describe(),
            )
            if queries
            else one
            for one in found
        ]
        print_report(CheckReport(exit_code=int(exit_code), services=services))
        return exit_code
    if format != "human":
        _annotate(found, compared, format)
        return exit_code
    for one in found:
        if sql:
            _show_sql(one)
        else:
            _show(one)
        if queries:
            show_queries(one.service, compared[one.service])
    return exit_code


@app.command
def apply(*, service: Which = "both", format: Format = "human") -> ExitCode:
    """Build the schema in an empty database straight from schema.lock.json; for development only.

    Parameters
    ----------
    service
        Whose database, named by PLYSTRA_AUTHZ_DSN and PLYSTRA_AUDIT_DSN.
    format
        For people, or one JSON document.
    """
    refused = is_production()
    if refused and format == "human":
        ERR.print(DISABLED)
        return ExitCode.REFUSED
    built = [_build(one, refused=refused) for one in chosen(service)]
    exit_code = max(ExitCode(one.exit_code) for one in built)
    if format == "json":
        print_report(ApplyReport(exit_code=int(exit_code), services=built))
        return exit_code
    for one in built:
        if one.error is None:
            OUT.print(f"✓ {one.service}: built, as after {one.recorded[-1]}.", style="green")
        else:
            _show_error(one.error)
    return exit_code


def _check(service: str) -> CheckedSchema:
    folder = default_folder(service)
    try:
        with connect(owner_dsn(service), "schema check", read_only=True) as connection:
            found = check_schema(service, connection, folder)
    except OperatorError as error:
        return CheckedSchema(service=service, exit_code=int(error.exit_code), error=TroubleReport.of(error))
    drift = [Drift(difference=one, line=line_of(folder, one.object)) for one in found.differences]
    exit_code = ExitCode.FINDINGS if drift else ExitCode.CLEAN
    return CheckedSchema(service=service, exit_code=int(exit_code), expected_at=found.expected_at, drift=drift)


def _annotate(found: list[CheckedSchema], compared: Mapping[str, ComparedQueries], format: AnnotationFormat) -> None:
    faults: list[Located] = [
        difference_fault(one.service, drift.difference, drift.line) for one in found for drift in one.drift
    ]
    faults += [finding for one in compared.values() for finding in one.findings]
    if format == "github":
        print_github(faults)
    else:
        print_sarif("plystractl schema check", {SCHEMA_FAULT: FAULTS[SCHEMA_FAULT][0]}, faults)
    for one in found:
        if one.error is not None:
            _show_error(one.error)


def _build(service: str, *, refused: bool) -> BuiltSchema:
    try:
        if refused:
            raise Refused(
                DISABLED,
                why="A schema that no migration made has no history, and no way on.",
                remedy="plystractl migrate up",
            )
        recorded = build_schema(service, owner_dsn(service))
    except OperatorError as error:
        return BuiltSchema(service=service, exit_code=int(error.exit_code), error=TroubleReport.of(error))
    return BuiltSchema(service=service, exit_code=int(ExitCode.CLEAN), recorded=recorded)


def _show_sql(found: CheckedSchema) -> None:
    if found.error is not None:
        _show_error(found.error)
    elif script := restore_script(one.difference for one in found.drift):
        OUT.print(f"-- {found.service}: run it as a superuser on the database of {found.service}, once reviewed.")
        OUT.print(script, end="")


def _show(found: CheckedSchema) -> None:
    if found.error is not None:
        _show_error(found.error)
        return
    point = f"as after {found.expected_at}" if found.expected_at else "as before the first migration"
    if not found.drift:
        OUT.print(f"✓ {found.service}: the schema is {point}.", style="green")
        return
    OUT.print(f"{found.service}: the schema isn't {point}; {len(found.drift)} difference{'s' * (len(found.drift) > 1)}")
    for one in found.drift:
        OUT.print(f"  ✗ {one.difference}", style="red")
        for statement in one.difference.restore:
            OUT.print("\n".join(f"      {line}" for line in f"{statement};".splitlines()))
    OUT.print(
        f"  next: plystractl schema check --service {found.service} --sql prints one script of all, in their order"
    )


def _show_error(error: TroubleReport) -> None:
    print_error(OperatorError(error.found, why=error.why, remedy=error.next))
