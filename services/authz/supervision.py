"""Keeps one relay process beside the HTTP process: starts it, starts it again when it dies, stops it last."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import Final

from shared.process import tied

RESTART_SECONDS: Final = 0.5
STOP_SECONDS: Final = 10.0


class RelaySupervisor(threading.Thread):
    """A thread that lives as long as the service's process; the relay dies with it."""

    def __init__(self) -> None:
        super().__init__(name="relay-supervisor", daemon=True)
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Start the relay whenever it isn't running, until `stop`."""
        command = tied([sys.executable, "-m", "services.authz", "relay"], on_parent_death=signal.SIGKILL)
        while True:
            with self._lock:
                if self._stopping.is_set():
                    return
                # A session of its own: Ctrl-C in a terminal goes to the service, which stops the relay last.
                self._process = process = subprocess.Popen(command, start_new_session=True)
            process.wait()
            self._stopping.wait(RESTART_SECONDS)

    def stop(self) -> None:
        """End the relay after it has delivered what it can, and this thread with it."""
        with self._lock:
            self._stopping.set()
            process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        self.join(STOP_SECONDS)
