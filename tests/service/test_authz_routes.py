"""Every route of authz with the key that it demands, and how requests are refused before they are read."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest

from shared.credentials import NewKey, new_key
from shared.web.litestar_app import PUBLIC, path_template, routes_with_permissions
from tests.service.authz_service import CHECK, EXPLAIN, PERMISSIONS, RunningAuthz, bearer, question

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Of each noun: its path, what its rows are told apart by, and the commands for one row. Those below stand in a Space.
OF_THE_INSTANCE = {
    "users": ("{user_id}", "disable", "restore"),
    "spaces": ("{space_id}", "disable", "restore"),
    "resource-types": ("{resource_type_id}", "disable", "restore"),
    "resource-actions": ("{resource_action_id}", "disable", "restore"),
    "permissions": ("{permission_id}", "disable", "restore"),
}
OF_A_SPACE = {
    "groups": ("{group_id}", "disable", "restore", "move"),
    "members": ("{member_id}", "disable", "restore"),
    "user-members": ("{user_member_id}", "revoke"),
    "roles": ("{role_id}", "disable", "restore"),
    "role-permissions": ("{role_permission_id}", "disable", "restore"),
    "member-roles": ("{member_role_id}", "revoke"),
    "resources": ("{resource_type}/{resource_id}", "archive", "restore"),
}


def administration() -> list[tuple[str, str, str]]:
    """The routes of every noun."""
    prefixed = {f"/api/v1/{path}": rest for path, rest in OF_THE_INSTANCE.items()}
    prefixed |= {f"/api/v1/spaces/{{space_id}}/{path}": rest for path, rest in OF_A_SPACE.items()}
    routes = []
    for path, (row, *commands) in prefixed.items():
        routes += [("GET", path, "authz:read"), ("POST", path, "authz:write")]
        routes += [("GET", f"{path}/{row}", "authz:read"), ("PATCH", f"{path}/{row}", "authz:write")]
        routes += [("POST", f"{path}/{row}/{command}", "authz:write") for command in commands]
    return routes


ROUTES = [
    *administration(),
    ("GET", "/api/v1/spaces/{space_id}/policy", "authz:read"),
    ("PUT", "/api/v1/spaces/{space_id}/policy", "authz:write"),
    ("POST", "/api/v1/import", "authz:write"),
    ("POST", "/api/v1/authz/check", "authz:check"),
    ("POST", "/api/v1/authz/explain", "authz:explain"),
    ("GET", "/api/v1/health", PUBLIC),
    ("GET", "/api/v1/ready", PUBLIC),
    ("GET", "/api/v1/version", PUBLIC),
    ("GET", "/metrics", "metrics:read"),
]
GUARDED = [(method, path, permission) for method, path, permission in ROUTES if permission != PUBLIC]
BODY = msgspec.json.encode(question())


@pytest.fixture(autouse=True)
async def _refusals_are_not_recorded(finance: RunningAuthz) -> AsyncIterator[None]:
    before = finance.count_recorded()
    yield
    assert finance.count_recorded() == before


async def send(
    finance: RunningAuthz, method: str, path: str, key: NewKey | str | None = None, **headers: str
) -> httpx.Response:
    sent = {} if key is None else bearer(key)
    content = BODY if method in {"POST", "PATCH", "PUT"} else None
    return await finance.client.request(method, re.sub(r"{\w+}", "x", path), content=content, headers=sent | headers)


def problem_of(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem that the answer is; the form is the same for all."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    problem: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "code", "request_id"} <= set(problem)
    assert problem["type"] == f"urn:plystra:problem:{code}"
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == response.headers["x-request-id"]
    return problem


async def test_the_list_above_is_that_of_the_application(finance: RunningAuthz):
    found = [(method, path_template(path), key) for method, path, key in routes_with_permissions(finance.edge.app)]
    assert sorted(found) == sorted(ROUTES)


@pytest.mark.parametrize("method, path, permission", GUARDED)
async def test_a_route_that_is_not_public_demands_a_key(finance: RunningAuthz, method, path, permission):
    response = await send(finance, method, path)
    problem_of(response, 401, "credential_missing")
    assert response.headers["www-authenticate"] == 'Bearer realm="plystra"'
    assert permission


@pytest.mark.parametrize("method, path, permission", GUARDED)
async def test_it_refuses_a_key_that_lacks_its_permission_and_says_which(
    finance: RunningAuthz, method, path, permission
):
    for name, held in PERMISSIONS.items():
        if permission not in held:
            problem = problem_of(await send(finance, method, path, name), 403, "permission_denied")
            assert permission in problem["detail"]
            assert name in problem["detail"]


@pytest.mark.parametrize(
    "method, path", [(method, path) for method, path, permission in ROUTES if permission == PUBLIC]
)
async def test_a_public_route_answers_without_a_key_and_with_a_bad_one(finance: RunningAuthz, method, path):
    assert (await send(finance, method, path)).status_code == 200
    assert (await send(finance, method, path, authorization="Bearer nonsense")).status_code == 200


async def test_the_metrics_are_for_who_may_read_them(finance: RunningAuthz):
    response = await send(finance, "GET", "/metrics", "watcher")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "plystra_authz_outbox_depth" in response.text


@pytest.mark.parametrize("path", [path for method, path, key in ROUTES if method == "GET" and key != "authz:read"])
async def test_head_is_answered_like_get_without_a_body(finance: RunningAuthz, path):
    for key in ("watcher", None):
        asked, whole = await send(finance, "HEAD", path, key), await send(finance, "GET", path, key)
        assert (asked.status_code, asked.content) == (whole.status_code, b"")
        assert asked.headers["content-type"] == whole.headers["content-type"]
        assert asked.headers["x-request-id"]
    response = await send(finance, "POST", path)
    problem_of(response, 405, "method_not_allowed")
    assert {"GET", "HEAD"} <= set(response.headers["allow"].split(", "))


NOW = datetime.now(UTC)


@pytest.mark.parametrize("method, path, permission", GUARDED)
@pytest.mark.parametrize(
    "state", [{"revoked_at": NOW}, {"expires_at": NOW - timedelta(seconds=1)}, {"revoked_at": NOW, "expires_at": NOW}]
)
async def test_a_revoked_or_expired_key_is_refused(finance: RunningAuthz, method, path, permission, state):
    key = new_key()
    finance.insert_key("old", key, [permission], **state)
    response = await send(finance, method, path, key)
    problem_of(response, 401, "credential_invalid")
    assert response.headers["www-authenticate"] == 'Bearer realm="plystra"'


@pytest.mark.parametrize("method, path, permission", GUARDED)
async def test_an_unknown_key_and_a_wrong_secret_are_refused_alike(finance: RunningAuthz, method, path, permission):
    right, other = new_key(), new_key()
    finance.insert_key("right", right, [permission])
    details = set()
    for text in (other.text, f"ply_{right.credential_id}.{other.text.split('.')[1]}"):
        response = await send(finance, method, path, authorization=f"Bearer {text}")
        details.add(problem_of(response, 401, "credential_invalid")["detail"])
    assert len(details) == 1


@pytest.mark.parametrize("path", [CHECK, EXPLAIN])
@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Basic dXNlcjpwYXNz", "Bearer ply_short.x", "Bearer " + "x" * 5000]
)
async def test_what_is_no_key_is_refused(finance: RunningAuthz, path, authorization):
    problem_of(await send(finance, "POST", path, authorization=authorization), 401, "credential_invalid")


async def test_a_key_that_expires_later_is_good(finance: RunningAuthz):
    key = new_key()
    finance.insert_key("lasting", key, ["metrics:read"], expires_at=NOW + timedelta(days=1))
    assert (await send(finance, "GET", "/metrics", key)).status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "QUERY"])
@pytest.mark.parametrize("path", [CHECK, EXPLAIN])
async def test_another_method_than_post_is_refused_with_the_one_to_use(finance: RunningAuthz, method, path):
    response = await send(finance, method, path, "caller")
    problem_of(response, 405, "method_not_allowed")
    assert "POST" in response.headers["allow"]


async def test_a_refused_method_is_told_which_ones_the_path_takes(finance: RunningAuthz):
    problem = problem_of(await send(finance, "BREW", EXPLAIN, "caller"), 405, "method_not_allowed")
    assert problem["detail"].startswith(f"{EXPLAIN} does not take BREW. It takes ")
    assert set(problem["detail"].rstrip(".").split(" takes ")[-1].split(", ")) == {"POST", "OPTIONS"}


async def test_who_asks_at_an_unknown_path_is_told_the_nearest_ones(finance: RunningAuthz):
    problem = problem_of(await send(finance, "GET", "/api/v1/authz/chekc?a=1", "caller"), 404, "not_found")
    assert problem["detail"].startswith("There is nothing at '/api/v1/authz/chekc'. The nearest that there is: ")
    assert CHECK in problem["detail"]
    long = problem_of(await send(finance, "GET", "/" + "x" * 5000, "caller"), 404, "not_found")
    assert len(long["detail"]) < 500


@pytest.mark.parametrize("method, path, _permission", ROUTES)
async def test_asking_for_a_routes_methods_is_no_failure(finance: RunningAuthz, method, path, _permission):
    response = await send(finance, "OPTIONS", path)
    assert response.status_code in {204, 405}
    assert method in response.headers["allow"]


@pytest.mark.parametrize(
    "path",
    ["/", "/api", "/api/v1", "/api/v1/authz", "/api/v1/authz/checks", "/api/v2/authz/check", "/openapi", "/%00", "/é"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_path_is_not_found(finance: RunningAuthz, method, path):
    problem_of(await send(finance, method, path, "caller"), 404, "not_found")


async def test_check_with_a_slash_at_its_end_is_not_found(finance: RunningAuthz):
    problem = problem_of(await send(finance, "POST", CHECK + "/", "caller"), 404, "not_found")
    assert CHECK in problem["detail"]


@pytest.mark.parametrize("method, path, _permission", [route for route in ROUTES if route[1] != CHECK])
async def test_a_query_parameter_that_no_route_knows_is_refused_by_name(
    finance: RunningAuthz, method, path, _permission
):
    problem = problem_of(await send(finance, method, f"{path}?verbose=1&a=2", "caller"), 400, "unknown_parameter")
    assert {error["parameter"] for error in problem["errors"]} == {"a", "verbose"}


async def test_labels_of_metrics_are_of_bounded_number_whatever_is_asked(finance: RunningAuthz):
    for path in ("/nowhere/1", "/nowhere/2", CHECK + "/"):
        for method in ("GET", "POST", "BREW"):
            await send(finance, method, path, "caller")
    text = (await send(finance, "GET", "/metrics", "watcher")).text
    routes = set(re.findall(r'plystra_http_request_seconds_count\{method="[A-Z]+",route="([^"]*)"', text))
    assert routes <= {path for _, path, _ in ROUTES} | {"unmatched"}
    assert "BREW" not in text
