"""Running pairs for the tests of the stack: on databases of this worker's server, or on a server that a test may kill."""

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
from tests.conftest import PASSWORD, ServiceDatabase, connect, fresh_database
from tests.stack.pair import Pair

EXAMPLE: Final = "finance-reviewer"

OpenPair = Callable[..., AbstractContextManager[Pair]]


@pytest.fixture(scope="session")
def example_template(server: EmbeddedPostgres, template_of: Callable[[str], str]) -> Iterator[str]:
    """The name of a migrated database of authz with the worked example, whose events are still undelivered."""
    with fresh_database(server, "authz", template=template_of("authz")) as database:
        asyncio.run(load_example(database.app_dsn, EXAMPLE))
        yield database.name


@pytest.fixture(scope="session")
def open_pair(
    server: EmbeddedPostgres,
    example_template: str,
    template_of: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> OpenPair:
    """A function that gives a prepared pair on fresh databases of this worker's server; settings are its arguments."""

    @contextmanager
    def open_it(**settings: str) -> Iterator[Pair]:
        with ExitStack() as stack:
            authz = stack.enter_context(fresh_database(server, "authz", template=example_template))
            audit = stack.enter_context(fresh_database(server, "audit", template=template_of("audit")))
            yield stack.enter_context(Pair(authz, audit, tmp_path_factory.mktemp("pair"), settings))

    return open_it


@pytest.fixture
def pair(open_pair: OpenPair) -> Iterator[Pair]:
    """A running pair for this test alone, with the worked example loaded."""
    with open_pair() as opened:
        yield opened.start()


@pytest.fixture
def own_server() -> Iterator[EmbeddedPostgres]:
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
def own_pair(own_server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Pair]:
    """A running pair on a PostgreSQL of its own, with the worked example loaded."""
    databases = {service: ServiceDatabase(service, f"plystra_{service}", own_server) for service in SERVICES}
    with connect(own_server.superuser_dsn) as connection:
        for service, database in databases.items():
            create_database(connection, service, database.name)
            migrate_up(service, database.owner_dsn)
    asyncio.run(load_example(databases["authz"].app_dsn, EXAMPLE))
    with Pair(databases["authz"], databases["audit"], tmp_path) as opened:
        yield opened.start()
