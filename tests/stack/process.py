"""A service's program as a real process: started, watched, killed, and what it started itself found again."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from shared.process import children_of, is_alive, tied

# Everything is bounded: what takes longer than this has failed, whatever it is.
DEADLINE_SECONDS: Final = 40.0
_POLL_SECONDS: Final = 0.02
_MARK: Final = "STACK_TEST_PROCESS"

T = TypeVar("T")


def wait_until(condition: Callable[[], T | None], seconds: float = DEADLINE_SECONDS, what: str = "it") -> T:
    """Return the condition's first true value; fails when there is none within the given time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} didn't happen within {seconds:g} s"
        time.sleep(_POLL_SECONDS)
    return value


class Service:
    """One command of a service's program as a process, with the processes that it starts itself."""

    def __init__(self, command: str, environment: Mapping[str, str], log: Path) -> None:
        """Prepare; `command` is what follows `python -m services.`, such as `authz serve`."""
        self.command = command
        self._mark = secrets.token_hex(8)
        self._environment = {**environment, _MARK: self._mark}
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._logged_before = 0

    def start(self) -> None:
        """Start the process; its output goes to the end of the log."""
        name, *arguments = self.command.split()
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PLYSTRA_", "OTEL_"))}
        words = [sys.executable, "-m", f"services.{name}", *arguments]
        self._logged_before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                tied(words, on_parent_death=signal.SIGKILL),
                env=inherited | self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """The id of the process that answers over HTTP."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def family(self) -> list[int]:
        """The living processes that come from this one, also those that it left behind: they carry its mark."""
        mark = f"\0{_MARK}={self._mark}\0".encode()
        return [pid for pid in _all_pids() if mark in b"\0" + _read(pid, "environ") and is_alive(pid)]

    def relay(self) -> int | None:
        """The id of the relay that authz keeps beside it."""
        return next((pid for pid in children_of(self.pid) if is_alive(pid) and _is_relay(pid)), None)

    def kill(self) -> None:
        """End the process by SIGKILL."""
        if self.is_running:
            os.kill(self.pid, signal.SIGKILL)
        self.wait_ended()

    def terminate(self) -> None:
        """Ask for a graceful stop."""
        os.kill(self.pid, signal.SIGTERM)

    def wait_ended(self, seconds: float = DEADLINE_SECONDS) -> int:
        """Wait for the end of the process and return its exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def wait_gone(self, seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until no process of the family is left."""
        wait_until(lambda: not self.family(), seconds, f"the end of all processes of {self.command}")

    def clean_up(self) -> None:
        """End whatever is left of the family."""
        for pid in self.family():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait(DEADLINE_SECONDS)

    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines that were logged since the last start."""
        logged = self.log.read_bytes()[self._logged_before :]
        return [msgspec.json.decode(line) for line in logged.splitlines(keepends=True) if _is_json(line)]

    def wait_logged(self, event: str) -> None:
        """Wait until this event was logged since the last start."""
        wait_until(lambda: any(line["event"] == event for line in self.lines()), what=f"{event} of {self.command}")


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Hold a process still for as long as the block lasts."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _is_json(line: bytes) -> bool:
    return line.startswith(b"{") and line.endswith(b"}\n")


def _is_relay(pid: int) -> bool:
    return b"\0relay\0" in _read(pid, "cmdline")


def _all_pids() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it ended, or isn't ours
        return b""
