"""The program `plystractl`: puts the groups of commands together and turns their ends into exit codes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

import psycopg
from cyclopts import App, CycloptsError

from shared.ctl import authz, backup, credential, importing, maintenance, migrate, openapi, policy, reset, schema, up
from shared.ctl.console import print_error
from shared.ctl.doctor.command import doctor
from shared.ctl.reference import write_reference
from shared.ctl.reports import print_error_report, wants_json
from shared.ctl.smoke.command import smoke
from shared.ctl.templates import command as templates
from shared.ctl.upgrade.command import app as upgrade
from shared.migrations.errors import ExitCode, OperatorError, Unreachable, UsageError
from shared.release import SERVICE_VERSION

_CODES: Final = """\
Exit codes: 0 proved clean · 1 findings · 2 usage or configuration · 3 cannot reach the database or service · \
4 another migrate is running · 5 apply failed, nothing changed · 6 apply failed, needs repair · \
7 refused by policy · 8 cannot compare."""

app: Final = App(
    name="plystractl",
    help="Operate Plystra: migrate, verify, run it locally.",
    help_epilogue=_CODES,
    version=SERVICE_VERSION,
    result_action="return_int_as_exit_code_else_zero",
)
app.command(up.up)
app.command(up.demo)
app.command(reset.reset)
app.command(migrate.app)
app.command(schema.app)
app.command(credential.app)
app.command(authz.app)
app.command(backup.app)
app.command(policy.app)
app.command(templates.app)
app.command(importing.import_, name="import")
app.command(maintenance.app)
app.command(doctor)
app.command(smoke)
app.command(upgrade)
app.command(openapi.openapi)


@app.command
def reference(*, check: bool = False) -> ExitCode:
    """Write docs/commands.md and docs/formats.json from the commands themselves.

    Parameters
    ----------
    check
        Change nothing; fail when a file isn't what it would be written as.
    """
    return write_reference(app, check=check)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default this process's own, and return the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return int(app(arguments, exit_on_error=False))
    except CycloptsError as error:  # which has been printed
        failed: OperatorError = UsageError(str(error), why="Nothing was done.", remedy="plystractl --help")
    except OperatorError as error:
        failed = error
        print_error(failed)
    except psycopg.Error as error:
        failed = _broken_off(error)
        print_error(failed)
    if wants_json(arguments):
        print_error_report(failed)
    return int(failed.exit_code)


def _broken_off(error: psycopg.Error) -> OperatorError:
    """Return what to say when the database cut a command short: it went away, ran out of time or of space, or refused."""
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return UsageError(
            f"The database's user may not do this: {str(error).strip()}.",
            why="The command needs that right; what wasn't committed by then is undone.",
            remedy="name a user who has it, by --server where the command takes one or else in the DSN.",
        )
    return Unreachable(
        f"The database broke the command off: {str(error).strip() or type(error).__name__}",
        why="What wasn't committed by then is undone; what the command would have found remains unknown.",
        remedy="remove the cause (timeouts set on the role or the database, a restart, a full disk), then: plystractl doctor",
    )


if __name__ == "__main__":
    sys.exit(main())
