"""Both services as real processes on a real PostgreSQL: started, asked and looked into by the tests of the stack.

A test is the orchestrator: what it kills it starts again. Only processes that were started here are ended, by their pid.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from shared.ctl.home import Secrets
from shared.ctl.keys import local_keys, store_keys
from shared.embedded.server import EmbeddedPostgres
from tests.conftest import ServiceDatabase, connect
from tests.stack.process import DEADLINE_SECONDS, Service, wait_until

HOST: Final = "127.0.0.1"


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
        for service in self._services():
            service.clean_up()
        for port in self._ports.values():
            port.release()

    def _services(self) -> list[Service]:
        return [self.authz, *self._others, self.audit]

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

    def replica(self, instance: str, **settings: str) -> Service:
        """Prepare a further authz process on the same database; `instance` is its name wherever `authz` is one."""
        port = self._ports[instance] = _ReservedPort()
        self.urls[instance] = f"http://{HOST}:{port.number}"
        own = {"PLYSTRA_AUTHZ_INSTANCE": instance, "PLYSTRA_AUTHZ_PORT": str(port.number)}
        replica = self.service("authz serve", instance, **own, **settings)
        self._others.append(replica)
        return replica

    def start(self) -> Self:
        """Start both and wait until both are ready."""
        self.audit.start()
        self.authz.start()
        self.wait_ready()
        return self

    def wait_ready(self, *names: str) -> None:
        """Wait until the named services, or both, say that they are ready."""
        for name in names or ("audit", "authz"):
            wait_until(lambda name=name: self.readiness(name)[0] == 200, what=f"ready {name}")  # type: ignore[misc] # mypy infers no lambda with a default
            assert next(service for service in self._services() if service.log.stem == name).is_running

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

    def wait_logged(self, more: int) -> None:
        """Wait until so many more events are in the log."""
        goal = self.log_size() + more
        wait_until(lambda: self.log_size() >= goal, what=f"{more} more events in the log")

    def log_size(self) -> int:
        """How many entries audit's log has, by its table."""
        with connect(self.databases["audit"].superuser_dsn) as connection:
            row = connection.execute("select count(*) from audit.entry").fetchone()
        assert row is not None
        return int(row[0])


class _ReservedPort:
    """A port that nobody else on this machine gets as long as it is held.

    A socket that is bound with SO_REUSEADDR, as a service's is, and doesn't listen keeps the number without being in the
    service's way.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((HOST, 0))
        self.number: int = self._socket.getsockname()[1]

    def release(self) -> None:
        """Let go of the port."""
        self._socket.close()


def session_of(server: EmbeddedPostgres, name: str) -> int:
    """The id of the server process behind the session whose name ends so."""
    query = "select pid from pg_stat_activity where application_name like %s limit 1"
    with connect(server.superuser_dsn) as connection:
        row = wait_until(lambda: connection.execute(query, [f"%{name}"]).fetchone(), what=f"a session of the {name}")
    return int(row[0])


@contextmanager
def held(database: ServiceDatabase, table: str) -> Iterator[None]:
    """Let nobody insert into a table for as long as the block lasts."""
    with connect(database.superuser_dsn) as connection, connection.transaction():
        connection.execute("set local lock_timeout = '10s'")
        connection.execute(f"lock table {table} in share row exclusive mode")
        yield


def waiting_sessions(database: ServiceDatabase) -> int:
    """How many sessions wait for a lock."""
    query = "select count(*) from pg_locks l join pg_stat_activity a using (pid) where a.datname = %s and not l.granted"
    with connect(database.superuser_dsn) as connection:
        row = connection.execute(query, [database.name]).fetchone()
    assert row is not None
    return int(row[0])
