"""A whole Plystra of its own, made by `plystractl up`, and the echo server beside it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, NamedTuple

import httpx

from benchmarks.load import free_port
from shared.process import children_of, tied

_START_SECONDS: Final = 120.0


class Pair(NamedTuple):
    """A running pair: where it is, its keys, its home folder, and the process that holds it together."""

    authz: str
    audit: str
    environment: dict[str, str]
    home: Path
    pid: int

    @property
    def admin_key(self) -> str:
        """A key that may do everything."""
        return self.environment["PLYSTRA_ADMIN_KEY"]

    def waiting(self) -> int:
        """Return how many events wait for delivery, as /ready tells it."""
        return self._figure("outbox", "waiting")

    def recorded(self) -> int:
        """Return how many decisions authz has recorded since it started."""
        return self._figure("outbox", "recorded")

    def log_size(self) -> int:
        """Return how many entries the audit log has."""
        checks = httpx.get(f"{self.audit}/api/v1/ready", timeout=10).json()["data"]["checks"]
        return next(int(c["figures"]["log_size"]) for c in checks if "log_size" in c["figures"])

    def delivery_held(self) -> AbstractContextManager[None]:
        """Hold the relay still, so that what is recorded waits; nothing of it is lost."""
        (relay,) = [pid for pid in children_of(self.authz_pid) if b"relay" in _words(pid)]
        return _held(relay)

    def authz_held(self) -> AbstractContextManager[None]:
        """Hold authz itself still, so that it doesn't follow what happens to its database meanwhile."""
        return _held(self.authz_pid)

    @property
    def authz_pid(self) -> int:
        """The process that answers; its relay is another."""
        (pid,) = [pid for pid in children_of(self.pid) if b"services.authz" in _words(pid)]
        return pid

    def _figure(self, check: str, name: str) -> int:
        checks = httpx.get(f"{self.authz}/api/v1/ready", timeout=10).json()["data"]["checks"]
        return next(int(c["figures"][name]) for c in checks if c["name"] == check)


@contextlib.contextmanager
def temporary_home() -> Iterator[Path]:
    """Make a folder for a pair's data; on a disk, since commits are what is measured. At the end it is removed."""
    home = Path(tempfile.mkdtemp(prefix="plystra-bench-", dir="/var/tmp"))
    # The database user must be able to pass through.
    home.chmod(0o711)
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def running_pair() -> Iterator[Pair]:
    """Start a pair on a home of its own; at the end everything is stopped and removed."""
    with temporary_home() as home, running_pair_on(home) as pair:
        yield pair


@contextlib.contextmanager
def running_pair_on(home: Path) -> Iterator[Pair]:
    """Start a pair on a home, which it takes up as the pair before has left it; at the end everything is stopped."""
    ports = free_port(), free_port()
    command = [sys.executable, "-m", "shared.ctl", "up", "--home", str(home)]
    command += ["--authz-port", str(ports[0]), "--audit-port", str(ports[1])]
    with (home / "up.log").open("wb") as log:
        process = subprocess.Popen(tied(command), stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for(lambda: b"Ctrl-C" in (home / "up.log").read_bytes(), process, home / "up.log")
        lines = (home / "dev.env").read_text(encoding="utf-8").splitlines()
        values = dict(line.removeprefix("export ").split("=", 1) for line in lines if "=" in line)
        environment = {name: value.strip("'\"") for name, value in values.items()}
        yield Pair(environment["PLYSTRA_AUTHZ_URL"], environment["PLYSTRA_AUDIT_URL"], environment, home, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(90)


@contextlib.contextmanager
def running_echo() -> Iterator[str]:
    """Start the echo server; yields its URL."""
    port = free_port()
    process = subprocess.Popen(tied([sys.executable, "-m", "benchmarks.echo", str(port)]))
    url = f"http://127.0.0.1:{port}/"
    try:
        _wait_for(lambda: _answers(url), process, None)
        yield url
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def _held(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _words(pid: int) -> list[bytes]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")


def _answers(url: str) -> bool:
    try:
        return httpx.post(url, content=b"{}", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False


def _wait_for(condition: object, process: subprocess.Popen[bytes], log: Path | None) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if callable(condition) and condition():
            return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError("it did not start:\n" + (log.read_text(encoding="utf-8") if log else ""))
