"""The two services as child processes: started with only the environment they need, awaited, watched, stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx

from shared.migrations.errors import ExitCode, OperatorError
from shared.process import tied

READY_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1
_TAIL_LINES: Final = 20
# Everything shares one machine here: answering a check comes before keeping its record elsewhere, which may lag.
_NICENESS: Final = {"audit": 10}
# What a child inherits: where programs and certificates are, the language, and telemetry; no secret of the shell.
_INHERITED: Final = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "PLYSTRA_LOG_LEVEL",
    "PLYSTRA_DRAIN_SECONDS",
)
_INHERITED_PREFIX: Final = "OTEL_"


class ProgramFailed(OperatorError):
    """A service didn't start, didn't become ready, or ended by itself."""

    exit_code = ExitCode.FINDINGS


class Program:
    """One service as a child process; it is told to stop when this process dies, however that happens."""

    def __init__(self, service: str, environment: Mapping[str, str], logs: Path, url: str) -> None:
        """Prepare; `start` starts it."""
        self.service = service
        self.url = url
        self.log = logs / f"{service}.log"
        self._environment = _inherited() | dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the service, keeping the log of the run before."""
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        command = tied(
            [sys.executable, "-m", f"services.{self.service}", "serve"],
            on_parent_death=signal.SIGTERM,
            niceness=_NICENESS.get(self.service, 0),
        )
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal reaches only us, and we stop things in order.
            self._process = subprocess.Popen(
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def run(self, *arguments: str) -> str:
        """Run another command of the service's program to its end and return what it printed."""
        command = [sys.executable, "-m", f"services.{self.service}", *arguments]
        done = subprocess.run(tied(command), env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ProgramFailed(
                f"`{' '.join(command[1:])}` ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}",
                why="What it was to do isn't done.",
                remedy="the output above is all there is; run it again by hand to look closer.",
            )
        return done.stdout.strip()

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Return once the service says that it is ready; raise with the end of its log when it doesn't in time."""
        deadline = time.monotonic() + seconds
        last = "it didn't answer"
        with httpx.Client(base_url=self.url, timeout=5, trust_env=False) as client:
            while time.monotonic() < deadline:
                self.require_running()
                try:
                    response = client.get("/api/v1/ready")
                except httpx.TransportError:
                    pass
                else:
                    if response.is_success:
                        return
                    last = response.text
                time.sleep(_POLL_SECONDS)
        raise ProgramFailed(
            f"{self.service} isn't ready after {seconds:g} s: {last}\n{self.log_tail()}",
            why="A service that isn't ready doesn't answer.",
            remedy=f"look at {self.log}",
        )

    def require_running(self) -> None:
        """Raise with the end of its log if the service has ended by itself."""
        code = self._process.poll() if self._process else None
        if code is not None:
            end = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            raise ProgramFailed(
                f"{self.service} ended by itself with {end}. The end of {self.log}:\n{self.log_tail()}",
                why="The pair is of no use without it.",
                remedy="mend what the log names, then run this command again; it goes on with the same data.",
            )

    def stop(self, seconds: float) -> None:
        """Ask the service to answer what is in flight and end; after `seconds` it is made to."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log_tail(self) -> str:
        """Return the last lines of the log, indented."""
        lines = self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:] if self.log.exists() else []
        return "\n".join(f"    | {line}" for line in lines) or "    | (nothing)"


def _inherited() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if name in _INHERITED or name.startswith(_INHERITED_PREFIX)
    }
