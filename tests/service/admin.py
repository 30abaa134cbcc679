"""Administration over HTTP as a test does it: a request, and what is in the log of changes afterwards."""

from __future__ import annotations

from typing import Any, Final

import httpx

from tests.service.authz_service import AuthzDatabase, RunningAuthz, bearer

API: Final = "/api/v1"
ACME: Final = f"{API}/spaces/space_acme"


async def send(
    authz: RunningAuthz, method: str, path: str, body: Any = None, *, key: str = "admin", **headers: str
) -> httpx.Response:
    """Send a request as an administrator; header names are given with underscores."""
    sent = bearer(key) | {name.replace("_", "-"): value for name, value in headers.items()}
    return await authz.client.request(method, path, json=body, headers=sent)


async def done(authz: RunningAuthz, method: str, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
    """Send a request that must succeed; returns its data."""
    response = await send(authz, method, path, body, **headers)
    assert response.status_code in {200, 201}, response.text
    data: dict[str, Any] = response.json()["data"]
    return data


async def refused(
    authz: RunningAuthz, status: int, code: str, method: str, path: str, body: Any = None, **headers: str
) -> dict[str, Any]:
    """Send a request that must be refused with nothing written; returns the problem."""
    before = written(authz)
    response = await send(authz, method, path, body, **headers)
    problem: dict[str, Any] = response.json()
    assert (response.status_code, problem.get("code")) == (status, code), response.text
    assert written(authz) == before
    return problem


def written(database: AuthzDatabase) -> list[tuple[Any, ...]]:
    """How far the log of changes is, what its writer has in the outbox, and the answers kept."""
    return database.sql(
        "select (select count(*) from authz.event), (select sum(last_sequence - first_sequence + 1) from authz.outbox"
        " join authz.outbox_writer using (writer_id) where stream = 'changes'),"
        " (select count(*) from authz.idempotency_key)"
    )


def last_event(database: AuthzDatabase) -> dict[str, Any]:
    """The newest event of the log of changes."""
    ((event,),) = database.sql("select to_jsonb(e) from authz.event e order by revision desc limit 1")
    return dict(event)
