"""Searching the log: every filter against a plain one over all rows, pages that neither repeat nor skip, one event in full."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.canonical import canonical_json
from tests.audit_events import CONTEXT, change, decision, read
from tests.conftest import ServiceDatabase
from tests.service.audit_service import RunningAudit, running_audit, running_log

DECISION_ROW = [
    *("event_id", "log_index", "kind", "occurred_at", "recorded_at"),
    *("space_id", "user_id", "member_id", "user_member_id", "resource_type", "resource_id", "action"),
    *("decision", "deny_code", "request_id", "revision", "source"),
]
FIELDS = [
    *("kind", "space_id", "user_id", "member_id", "resource_type", "resource_id"),
    *("action", "decision", "deny_code", "request_id"),
]
ENTITY = ["entity_type", "entity_id"]
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def audit(audit_database: ServiceDatabase) -> AsyncIterator[RunningAudit]:
    """audit running on an empty log."""
    async with running_audit(audit_database) as service:
        service.insert_keys()
        yield service


def anything(chance: random.Random) -> dict[str, Any]:
    """An event of few values in each field, so that filters meet."""
    if chance.random() < 0.25:
        return change(
            kind=chance.choice(["member_role.granted", "role.created"]),
            space_id=chance.choice(["space_a", "space_b", None]),
            request_id=f"req_{chance.randrange(5)}",
            entity_type=chance.choice(["member_role", "role"]),
            entity_id=f"entity_{chance.randrange(6)}",
        )
    user = f"user_{chance.randrange(3)}"
    return decision(
        space_id=chance.choice(["space_a", "space_b"]),
        user_id=user,
        member_id=f"member_{chance.randrange(3)}",
        resource_type=chance.choice(["invoice", "contract"]),
        resource_id=chance.choice(["invoice_1", "invoice_2", "Überweisung № 1"]),
        action=chance.choice(["read", "approve"]),
        deny_code=chance.choice([None, None, "SCOPE_OUT_OF_BOUNDS", "NO_MATCHING_PERMISSION"]),
        request_id=f"req_{chance.randrange(5)}",
        purpose=chance.choice(["live", "live", "as_of"]),
    )


async def fill(database: ServiceDatabase, events: list[dict[str, Any]], per_batch: int = 7) -> None:
    """Append events in batches, a minute apart."""
    now = BEGINNING
    async with running_log(database, clock=lambda: now) as log:
        for first in range(0, len(events), per_batch):
            await log.append(read(*events[first : first + per_batch]), CONTEXT)
            now += timedelta(minutes=1)


def passes(row: dict[str, Any], filters: dict[str, Any]) -> bool:
    """What a filter means, written again: equality, and a time window that includes its beginning and not its end."""
    at = datetime.fromisoformat(row["recorded_at"])
    since, until = filters.get("from_"), filters.get("to")
    if since is not None and at < datetime.fromisoformat(since):
        return False
    if until is not None and at >= datetime.fromisoformat(until):
        return False
    return all(row[name] == filters[name] for name in (*FIELDS, *ENTITY) if name in filters)


async def test_every_search_finds_what_a_plain_filter_over_all_rows_finds(audit_database: ServiceDatabase) -> None:
    chance = random.Random(11)
    await fill(audit_database, [anything(chance) for _ in range(400)])
    async with running_audit(audit_database) as audit:
        audit.insert_keys()
        rows = await audit.search("/events", limit=200)
        assert [row["log_index"] for row in rows] == list(range(399, -1, -1))
        for _ in range(150):
            names = chance.sample(FIELDS + ENTITY, chance.randint(1, 3))
            # Values of some row, so that most searches find something.
            filters = {name: value for name in names if (value := chance.choice(rows)[name]) is not None}
            if chance.random() < 0.4:
                filters["from_"] = chance.choice(rows)["recorded_at"]
            if chance.random() < 0.4:
                filters["to"] = chance.choice(rows)["recorded_at"]
            limit = chance.choice([1, 7, 50, 200])
            expected = [row for row in rows if passes(row, filters)]
            assert await audit.search("/events", limit=limit, **filters) == expected, filters
            if filters.keys() & set(ENTITY):
                continue
            decisions = [
                {name: row[name] for name in DECISION_ROW} for row in expected if row["kind"] == "decision.made"
            ]
            assert await audit.search("/decisions", limit=limit, **filters) == decisions, filters


async def test_a_time_window_includes_its_beginning_and_not_its_end(audit_database: ServiceDatabase) -> None:
    await fill(audit_database, [decision() for _ in range(6)], per_batch=2)
    async with running_audit(audit_database) as audit:
        audit.insert_keys()

        async def found(**window: str) -> list[int]:
            return [row["log_index"] for row in await audit.search("/decisions", **window)]

        assert await found(from_="2026-01-01T00:01:00Z") == [5, 4, 3, 2]
        assert await found(to="2026-01-01T00:01:00Z") == [1, 0]
        assert await found(from_="2026-01-01T00:01:00Z", to="2026-01-01T00:02:00Z") == [3, 2]
        assert await found(from_="2026-01-01T01:01:00+01:00", to="2026-01-01T00:01:00.000001Z") == [3, 2]
        assert await found(from_="2026-01-01T00:02:00Z", to="2026-01-01T00:01:00Z") == []
        assert await found(from_="2027-01-01T00:00:00Z") == []
        assert await found(to="2025-01-01T00:00:00Z") == []


@pytest.mark.parametrize("path", ["/decisions", "/events"])
async def test_pages_neither_repeat_nor_skip_while_the_log_grows(audit: RunningAudit, path: str) -> None:
    await audit.ingest(*(decision() for _ in range(20)))
    indexes: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        answer = (await audit.get(path, limit=3, **cursor)).json()
        indexes += [row["log_index"] for row in answer["data"]]
        await audit.ingest(decision(), change())
        if answer["page"]["next_cursor"] is None:
            break
        cursor = {"cursor": answer["page"]["next_cursor"]}
    assert indexes == list(range(19, -1, -1))


async def test_a_full_last_page_has_no_cursor_and_an_empty_log_no_rows(audit: RunningAudit) -> None:
    assert (await audit.get("/decisions")).json()["data"] == []
    await audit.ingest(*(decision() for _ in range(4)))
    assert (await audit.get("/decisions", limit=4)).json()["page"] == {"next_cursor": None}
    assert len((await audit.get("/decisions", limit=3)).json()["data"]) == 3


async def test_a_page_has_fifty_rows_unless_asked_otherwise_and_two_hundred_at_most(audit: RunningAudit) -> None:
    await audit.ingest(*(decision() for _ in range(201)))
    assert len((await audit.get("/decisions")).json()["data"]) == 50
    assert len((await audit.get("/decisions", limit=200)).json()["data"]) == 200


async def test_a_cursor_belongs_to_its_filters(audit: RunningAudit) -> None:
    await audit.ingest(*(decision() for _ in range(4)))
    cursor = (await audit.get("/events", limit=1, space_id="space_acme")).json()["page"]["next_cursor"]
    again = await audit.get("/events", limit=2, space_id="space_acme", cursor=cursor)
    assert [row["log_index"] for row in again.json()["data"]] == [2, 1]
    changed: list[Callable[[], dict[str, str]]] = [
        lambda: {"space_id": "space_other"},
        lambda: {"space_id": "space_acme", "user_id": "user_alice"},
        lambda: {"space_id": "space_acme", "from_": "2020-01-01T00:00:00Z"},
        dict,
    ]
    for filters in changed:
        await refused_cursor(audit, cursor, **filters())
    assert (await audit.get("/decisions", space_id="space_acme", cursor=cursor)).status_code == 400


async def refused_cursor(audit: RunningAudit, cursor: str, **filters: str) -> None:
    """The cursor must be refused by name."""
    response = await audit.get("/events", cursor=cursor, **filters)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_cursor")
    assert response.json()["errors"][0]["parameter"] == "cursor"


async def test_a_cursor_that_nobody_gave_is_refused(audit: RunningAudit) -> None:
    await audit.ingest(*(decision() for _ in range(4)))
    cursor = (await audit.get("/events", limit=1)).json()["page"]["next_cursor"]
    for forged in ("", "x", "AAAA", "!" * 44, cursor[:-1], cursor + "A", "B" + cursor[1:], "ü"):
        await refused_cursor(audit, forged)


MISFORMED = [
    ("limit", "0"),
    ("limit", "201"),
    ("limit", "many"),
    ("limit", "1.5"),
    ("space_id", ""),
    ("space_id", "a b"),
    ("space_id", "nul\x00"),
    ("user_id", "a" * 129),
    ("resource_id", "nul\x00"),
    ("resource_id", "a" * 257),
    ("resource_type", "ä"),
    ("action", "a\n"),
    ("decision", "perhaps"),
    ("deny_code", "lower"),
    ("request_id", 'a"b'),
    ("kind", "decision"),
    ("from", "yesterday"),
    ("from", "2026-01-01"),
    ("from", "2026-01-01T00:00:00"),
    ("from", "2026-02-30T00:00:00Z"),
    ("to", "0.5"),
    ("to", "2026-01-01 00:00:00Z"),
]


async def test_a_parameter_of_a_wrong_form_is_refused_by_name(audit: RunningAudit) -> None:
    for path, (parameter, value) in itertools.product(("/decisions", "/events"), MISFORMED):
        response = await audit.get(path, **{parameter: value})
        assert response.status_code == 400, (parameter, value, response.text)
        assert response.json()["errors"][0]["parameter"] == parameter


async def test_an_unknown_parameter_is_refused_by_name(audit: RunningAudit) -> None:
    for path in ("/decisions", "/events"):
        response = await audit.get(path, user="user_alice")
        assert (response.status_code, response.json()["code"]) == (400, "unknown_parameter")
        assert response.json()["errors"] == [{"parameter": "user", "detail": "unknown parameter"}]
    assert (await audit.get(f"/events/{decision()['event_id']}", limit=1)).status_code == 400


async def test_what_happened_to_one_thing_is_found_by_its_kind_and_id(audit: RunningAudit) -> None:
    granted = change(entity_id="mr_1")
    revoked = change(entity_id="mr_1", kind="member_role.revoked")
    revoked["data"] |= {"before": {"status": "active"}, "after": {"status": "revoked"}, "reason": "left"}
    other = change(entity_id="mr_1", entity_type="role", kind="role.created")
    await audit.ingest(granted, decision(), revoked, other, change(entity_id="mr_2"))

    async def found(**filters: str) -> list[str]:
        return [row["event_id"] for row in await audit.search("/events", **filters)]

    assert await found(entity_type="member_role", entity_id="mr_1") == [revoked["event_id"], granted["event_id"]]
    assert await found(entity_id="mr_1", kind="role.created") == [other["event_id"]]
    assert len(await found(entity_type="member_role")) == 3
    assert await found(entity_id="mr") == []
    (row,) = await audit.search("/events", kind="member_role.revoked")
    assert (row["entity_type"], row["entity_id"]) == ("member_role", "mr_1")
    detail = (await audit.get(f"/events/{revoked['event_id']}")).json()["data"]
    assert detail["event"] == revoked


async def test_decisions_are_not_asked_for_an_entity(audit: RunningAudit) -> None:
    for name in ENTITY:
        response = await audit.get("/decisions", **{name: "x"})
        assert (response.status_code, response.json()["code"]) == (400, "unknown_parameter")


async def test_an_entity_of_a_wrong_form_is_refused_by_name(audit: RunningAudit) -> None:
    for name in ENTITY:
        for value in ("", "a b", "a\n", "a" * 129, "ä", "nul\x00"):
            response = await audit.get("/events", **{name: value})
            assert (response.status_code, response.json()["errors"][0]["parameter"]) == (400, name), value


async def test_a_parameter_that_is_given_twice_is_refused_by_name(audit: RunningAudit) -> None:
    await audit.ingest(decision(space_id="space_a"), decision(space_id="space_b"))
    for path in ("/decisions", "/events"):
        for name, values in [("space_id", ["space_a", "space_b"]), ("from_", ["yesterday"] * 2), ("limit", [1, 2, 3])]:
            response = await audit.get(path, user_id="user_alice", **{name: values})
            problem, named = response.json(), name.rstrip("_")
            assert (response.status_code, problem["code"]) == (400, "validation_failed"), problem
            detail = f"is given {len(values)} times; give it once"
            assert problem["errors"] == [{"parameter": named, "detail": detail}]
            assert problem["detail"] == f"{named}: {detail}."
        both = (await audit.get(path, user_id=["u", "u"], action=["a", "b"])).json()
        assert [fault["parameter"] for fault in both["errors"]] == ["action", "user_id"]
        assert (await audit.get(path, nobody=["a", "b"])).json()["code"] == "unknown_parameter"


async def test_an_unknown_path_is_answered_with_the_nearest_ones_as_a_client_would_write_them(
    audit: RunningAudit,
) -> None:
    response = await audit.get("/event")
    assert response.status_code == 404
    for known in ("/api/v1/audit/events,", "/api/v1/audit/events/{event_id}."):
        assert known in response.json()["detail"]


async def test_another_kind_has_no_decisions(audit: RunningAudit) -> None:
    await audit.ingest(decision(), change())
    assert await audit.search("/decisions", kind="member_role.granted") == []
    assert len(await audit.search("/decisions", kind="decision.made")) == 1
    assert len(await audit.search("/events", kind="member_role.granted")) == 1


async def test_an_answer_about_the_past_is_among_the_events_and_never_among_the_decisions(audit: RunningAudit) -> None:
    then = decision(purpose="as_of", deny_code="SCOPE_OUT_OF_BOUNDS")
    await audit.ingest(decision(), then, decision(purpose="as_of", user_id="user_bob"), change())
    (row,) = await audit.search("/events", kind="decision.as_of", user_id="user_alice")
    assert row == row | {
        "event_id": then["event_id"],
        "kind": "decision.as_of",
        "decision": "deny",
        "deny_code": "SCOPE_OUT_OF_BOUNDS",
        "member_id": "member_reviewer",
        "resource_id": "invoice_001",
        "revision": 7,
    }
    assert [row["kind"] for row in await audit.search("/decisions")] == ["decision.made"]
    assert await audit.search("/decisions", kind="decision.as_of") == []
    detail = (await audit.get(f"/events/{then['event_id']}")).json()["data"]
    assert detail["trace"] == then["data"]


async def test_a_row_of_decisions_has_the_fields_that_the_domain_names(audit: RunningAudit) -> None:
    event = decision(deny_code="SCOPE_OUT_OF_BOUNDS")
    await audit.ingest(event)
    (row,) = (await audit.get("/decisions")).json()["data"]
    assert list(row) == DECISION_ROW
    assert row == row | {
        "event_id": event["event_id"],
        "log_index": 0,
        "occurred_at": event["occurred_at"],
        "user_id": "user_alice",
        "decision": "deny",
        "deny_code": "SCOPE_OUT_OF_BOUNDS",
        "revision": 7,
        "source": "authz@test",
    }
    (row,) = (await audit.get("/events")).json()["data"]
    assert list(row) == [*DECISION_ROW, "entity_type", "entity_id"]


async def test_one_event_is_shown_with_its_document_its_hash_and_its_trace(audit: RunningAudit) -> None:
    event, other = decision(note="ü \u2028"), change()
    await audit.ingest(event, other)
    response = await audit.get(f"/events/{event['event_id']}")
    assert response.status_code == 200
    data = response.json()["data"]
    assert data["event"] == event
    assert data["trace"] == event["data"]
    assert canonical_json(event) in response.content
    assert data["leaf_hash"] == hashlib.sha256(b"\x00" + canonical_json(data["event"])).hexdigest()
    assert (data["log_index"], data["decision"]) == (0, "allow")
    shown = (await audit.get(f"/events/{other['event_id']}")).json()["data"]
    assert (shown["trace"], shown["event"], shown["entity_id"]) == (None, other, "grant_1")


async def test_an_event_that_is_not_there_is_not_found(audit: RunningAudit) -> None:
    response = await audit.get(f"/events/{decision()['event_id']}")
    assert (response.status_code, response.json()["code"]) == (404, "event_not_found")
    for malformed in ("x", "0199c3f0-1234-4abc-8def-0123456789ab", decision()["event_id"].upper()):
        assert (await audit.get(f"/events/{malformed}")).status_code == 400


@pytest.mark.parametrize("path", ["/decisions", "/events", "/events/0199c3f0-1234-7abc-8def-0123456789ab"])
async def test_only_a_key_that_may_read_searches(audit: RunningAudit, path: str) -> None:
    for key, status in ((None, 401), ("relay", 403), ("idle", 403), ("watcher", 403)):
        assert (await audit.get(path, key=key)).status_code == status
