"""`plystractl migrate up` and `down`: the commands that change a schema."""

from __future__ import annotations

from collections.abc import Sequence

from shared.ctl.configuration import Which, is_production, owner_dsn
from shared.ctl.console import OUT, Format
from shared.ctl.outcomes import Outcome, ServiceReport, run_for_each
from shared.ctl.reports import Report
from shared.migrations.bootstrap import Connection
from shared.migrations.down import migrate_down
from shared.migrations.errors import ExitCode, OperatorError, Refused
from shared.migrations.expected import by_schema_lock, digest_of_schema
from shared.migrations.runner import WAIT_SECONDS, HasFindings, SchemaDiffers, migrate_up
from shared.migrations.schema import OtherMajor


class UpReport(Report, frozen=True, kw_only=True, tag="plystractl.migrate.up/1"):
    """What `migrate up` applied; `applied` holds what is durable, also where a later migration failed.

    `schema_differences` is empty when the schema is as expected, and null when it couldn't be compared.
    """

    exit_code: int
    services: list[ServiceReport]


class DownReport(Report, frozen=True, kw_only=True, tag="plystractl.migrate.down/1"):
    """What `migrate down` took back."""

    exit_code: int
    services: list[ServiceReport]


def up(
    *,
    service: Which = "both",
    format: Format = "human",
    wait: float = WAIT_SECONDS,
    plan: str | None = None,
    yes: bool = False,
) -> ExitCode:
    """Apply what is pending, in order, each migration as a whole; then the schema must be as expected.

    In production it carries out the plan that was looked at and no other: it needs `--yes` and `--plan`.

    Parameters
    ----------
    service
        Whose database, named by PLYSTRA_AUTHZ_DSN and PLYSTRA_AUDIT_DSN.
    format
        For people, or one JSON document.
    wait
        Seconds to wait for another migrate of the same service.
    plan
        The digest that `migrate plan` printed; when it no longer fits, nothing is changed.
    yes
        The change is meant.
    """
    _require_consent(service, plan, yes=yes)

    def work(outcome: Outcome) -> None:
        def announce(id: str) -> None:
            outcome.applied.append(id)
            if format == "human":
                OUT.print(f"{outcome.service}: applying {id}")

        def progress(id: str, rows: int) -> None:
            if format == "human":
                OUT.print(f"{outcome.service}: {id}: {rows} rows so far")

        def is_as_expected(connection: Connection, applied: Sequence[str]) -> list[str]:
            try:
                outcome.schema_differences = by_schema_lock(outcome.service)(connection, applied)
            except OtherMajor as error:
                outcome.schema_differences = None
                if format == "human":
                    OUT.print(f"! {outcome.service}: the schema wasn't compared: {error.found}", style="yellow")
            return outcome.schema_differences or []

        dsn = owner_dsn(outcome.service)
        try:
            outcome.applied = migrate_up(
                outcome.service,
                dsn,
                wait_seconds=wait,
                approved=plan,
                announce=announce,
                progress=progress,
                schema_digest=digest_of_schema(outcome.service),
                is_as_expected=is_as_expected,
            )
        except (HasFindings, SchemaDiffers):
            raise
        except OperatorError:
            outcome.applied = outcome.applied[:-1]  # the last one announced is the one that failed
            raise

    def show(outcome: Outcome) -> None:
        if outcome.exit_code == ExitCode.CLEAN:
            done = f"{len(outcome.applied)} applied" if outcome.applied else "nothing to apply"
            equal = "; the schema is as expected" if outcome.schema_differences == [] else ""
            OUT.print(f"✓ {outcome.service}: {done}{equal}.", style="green")

    return run_for_each(UpReport, service, format, work, show)


def down(*, service: Which, format: Format = "human", wait: float = WAIT_SECONDS) -> ExitCode:
    """Take the last applied migration back, by its rollback file; refused in production.

    Parameters
    ----------
    service
        Whose database, named by PLYSTRA_AUTHZ_DSN and PLYSTRA_AUDIT_DSN.
    format
        For people, or one JSON document.
    wait
        Seconds to wait for another migrate of the same service.
    """
    if is_production():
        raise Refused(
            "Taking migrations back is disabled in production.",
            why="A rollback drops what was written since, and the previous release works on the newer schema anyway.",
            remedy="deploy the previous release as it is; to mend a schema, write a migration and: plystractl migrate up",
        )

    def work(outcome: Outcome) -> None:
        id = migrate_down(outcome.service, owner_dsn(outcome.service), wait_seconds=wait)
        outcome.undone = [id] if id else []

    def show(outcome: Outcome) -> None:
        if outcome.exit_code == ExitCode.CLEAN:
            done = f"{outcome.undone[0]} is taken back" if outcome.undone else "nothing is applied"
            OUT.print(f"✓ {outcome.service}: {done}.", style="green")

    return run_for_each(DownReport, service, format, work, show)


def _require_consent(service: Which, plan: str | None, *, yes: bool) -> None:
    if is_production() and not (yes and plan):
        lacking = " and ".join(name for name, given in (("--yes", yes), ("--plan", plan)) if not given)
        command = f"plystractl migrate up --service {service} --yes --plan"
        raise Refused(
            f"In production `migrate up` needs {lacking}.",
            why="What is going to be done must have been looked at. An environment that isn't named counts as production.",
            remedy=f"{command} {plan}"
            if plan
            else f"look at `plystractl migrate plan --service {service}`, then: {command} DIGEST, with the digest it prints "
            "(on a machine of your own set PLYSTRA_ENVIRONMENT=development instead)",
        )
