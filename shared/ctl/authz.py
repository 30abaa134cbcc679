"""`plystractl authz`: what an operator asks of the permission graph itself."""

from __future__ import annotations

from typing import Final

from cyclopts import App

from shared.ctl.configuration import owner_dsn
from shared.ctl.console import OUT, Format, print_finding, print_json
from shared.ctl.projections import NOUNS, compare_projections
from shared.migrations.errors import ExitCode

app: Final = App(name="authz", help="Prove that the permission graph is what its history made of it.")


@app.command
def verify_projections(*, format: Format = "human") -> ExitCode:
    """Replay every event and compare each table of the graph row by row; read-only, while authz goes on.

    Names the first fault of each kind, and how many there are.

    Parameters
    ----------
    format
        For people, or one JSON document.
    """
    comparison = compare_projections(owner_dsn("authz"))
    differences = comparison.differences
    exit_code = ExitCode.FINDINGS if differences else ExitCode.CLEAN
    if format == "json":
        print_json(
            {
                "command": "authz verify-projections",
                "exit_code": int(exit_code),
                "events": comparison.events,
                "revision": comparison.revision,
                "differences": [difference.describe() for difference in differences],
            }
        )
        return exit_code
    compared = f"{comparison.events} events up to revision {comparison.revision}, {len(NOUNS)} tables"
    if not differences:
        OUT.print(f"✓ authz: each row is what its events made of it ({compared}).", style="green")
        return exit_code
    OUT.print(
        f"authz: {compared}; {sum(difference.total for difference in differences)} faults, the first of each kind:"
    )
    for difference in differences:
        print_finding(difference)
    return exit_code
