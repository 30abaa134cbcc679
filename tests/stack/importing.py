"""`plystractl import` as a process: started, watched, stopped and started again by the tests of the stack."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from shared.process import tied
from tests.stack.pair import Pair
from tests.stack.process import DEADLINE_SECONDS

SPACE = "space_acme"


def write_lines(path: Path, rows: Sequence[dict[str, Any] | bytes]) -> Path:
    """Write a file of lines: rows as JSON, bytes as they are."""
    lines = (row if isinstance(row, bytes) else msgspec.json.encode(row) for row in rows)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def resource(number: int, **changes: Any) -> dict[str, Any]:
    """A resource without an id, so that it would be doubled if its line were written twice."""
    about = {"noun": "resource", "space_id": SPACE, "resource_type": "invoice", "external_id": f"n-{number}"}
    return about | changes


class Import:
    """One run of the command on a file."""

    def __init__(
        self, pair: Pair, file: Path | str, *options: str, url: str | None = None, stderr: int = subprocess.PIPE
    ) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PLYSTRA_")}
        environment |= {
            "PLYSTRA_AUTHZ_URL": url or pair.urls["authz"],
            "PLYSTRA_ADMIN_KEY": pair.secrets.admin_key,
        }
        words = [sys.executable, "-m", "shared.ctl", "import", str(file), "--format", "json", *options]
        self.process = subprocess.Popen(
            tied(words),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )

    def end(self, given: bytes | None = None) -> tuple[int, dict[str, Any], str]:
        """Wait for the end; its exit code, its report (empty without one), and what it wrote to standard error."""
        out, err = self.process.communicate(given, DEADLINE_SECONDS)
        report: dict[str, Any] = msgspec.json.decode(out) if out else {}
        return self.process.returncode, report, (err or b"").decode()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command."""
        os.kill(self.process.pid, number)

    def resident(self) -> int:
        """How many bytes it has in memory; 0 once it has ended."""
        try:
            return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            return 0


def counts(report: dict[str, Any]) -> tuple[int, int, int]:
    """What came of the lines."""
    return report["created"], report["unchanged"], report["failed"]
