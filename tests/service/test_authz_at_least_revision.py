"""Guarantee 6, bounded staleness: a check that names the revision of a change has seen it, or says that it can't."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.conftest import ServiceDatabase
from tests.service.authz_service import CHECK, EXPLAIN, RunningAuthz, question, running_authz, standing_still
from tests.service.authz_writer import Writer, writing

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATHS = pytest.mark.parametrize("path", [CHECK, EXPLAIN])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def writer(finance: RunningAuthz) -> AsyncIterator[Writer]:
    """Changes the graph behind the service's back."""
    async with writing(finance.database) as made:
        yield made


async def ask(authz: RunningAuthz, path: str, revision: Any, **changes: Any) -> dict[str, Any]:
    """Ask with the revision that the facts must have; the answer's data."""
    response = await authz.post(path, question(at_least_revision=revision, **changes))
    assert response.status_code == 200, response.text
    data: dict[str, Any] = response.json()["data"]
    assert data["revision"] >= revision
    return data


@PATHS
async def test_the_first_answer_that_names_a_change_has_seen_it(finance: RunningAuthz, writer: Writer, path: str):
    row = writer.stored("resource", "invoice_001")
    for turn in range(20):
        status = ("archived", "active")[turn % 2]
        revision = await writer.change(("resource", row | {"status": status}))
        data = await ask(finance, path, revision)
        assert data["allow"] == (status == "active")
        # Asked again in the same words it is given from memory, and still not from before the change.
        assert (await ask(finance, path, revision))["allow"] == data["allow"]


@PATHS
async def test_a_revision_that_was_reached_long_ago_costs_nothing(finance: RunningAuthz, path: str):
    for revision in (0, 1, 36):
        assert (await ask(finance, path, revision))["allow"]


@PATHS
async def test_a_revision_that_is_to_come_is_no_answer_and_nothing_is_recorded(finance: RunningAuthz, path: str):
    newest, recorded = (await finance.decide())["revision"], finance.count_recorded()
    response = await finance.post(path, question(at_least_revision=newest + 1))
    problem = response.json()
    assert (response.status_code, problem["code"]) == (503, "revision_not_reached")
    assert problem["detail"].startswith(f"/at_least_revision: the newest revision is {newest}, not yet {newest + 1}")
    assert int(response.headers["retry-after"]) >= 1
    assert finance.count_recorded() == recorded


@PATHS
@pytest.mark.parametrize("revision", [-1, 1.5, "1", None, True, 2**53, [1]])
async def test_what_is_no_revision_is_refused(finance: RunningAuthz, path: str, revision: Any):
    response = await finance.post(path, question() | {"at_least_revision": revision})
    assert (response.status_code, response.json()["code"]) == (400, "validation_failed")
    assert response.json()["errors"][0]["pointer"] == "/at_least_revision"


async def test_it_is_seen_also_while_the_log_of_changes_cannot_be_followed(finance_database: ServiceDatabase):
    async with running_authz(finance_database, staleness_ms=10_000) as authz, writing(finance_database) as writer:
        await authz.become_ready()
        assert (await authz.decide())["allow"]
        row = writer.stored("resource", "invoice_001")
        with standing_still(authz):
            revision = await writer.change(("resource", row | {"status": "archived"}))
            # Memory is within its bound, and doesn't know: an answer that names nothing may come from there.
            assert (await authz.decide())["revision"] < revision
            data = await ask(authz, CHECK, revision)
            assert data["deny_code"] == "RESOURCE_INACTIVE"
