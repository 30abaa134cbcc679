"""`python -m benchmarks [check|statements|ingest|replay|import|all] [--rows N]`."""

from __future__ import annotations

from typing import Literal

import cyclopts

from benchmarks import check, importing, ingest, replay, statements


def main(
    which: Literal["check", "statements", "ingest", "replay", "import", "all"] = "all",
    /,
    *,
    rows: int = importing.ROWS,
) -> None:
    """Take the figures of docs/performance.md and print them.

    Parameters
    ----------
    which
        What is measured.
    rows
        How many resources are imported.
    """
    for name, measure in (
        ("check", check.measure),
        ("statements", statements.measure),
        ("ingest", ingest.measure),
        ("replay", replay.measure),
        ("import", lambda: importing.measure(rows)),
    ):
        if which in (name, "all"):
            measure()
            print(flush=True)


if __name__ == "__main__":
    cyclopts.run(main)
