"""Whatever bytes are sent to check and explain: no failure, and nothing recorded but what was answered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.authz_service import CHECK, EXPLAIN, RunningAuthz, actor, question

pytestmark = pytest.mark.asyncio(loop_scope="module")

FULL: dict[str, Any] = {
    "actor": actor(user_email="a@b", user_status="active", binding_expires_at="2030-01-01T00:00:00Z"),
    "action": "approve",
    "resource": {
        "type": "invoice",
        "id": "x",
        "space_id": "space_acme",
        "group_path": "finance",
        "properties": {"a": [1]},
    },
    "grants": [
        {"role_key": "r", "resource_type": "invoice", "action": "approve", "scope": "group", "space_id": "space_acme"}
    ],
}
KEYS = sorted({key for part in (FULL, question(), *FULL.values()) if isinstance(part, dict) for key in part})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
LIMITS = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
PATHS = st.sampled_from([CHECK, EXPLAIN])


async def ask(finance: RunningAuthz, path: str, body: bytes) -> None:
    """Ask, and hold what was answered against what was recorded."""
    response = await finance.post(path, body, key="trusted")
    if response.status_code == 200:
        finance.event(response.json()["data"]["decision_id"])
    else:
        assert 400 <= response.status_code < 500, (body, response.text)
        assert response.json()["request_id"] == response.headers["x-request-id"]


@given(path=PATHS, body=st.binary(max_size=200))
@LIMITS
async def test_any_bytes_are_refused(finance: RunningAuthz, path, body):
    response = await finance.post(path, body, key="trusted")
    assert 400 <= response.status_code < 500


@given(path=PATHS, body=JSON)
@LIMITS
async def test_any_json_is_answered_or_refused(finance: RunningAuthz, path, body):
    await ask(finance, path, json.dumps(body).encode())


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A proper request of which one to three places are replaced, removed or doubled."""
    body = json.loads(json.dumps(draw(st.sampled_from([FULL, question()]))))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = body
        while isinstance(place, dict | list) and place:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            if draw(st.booleans()) or not isinstance(place[key], dict | list):
                match draw(st.sampled_from(["replace", "remove", "add"])):
                    case "replace":
                        place[key] = draw(JSON)
                    case "remove":
                        del place[key]
                    case "add" if isinstance(place, dict):
                        place[draw(st.sampled_from(KEYS) | st.text(max_size=5))] = draw(JSON)
                break
            place = place[key]
    return json.dumps(body, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")


@given(path=PATHS, body=damaged())
@LIMITS
async def test_a_damaged_request_is_answered_or_refused(finance: RunningAuthz, path, body):
    await ask(finance, path, body)


@given(path=PATHS, place=st.integers(0, 400), byte=st.integers(0, 255), full=st.booleans())
@LIMITS
async def test_a_request_with_one_byte_changed_is_answered_or_refused(finance: RunningAuthz, path, place, byte, full):
    body = bytearray(json.dumps(FULL if full else question()).encode())
    body[place % len(body)] = byte
    await ask(finance, path, bytes(body))


async def test_in_the_end_as_much_is_recorded_as_was_answered(finance: RunningAuthz):
    before = finance.count_recorded()
    statuses = [
        (await finance.post(CHECK, body, key="trusted")).status_code
        for body in (b"{}", json.dumps(FULL).encode(), b"", json.dumps(question()).encode(), b"[]")
    ]
    assert statuses == [400, 200, 400, 200, 400]
    assert finance.count_recorded() == before + 2
