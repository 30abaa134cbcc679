"""A server for mutations alone, since some of them change roles, and PostgreSQL 15 where its programs are."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg
import pytest

from benchmarks.drift.trial import Laboratory
from shared.embedded.server import EmbeddedPostgres
from shared.process import Account, tied
from tests.conftest import passable

_OLDER: Final = Path("/usr/lib/postgresql/15/bin")
_ENVIRONMENT: Final = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


@pytest.fixture(scope="session")
def laboratory() -> Iterator[Laboratory]:
    """A server with the templates that mutations are tried on."""
    with passable() as home, EmbeddedPostgres(home, fast=True) as server:
        yield Laboratory(server)


@pytest.fixture(scope="session")
def older_dsn() -> Iterator[str]:
    """The superuser's DSN of a PostgreSQL 15."""
    if not (_OLDER / "initdb").exists():
        pytest.skip(f"the programs of PostgreSQL 15 aren't in {_OLDER}")
    with passable() as folder, _older_server(folder) as dsn:
        yield dsn


@contextlib.contextmanager
def _older_server(folder: Path) -> Iterator[str]:
    account = (Account.named("postgres") or Account.named("nobody")) if os.geteuid() == 0 else None
    data = folder / "data"
    data.mkdir(mode=0o700)
    if account is not None:
        os.chown(data, account.uid, account.gid)
    words = ["--username", "postgres", "--auth", "trust", "--no-sync", "--locale=C", "--encoding=UTF8"]
    _run([str(_OLDER / "initdb"), "--pgdata", str(data), *words], account)
    settings = ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "port=0"]
    port = _free_port()
    settings[-1] = f"port={port}"
    command = tied([str(_OLDER / "postgres"), "-D", str(data), *settings], account=account)
    process = subprocess.Popen(command, cwd="/", env=_ENVIRONMENT, stderr=subprocess.DEVNULL)
    dsn = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    try:
        _wait_for(dsn)
        yield dsn
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _run(command: list[str], account: Account | None) -> None:
    subprocess.run(tied(command, account=account), cwd="/", env=_ENVIRONMENT, check=True, capture_output=True)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(dsn: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(dsn).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
        else:
            return
