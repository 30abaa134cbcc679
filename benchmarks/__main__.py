"""`python -m benchmarks [check|statements|ingest|replay|worlds|all] [--full]`."""

from __future__ import annotations

from typing import Literal

import cyclopts

from benchmarks import check, ingest, replay, scale, statements


def main(
    which: Literal["check", "statements", "ingest", "replay", "worlds", "all"] = "all", /, *, full: bool = False
) -> None:
    """Take the figures of docs/performance.md and print them.

    Parameters
    ----------
    which
        One benchmark, or all of them.
    full
        Let `worlds` be as large as it gets: ten million resources, over half an hour and 18 GB of disk.
    """
    for name, module in (("check", check), ("statements", statements), ("ingest", ingest), ("replay", replay)):
        if which in (name, "all"):
            module.measure()
            print(flush=True)
    if which in ("worlds", "all"):
        scale.measure(full=full)


if __name__ == "__main__":
    cyclopts.run(main)
