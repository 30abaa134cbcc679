"""How `plystractl` speaks: results to stdout, troubles to stderr, for people or as one JSON document."""

from __future__ import annotations

from typing import Final, Literal, Protocol

from rich.console import Console
from rich.table import Table

from shared.migrations.errors import OperatorError

Format = Literal["human", "json"]

# What we print is data, not markup; and lines that are long stay whole, so that they can be searched and copied.
OUT: Final = Console(highlight=False, markup=False, soft_wrap=True)
_WIDEST: Final = 240
ERR: Final = Console(highlight=False, markup=False, soft_wrap=True, stderr=True)


def print_table(table: Table) -> None:
    """Print a table as wide as it needs to be whatever the terminal, so that ids stay whole."""
    width = OUT.measure(table, options=OUT.options.update(width=_WIDEST)).maximum
    Console(highlight=False, markup=False, width=max(width, OUT.width)).print(table)


def print_error(error: OperatorError) -> None:
    """Print what stopped a command, why it matters and what to do next."""
    ERR.print(f"✗ {error.found}", style="red")
    ERR.print(f"  why:  {error.why}")
    ERR.print(f"  next: {error.remedy}")


class Fault(Protocol):
    """What a check found: its code, where, what was seen, why it matters, what to do next."""

    @property
    def code(self) -> str: ...  # noqa: D102  # said above
    @property
    def subject(self) -> str: ...  # noqa: D102
    @property
    def seen(self) -> str: ...  # noqa: D102
    @property
    def why(self) -> str: ...  # noqa: D102
    @property
    def remedy(self) -> str: ...  # noqa: D102


def print_finding(finding: Fault) -> None:
    """Print one fault with everything there is to say about it."""
    OUT.print(f"  ✗ {finding.code}: {finding.subject}", style="red")
    OUT.print(f"      seen: {finding.seen}")
    OUT.print(f"      why:  {finding.why}")
    OUT.print(f"      next: {finding.remedy}")
