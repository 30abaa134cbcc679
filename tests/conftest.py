"""One real PostgreSQL for each pytest-xdist worker, a migrated template per service in it, a clone for each test.

The server takes 0.9 s to make and start, a clone some 30 ms. A test that kills its server or changes roles makes an
`EmbeddedPostgres` of its own.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg
import pytest
from hypothesis import settings
from psycopg import sql

from shared.embedded.server import EmbeddedPostgres
from shared.migrations.bootstrap import SERVICES, Roles, create_database, create_roles
from shared.migrations.runner import migrate_up
from shared.process import is_alive

PASSWORD: Final = "for-tests-only"
_DISK: Final = Path("/var/tmp")  # noqa: S108 - mkdtemp takes no name that others could have prepared
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - as above
_ROOM: Final = 10 << 30  # bytes: what the servers of several workers may come to
_SUFFIX: Final = itertools.count(1)

settings.register_profile("thorough", max_examples=2_000)

CloneDatabase = Callable[[str], AbstractContextManager["ServiceDatabase"]]


@dataclasses.dataclass(frozen=True)
class ServiceDatabase:
    """A database of one service, migrated, and the DSN of each role that may connect to it."""

    service: str
    name: str
    server: EmbeddedPostgres

    @property
    def owner_dsn(self) -> str:
        """The migrator's DSN: `set role <service>_owner` gives all rights on the objects."""
        return self.server.dsn(Roles(self.service).migrator, PASSWORD, self.name)

    @property
    def app_dsn(self) -> str:
        """The DSN that the service itself connects with."""
        return self.server.dsn(Roles(self.service).app, PASSWORD, self.name)

    @property
    def reader_dsn(self) -> str:
        """The DSN of a login that is a member of the reader role and no more."""
        return self.server.dsn(f"{self.service}_looker", PASSWORD, self.name)

    @property
    def superuser_dsn(self) -> str:
        """The DSN of the superuser on this database."""
        credentials, _, place = urlsplit(self.server.superuser_dsn).netloc.rpartition("@")
        return f"postgresql://{credentials}@{place}/{self.name}"


def connect(dsn: str) -> psycopg.Connection[tuple[Any, ...]]:
    """Open a connection in autocommit."""
    return psycopg.connect(dsn, autocommit=True)


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedPostgres]:
    """The PostgreSQL server of this worker, with the roles of both services."""
    with passable() as home, EmbeddedPostgres(home, fast=True) as postgres:
        with connect(postgres.superuser_dsn) as connection:
            for service in SERVICES:
                create_roles(connection, service, migrator_password=PASSWORD, app_password=PASSWORD)
                looker, reader = sql.Identifier(f"{service}_looker"), sql.Identifier(Roles(service).reader)
                command = sql.SQL("create role {} login password {} in role {}")
                connection.execute(command.format(looker, sql.Literal(PASSWORD), reader))
        yield postgres


def _outside() -> Path:
    """Return where servers of the tests keep their data: a clone is a thousand files, which memory makes twenty times faster."""
    try:
        found = os.statvfs(_MEMORY)
    except OSError:
        return _DISK
    is_roomy = found.f_bavail * found.f_frsize >= _ROOM
    return _MEMORY if is_roomy and not found.f_flag & os.ST_NOEXEC and os.access(_MEMORY, os.W_OK) else _DISK


@contextmanager
def passable() -> Iterator[Path]:
    """Make a folder that the server's account can enter also when we are root, which pytest's own can't be."""
    outside = _outside()
    for left in outside.glob("plystra-tests-*-*"):  # by a run that was killed
        pid = left.name.split("-")[2]
        if left.stat().st_uid == os.geteuid() and pid.isdecimal() and not is_alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"plystra-tests-{os.getpid()}-", dir=outside))
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def passable_folder() -> Iterator[Path]:
    """A folder of this test alone that the account of an embedded PostgreSQL can enter."""
    with passable() as folder:
        yield folder


@pytest.fixture(scope="session")
def template_of(server: EmbeddedPostgres) -> Callable[[str], str]:
    """The name of a migrated database of a service, never connected to after that, so that it can be copied."""

    @functools.cache
    def make(service: str) -> str:
        template = ServiceDatabase(service, f"template_{service}", server)
        with connect(server.superuser_dsn) as connection:
            create_database(connection, service, template.name)
        migrate_up(service, template.owner_dsn)
        return template.name

    return make


@pytest.fixture
def clone_database(server: EmbeddedPostgres, template_of: Callable[[str], str]) -> CloneDatabase:
    """A function that makes a further migrated database of a service, for as long as its `with` block lasts."""
    return lambda service: fresh_database(server, service, template=template_of(service))


@contextmanager
def fresh_database(server: EmbeddedPostgres, service: str, template: str | None = None) -> Iterator[ServiceDatabase]:
    """Make a database of a service, empty or as a copy, and drop it at the end whoever is still connected."""
    database = ServiceDatabase(service, f"test_{service}_{next(_SUFFIX)}", server)
    with connect(server.superuser_dsn) as connection:
        create_database(connection, service, database.name, template=template)
    try:
        yield database
    finally:
        with connect(server.superuser_dsn) as connection:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(database.name)))


@pytest.fixture
def authz_database(clone_database: CloneDatabase) -> Iterator[ServiceDatabase]:
    """A migrated database of authz for this test alone."""
    with clone_database("authz") as database:
        yield database


@pytest.fixture
def audit_database(clone_database: CloneDatabase) -> Iterator[ServiceDatabase]:
    """A migrated database of audit for this test alone."""
    with clone_database("audit") as database:
        yield database


@pytest.fixture
def empty_database(server: EmbeddedPostgres) -> Iterator[ServiceDatabase]:
    """A database with roles and grants as of authz, not migrated."""
    with fresh_database(server, "authz") as database:
        yield database
