"""How fast recorded decisions are derived again: `plystractl authz replay` on a pair that has answered a load."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from typing import Final

from msgspec.structs import replace

from benchmarks import load
from benchmarks.check import bodies, body, drain
from benchmarks.figures import machine, spread
from benchmarks.pair import Pair, running_pair
from services.authz.commands import Commands
from services.authz.journal import Author
from services.authz.rows import ResourceRow
from shared.clock import utc_now
from shared.db import create_pool
from shared.identifiers import new_uuid7

INVOICES: Final = 2_000
DECISIONS: Final = 10_000
ROUNDS: Final = 3


def measure() -> None:
    """Print the figures."""
    print(f"Replay of recorded decisions · {machine()}")
    with running_pair() as pair:
        asyncio.run(_make_invoices(pair))
        asked = ("user_alice", "um_alice_finance_reviewer", "approve")
        questions = [body(*asked, f"bench_{number}") for number in range(INVOICES)] + bodies()
        while pair.recorded() < 2 * DECISIONS:
            load.run(f"{pair.authz}/api/v1/authz/check", pair.admin_key, questions, connections=32, seconds=4)
        drain(pair)
        elapsed = [_replay(pair) for _ in range(ROUNDS)]
    print(
        f"{DECISIONS:,} of them replayed in {spread(elapsed, 1)} s; {spread([DECISIONS / s for s in elapsed])} a second"
    )


def _replay(pair: Pair) -> float:
    """Run the command as an operator does, its start included; anything but agreement is an error."""
    command = [sys.executable, "-m", "shared.ctl", "authz", "replay", "--sample", str(DECISIONS)]
    started = time.monotonic()
    subprocess.run(command, check=True, env=os.environ | pair.environment)
    return time.monotonic() - started


async def _make_invoices(pair: Pair) -> None:
    """Make the invoices through the command path, so that the history has them."""
    async with create_pool(pair.environment["PLYSTRA_AUTHZ_DSN"], "benchmark", max_size=1) as pool:
        commands = Commands(pool, clock=utc_now, new_event_id=new_uuid7)
        author = Author(credential_id=None, request_id="benchmark")
        invoice = ResourceRow(id="bench", resource_type="invoice", space_id="space_acme", group_id="group_finance_apac")
        await commands.create(author, [replace(invoice, id=f"bench_{number}") for number in range(INVOICES)])
