"""Both services as real processes on a real PostgreSQL: started, watched, killed and asked by the tests of the stack.

A test is the orchestrator: what it kills it starts again. Only processes that were started here are ended, by their pid.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx
import msgspec

from shared.ctl.home import Secrets
from shared.ctl.keys import local_keys, store_keys
from shared.process import children_of, is_alive, tied
from tests.conftest import ServiceDatabase, connect

HOST: Final = "127.0.0.1"
# Everything is bounded: what takes longer than this has failed, whatever it is.
DEADLINE_SECONDS: Final = 40.0
_POLL_SECONDS: Final = 0.02
_MARK: Final = "STACK_TEST_PROCESS"

T = TypeVar("T")


def wait_until(condition: Callable[[], T], seconds: float = DEADLINE_SECONDS, what: str = "it") -> T:
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

    def start(self) -> None:
        """Start the process; its output goes to the end of the log."""
        name, *arguments = self.command.split()
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PLYSTRA_", "OTEL_"))}
        words = [sys.executable, "-m", f"services.{name}", *arguments]
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
        """The id of the main process."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the main process runs."""
        return self._process is not None and self._process.poll() is None

    def family(self) -> list[int]:
        """The living processes that come from this one, also those that it left behind: they carry its mark."""
        mark = f"\0{_MARK}={self._mark}\0".encode()
        return [pid for pid in _all_pids() if mark in b"\0" + _read(pid, "environ") and is_alive(pid)]

    def worker(self) -> int | None:
        """The id of the process that answers over HTTP."""
        return next((pid for pid in children_of(self.pid) if is_alive(pid) and not _is_relay(pid)), None)

    def relay(self) -> int | None:
        """The id of the relay that authz keeps beside it."""
        return next((pid for pid in children_of(self.pid) if is_alive(pid) and _is_relay(pid)), None)

    def kill(self) -> None:
        """End the main process by SIGKILL."""
        if self.is_running:
            os.kill(self.pid, signal.SIGKILL)
        self.wait_ended()

    def terminate(self) -> None:
        """Ask for a graceful stop."""
        os.kill(self.pid, signal.SIGTERM)

    def wait_ended(self, seconds: float = DEADLINE_SECONDS) -> int:
        """Wait for the end of the main process and return its exit code."""
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
        """The JSON lines of the log so far."""
        return [msgspec.json.decode(line) for line in self.log.read_bytes().splitlines() if line.startswith(b"{")]


