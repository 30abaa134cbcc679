"""Rows per second into the permission graph by `plystractl import`, the memory of both ends, and checks meanwhile.

A real pair with its relay and audit; the tool is a process of its own, as an operator runs it. Each row is a resource of
0.3 KB with a group, an owner and two properties.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

import httpx
import msgspec

from benchmarks.figures import machine
from benchmarks.pair import Pair, running_pair
from shared.process import children_of, tied

ROWS: Final = 100_000
_SPACE: Final = "space_acme"
_GROUPS: Final = ("group_finance_apac", "group_finance_emea", "group_legal_emea")
_ASK_EVERY: Final = 0.02
_QUESTION: Final = {
    "actor": {
        "user_id": "user_alice",
        "member_id": "member_finance_reviewer",
        "user_member_id": "um_alice_finance_reviewer",
        "space_id": _SPACE,
    },
    "action": "approve",
    "resource_type": "invoice",
    "resource_id": "invoice_001",
}


def write_rows(path: Path, rows: int) -> None:
    """Write a file of resources."""
    with path.open("wb") as file:
        for number in range(rows):
            row = {
                "noun": "resource",
                "space_id": _SPACE,
                "id": f"invoice_{number:09d}",
                "resource_type": "invoice",
                "external_id": f"https://erp.example/invoices/{number}",
                "group_id": _GROUPS[number % 3],
                "owner_member_id": "member_invoice_creator",
                "display_name": f"Invoice {number}",
                "properties": {"amount": f"{number % 9_973}.50", "currency": "EUR"},
            }
            file.write(msgspec.json.encode(row) + b"\n")


class Asker(threading.Thread):
    """Asks one check after the other at a steady pace, and keeps how long each took."""

    def __init__(self, pair: Pair) -> None:
        super().__init__(daemon=True)
        self._pair = pair
        self._stopping = threading.Event()
        self.milliseconds: list[float] = []

    def run(self) -> None:
        """Ask until told to stop."""
        key = {"authorization": f"Bearer {self._pair.admin_key}"}
        with httpx.Client(base_url=self._pair.authz, headers=key, timeout=30, trust_env=False) as client:
            while not self._stopping.wait(_ASK_EVERY):
                started = time.perf_counter()
                client.post("/api/v1/authz/check", json=_QUESTION).raise_for_status()
                self.milliseconds.append((time.perf_counter() - started) * 1000)

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()
        self.join()

    def told(self) -> str:
        """Say how long checks took."""
        cuts = statistics.quantiles(self.milliseconds, n=100)
        return f"{len(self.milliseconds):,} asked, p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms"


def resident(pid: int) -> float:
    """Return how many MB a process has in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def service_of(pair: Pair) -> int:
    """Return the id of authz's process."""
    (pid,) = [p for p in children_of(pair.pid) if b"services.authz\0serve" in Path(f"/proc/{p}/cmdline").read_bytes()]
    return pid


def run_import(pair: Pair, file: Path, *options: str) -> tuple[dict[str, float], float]:
    """Import a file; returns the tool's report and the most MB that it had in memory."""
    command = [sys.executable, "-m", "shared.ctl", "import", str(file), "--format", "json", *options]
    environment = os.environ | {"PLYSTRA_AUTHZ_URL": pair.authz, "PLYSTRA_ADMIN_KEY": pair.admin_key}
    most = 0.0
    with subprocess.Popen(tied(command), env=environment, stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            try:
                most = max(most, resident(process.pid))
            except (OSError, IndexError):
                break  # it has just ended
            time.sleep(0.1)
        assert process.stdout is not None
        report: dict[str, float] = msgspec.json.decode(process.stdout.read())
    return report, most


def measure(rows: int = ROWS) -> None:
    """Import so many resources, and again."""
    print(f"Import of {rows:,} resources · {machine()}\n")
    with running_pair() as pair:
        file = pair.home / "resources.ndjson"
        write_rows(file, rows)
        print(f"file: {file.stat().st_size / 1e6:,.1f} MB", flush=True)
        pid = service_of(pair)
        for what, options in (("new rows", ()), ("the same again", ("--restart",))):
            before, asker = resident(pid), Asker(pair)
            asker.start()
            report, most = run_import(pair, file, *options)
            asker.stop()
            print(
                f"{what}: {report['rows_per_second']:,} rows/s, {report['seconds']:.1f} s in all "
                f"({report['created']:,} created, {report['unchanged']:,} unchanged, {report['failed']:,} failed)\n"
                f"  memory: plystractl at most {most:.0f} MB; authz {before:.0f} MB before, {resident(pid):.0f} MB after\n"
                f"  checks meanwhile: {asker.told()}\n"
                f"  events that waited for delivery at the end: {pair.waiting():,}",
                flush=True,
            )
