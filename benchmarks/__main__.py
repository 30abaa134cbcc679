"""`python -m benchmarks [check|statements|ingest|replay|all]`."""

from __future__ import annotations

from typing import Literal

import cyclopts

from benchmarks import check, ingest, replay, statements


def main(which: Literal["check", "statements", "ingest", "replay", "all"] = "all", /) -> None:
    """Take the figures of docs/performance.md and print them."""
    for name, module in (("check", check), ("statements", statements), ("ingest", ingest), ("replay", replay)):
        if which in (name, "all"):
            module.measure()
            print(flush=True)


if __name__ == "__main__":
    cyclopts.run(main)
