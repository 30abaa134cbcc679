"""authz with the worked example of README.md and API keys: as a database to copy, and running.

`authz` is for one test alone, `finance` for all tests of a module that only ask: those run in one event loop, by
`pytestmark = pytest.mark.asyncio(loop_scope="module")`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio

from services.authz.seeding import load_example
from shared.embedded.server import EmbeddedPostgres
from tests.conftest import ServiceDatabase, fresh_database
from tests.service.authz_service import AuthzDatabase, RunningAuthz, running_authz


@pytest.fixture(scope="session")
def finance_template(server: EmbeddedPostgres, template_of: Callable[[str], str]) -> Iterator[str]:
    """The name of a database of authz with the worked example and all keys, connected to no more."""
    with fresh_database(server, "authz", template=template_of("authz")) as database:
        asyncio.run(load_example(database.app_dsn, "finance-reviewer"))
        AuthzDatabase(database).insert_keys()
        yield database.name


@pytest.fixture
def finance_database(server: EmbeddedPostgres, finance_template: str) -> Iterator[ServiceDatabase]:
    """A database of authz with the worked example and all keys, for this test alone."""
    with fresh_database(server, "authz", template=finance_template) as database:
        yield database


@pytest.fixture
async def authz(finance_database: ServiceDatabase) -> AsyncIterator[RunningAuthz]:
    """authz running on the worked example, for this test alone."""
    async with running_authz(finance_database) as service:
        yield service


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def finance(server: EmbeddedPostgres, finance_template: str) -> AsyncIterator[RunningAuthz]:
    """authz running on the worked example, which the tests of this module only ask."""
    with fresh_database(server, "authz", template=finance_template) as database:
        async with running_authz(database) as service:
            await service.become_ready()
            yield service