class Pair:
    """authz with its relay, and audit; `restart` is the orchestrator's part."""

    def __init__(
        self, authz: ServiceDatabase, audit: ServiceDatabase, logs: Path, settings: Mapping[str, str] | None = None
    ) -> None:
        """Prepare both on databases that are there; `settings` are added to the environment of both."""
        self.databases = {"authz": authz, "audit": audit}
        self.logs = logs
        self._ports = {name: _ReservedPort() for name in self.databases}
        self.urls = {name: f"http://{HOST}:{port.number}" for name, port in self._ports.items()}
        self.secrets = Secrets()
        self._settings = dict(settings or {})
        self.authz = self.service("authz serve")
        self.audit = self.service("audit serve")
        self._others: list[Service] = []

    def __enter__(self) -> Self:
        for name, database in self.databases.items():
            store_keys(name, database.owner_dsn, local_keys(name, self.secrets))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for service in (self.authz, *self._others, self.audit):
            service.clean_up()
        for port in self._ports.values():
            port.release()

    def service(self, command: str, log: str | None = None, **settings: str) -> Service:
        """Prepare a process of this pair; `settings` go before those of the pair."""
        name = command.split(maxsplit=1)[0]
        common = {
            f"PLYSTRA_{name.upper()}_APP_DSN": self.databases[name].app_dsn,
            f"PLYSTRA_{name.upper()}_HOST": HOST,
            f"PLYSTRA_{name.upper()}_PORT": str(self._ports[name].number),
            f"PLYSTRA_{name.upper()}_INSTANCE": f"{name}-under-test",
        }
        if name == "authz":
            common |= {"PLYSTRA_AUDIT_URL": self.urls["audit"], "PLYSTRA_AUTHZ_AUDIT_KEY": self.secrets.relay_key}
        return Service(command, common | self._settings | settings, self.logs / f"{log or name}.log")

    def relay(self, instance: str) -> Service:
        """Prepare a relay process of its own."""
        relay = self.service("authz relay", instance, PLYSTRA_AUTHZ_INSTANCE=instance)
        self._others.append(relay)
        return relay

    def start(self) -> Self:
        """Start both and wait until both are ready."""
        self.audit.start()
        self.authz.start()
        self.wait_ready()
        return self

    def wait_ready(self, *names: str) -> None:
        """Wait until the named services, or both, say that they are ready."""
        for name in names or ("audit", "authz"):
            service: Service = getattr(self, name)
            wait_until(lambda name=name: self.readiness(name)[0] == 200, what=f"ready {name}")  # type: ignore[misc]
            assert service.is_running

    def restart(self, service: Service) -> None:
        """Start a service again once its last process is gone."""
        service.wait_gone()
        service.start()

    def client(self, name: str, key: str | None = None) -> httpx.Client:
        """Open a client of a service, with the admin key unless told otherwise."""
        headers = {"authorization": f"Bearer {key or self.secrets.admin_key}"}
        return httpx.Client(base_url=self.urls[name], headers=headers, timeout=10, trust_env=False)

    def readiness(self, name: str) -> tuple[int, dict[str, Any]]:
        """What `/ready` says: the status (0 when nobody answers) and the checks by name."""
        try:
            response = httpx.get(f"{self.urls[name]}/api/v1/ready", timeout=5, trust_env=False)
        except httpx.TransportError:
            return 0, {}
        data = response.json().get("data") or {"checks": []}
        return response.status_code, {check["name"]: check for check in data["checks"]}

    def metrics(self, name: str) -> dict[str, float]:
        """The metrics of a service, each by its name with labels."""
        with self.client(name) as client:
            response = client.get("/metrics")
        assert response.status_code == 200
        rows = (line.rpartition(" ") for line in response.text.splitlines() if not line.startswith("#"))
        return {key: float(value) for key, _, value in rows}

    def waiting(self) -> int:
        """How many events authz's database still holds for delivery, by its tables."""
        with connect(self.databases["authz"].superuser_dsn) as connection:
            row = connection.execute(
                "select coalesce(sum(o.last_sequence - greatest(w.delivered_sequence, o.first_sequence - 1)), 0)::int"
                " from authz.outbox o join authz.outbox_writer w using (writer_id)"
                " where o.last_sequence > w.delivered_sequence"
            ).fetchone()
        assert row is not None
        return int(row[0])

    def is_drained(self) -> bool:
        """Whether nothing waits for delivery."""
        return self.waiting() == 0

    def wait_drained(self, seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until nothing waits for delivery."""
        wait_until(self.is_drained, seconds, "delivery of the whole backlog")

    def log_size(self) -> int:
        """How many entries audit's log has, by its table."""
        with connect(self.databases["audit"].superuser_dsn) as connection:
            row = connection.execute("select count(*) from audit.entry").fetchone()
        assert row is not None
        return int(row[0])


@dataclasses.dataclass
class _ReservedPort:
    """A port that nobody else on this machine gets as long as it is held.

    The services listen with SO_REUSEPORT, so a bound socket that doesn't listen keeps the number without being in their
    way; without it, two of them could share a port unnoticed.
    """

    def __post_init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind((HOST, 0))
        self.number: int = self._socket.getsockname()[1]

    def release(self) -> None:
        """Let go of the port."""
        self._socket.close()


def _is_relay(pid: int) -> bool:
    return b"\0relay\0" in _read(pid, "cmdline")


def _all_pids() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it ended, or isn't ours
        return b""
