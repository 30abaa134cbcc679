"""`python -m benchmarks [check|statements|ingest|replay|import|worlds|drift|all] [--rows N] [--full]`."""

from __future__ import annotations

from typing import Literal

import cyclopts

from benchmarks import check, importing, ingest, replay, scale, statements
from benchmarks.drift import measure as drift


def main(
    which: Literal["check", "statements", "ingest", "replay", "import", "worlds", "drift", "all"] = "all",
    /,
    *,
    rows: int = importing.ROWS,
    full: bool = False,
) -> None:
    """Take the figures of docs/performance.md and print them.

    Parameters
    ----------
    which
        One benchmark, or all of them.
    rows
        How many resources `import` imports.
    full
        Let `worlds` be as large as it gets: ten million resources, twenty minutes and 18 GB of disk.
    """
    for name, measure in (
        ("check", check.measure),
        ("statements", statements.measure),
        ("ingest", ingest.measure),
        ("replay", replay.measure),
        ("import", lambda: importing.measure(rows)),
        ("worlds", lambda: scale.measure(full=full)),
        ("drift", drift.measure),
    ):
        if which in (name, "all"):
            measure()
            print(flush=True)


if __name__ == "__main__":
    cyclopts.run(main)
