"""Databases for the tests of the stack: seeded ones of this worker's server, and servers that a test may kill."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from services.authz.seeding import load_example
from shared.embedded.server import EmbeddedPostgres
from shared.migrations.bootstrap import SERVICES, create_database, create_roles
from shared.migrations.runner import migrate_up
from tests.conftest import PASSWORD, ServiceDatabase, connect
from tests.stack.pair import Pair

EXAMPLE: Final = "finance-reviewer"
# What the example makes: 35 rows and one revocation.
EXAMPLE_EVENTS: Final = 36

OpenPair = Callable[..., AbstractContextManager[Pair]]


@pytest.fixture(scope="session")
def seeded_template(server: EmbeddedPostgres, template_of: Callable[[str], str]) -> str:
    """The name of a migrated database of authz with the worked example, its events still undelivered."""
    seeded = ServiceDatabase("authz", "template_authz_seeded", server)
    with connect(server.superuser_dsn) as connection:
        create_database(connection, "authz", seeded.name, template=template_of("authz"))
    asyncio.run(load_example(seeded.app_dsn, EXAMPLE))
    return seeded.name


@pytest.fixture
def open_pair(
    server: EmbeddedPostgres, seeded_template: str, template_of: Callable[[str], str], tmp_path: Path
) -> OpenPair:
    """A function that gives a prepared pair on fresh databases of this worker's server; settings are its arguments."""

    @contextmanager
    def open_it(**settings: str) -> Iterator[Pair]:
        with ExitStack() as stack:
            databases = [
                stack.enter_context(_database(server, service, f"stack_{service}_{tmp_path.name}"[:60], template))
                for service, template in (("authz", seeded_template), ("audit", template_of("audit")))
            ]
            yield stack.enter_context(Pair(databases[0], databases[1], tmp_path, settings))

    return open_it


@pytest.fixture
def pair(open_pair: OpenPair) -> Iterator[Pair]:
    """A running pair on fresh databases of this worker's server, with the worked example loaded."""
    with open_pair() as opened:
        yield opened.start()


@pytest.fixture
def durable_server() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of this test alone, with fsync on, to be killed."""
    # Not below tmp_path: as root, the server's account couldn't enter pytest's folder.
    home = Path(tempfile.mkdtemp(prefix="plystra-stack-", dir="/var/tmp"))
    home.chmod(0o711 if os.geteuid() == 0 else 0o700)
    postgres = EmbeddedPostgres(home)
    try:
        postgres.start()
        with connect(postgres.superuser_dsn) as connection:
            for service in SERVICES:
                create_roles(connection, service, migrator_password=PASSWORD, app_password=PASSWORD)
        yield postgres
    finally:
        postgres.remove()
        shutil.rmtree(home)


@pytest.fixture
def durable_pair(durable_server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Pair]:
    """A running pair on a server of its own, with the worked example loaded."""
    databases = {service: ServiceDatabase(service, f"plystra_{service}", durable_server) for service in SERVICES}
    with connect(durable_server.superuser_dsn) as connection:
        for service, database in databases.items():
            create_database(connection, service, database.name)
            migrate_up(service, database.owner_dsn)
    asyncio.run(load_example(databases["authz"].app_dsn, EXAMPLE))
    with Pair(databases["authz"], databases["audit"], tmp_path) as opened:
        yield opened.start()


@contextmanager
def _database(server: EmbeddedPostgres, service: str, name: str, template: str) -> Iterator[ServiceDatabase]:
    database = ServiceDatabase(service, name, server)
    with connect(server.superuser_dsn) as connection:
        create_database(connection, service, name, template=template)
    try:
        yield database
    finally:
        with connect(server.superuser_dsn) as connection:
            connection.execute(f'drop database "{name}" with (force)')
