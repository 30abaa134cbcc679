"""POST /api/v1/events: who may, what is taken, what is answered, and what a refusal leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import zstandard

from shared.canonical import canonical_json
from shared.envelope import ENVELOPE_VERSION, MAX_BATCH_BYTES
from shared.identifiers import new_uuid7
from tests.audit_events import change, decision
from tests.conftest import ServiceDatabase
from tests.service.audit_service import KEYS, RunningAudit, document, running_audit

EVENT = canonical_json(decision(event_id=new_uuid7(), sequence=1))
BATCH = b'{"events":[' + EVENT + b"]}"


@pytest.fixture
async def audit(audit_database: ServiceDatabase) -> AsyncIterator[RunningAudit]:
    """audit running on an empty log."""
    async with running_audit(audit_database) as service:
        service.insert_keys()
        yield service


async def test_a_batch_is_answered_with_its_indexes_and_the_size_of_the_log(audit: RunningAudit) -> None:
    events = [decision(), change(), decision(deny_code="NO_MATCHING_PERMISSION")]
    response = await audit.post({"events": events}, x_request_id="my-batch-1")
    assert response.status_code == 200
    assert response.headers["x-request-id"] == "my-batch-1"
    assert response.json() == {
        "data": {
            "entries": [
                {"event_id": event["event_id"], "log_index": index, "status": "appended"}
                for index, event in enumerate(events)
            ],
            "log_size": 3,
        },
        "request_id": "my-batch-1",
    }
    assert list(audit.leaves().values()) == [canonical_json(event) for event in events]


async def test_whitespace_around_events_is_the_senders_affair_and_their_bytes_are_kept(audit: RunningAudit) -> None:
    event = canonical_json(decision(note="ü"))
    response = await audit.post(b'{ "events" :\n[ ' + event + b" ,\n" + event + b" ] }")
    assert [entry["status"] for entry in response.json()["data"]["entries"]] == ["appended", "duplicate"]
    assert list(audit.leaves().values()) == [event]


async def test_a_batch_may_come_in_zstandard_in_one_frame_or_several(audit: RunningAudit) -> None:
    events = [canonical_json(decision()) for _ in range(3)]
    parts = [b'{"events":[', events[0] + b"," + events[1], b",", events[2], b"]}"]
    for frames in (b"".join(map(zstandard.compress, parts)), zstandard.compress(b"".join(parts))):
        response = await audit.post(frames, content_encoding="zstd")
        assert response.status_code == 200
    assert list(audit.leaves().values()) == events


async def test_a_body_that_is_small_only_on_its_way_is_refused_before_it_is_read(audit: RunningAudit) -> None:
    room = MAX_BATCH_BYTES - len(BATCH)
    assert (await audit.post(zstandard.compress(BATCH + b" " * room), content_encoding="zstd")).status_code == 200
    for bomb in (
        zstandard.compress(BATCH + b" " * (room + 1)),
        zstandard.compress(b" " * 1_000_000_000),
        zstandard.compress(BATCH) + zstandard.compress(b" " * 3_000_000) * 300,
    ):
        response = await audit.post(bomb, content_encoding="zstd")
        assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
        assert str(MAX_BATCH_BYTES) in response.json()["detail"]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\x28\xb5\x2f\xfd", zstandard.compress(b"{}") + b"{}", b'{"events":[]}'], ids=repr
)
async def test_what_is_no_zstandard_is_refused_whatever_it_says_of_itself(audit: RunningAudit, body: bytes) -> None:
    response = await audit.post(body, content_encoding="zstd")
    assert (response.status_code, response.json()["code"]) == (400, "malformed_json")


async def test_a_batch_that_was_cut_off_on_its_way_leaves_nothing(audit: RunningAudit) -> None:
    frames = zstandard.compress(b'{"events":[') + zstandard.compress(EVENT) + zstandard.compress(b"]}")
    for length in range(1, len(frames)):
        response = await audit.post(frames[:length], content_encoding="zstd")
        assert response.status_code == 400
    assert audit.leaves() == {}


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd, zstd"])
async def test_any_other_coding_is_refused_with_the_ones_that_are_taken(audit: RunningAudit, coding: str) -> None:
    response = await audit.post(BATCH, content_encoding=coding)
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
    assert response.headers["accept-encoding"] == "zstd, identity"


async def test_a_repeated_batch_is_answered_alike(audit: RunningAudit) -> None:
    events = [decision(), decision()]
    first = await audit.ingest(*events)
    again = await audit.ingest(*events)
    assert again == [entry | {"status": "duplicate"} for entry in first]


async def test_other_bytes_under_a_known_id_are_a_conflict_with_both_hashes(audit: RunningAudit) -> None:
    event = decision()
    await audit.ingest(event)
    response = await audit.post({"events": [decision(), event | {"sequence": 999_999}]}, x_request_id="conflicting")
    assert response.status_code == 409
    problem = response.json()
    assert problem["code"] == "event_conflict"
    assert problem["errors"][0]["pointer"] == "/events/1"
    rows = await audit.search("/events", kind="event.conflict_refused")
    assert [(row["entity_id"], row["request_id"], row["source"]) for row in rows] == [
        (event["event_id"], "conflicting", "audit@test")
    ]
    (conflict,) = document(audit.leaves()[rows[0]["event_id"]])["data"]["after"]["conflicts"]
    for name in ("refused_leaf_hash", "stored_leaf_hash"):
        assert conflict[name] in problem["errors"][0]["detail"]
    assert len(audit.leaves()) == 2


async def test_only_a_key_that_may_write_appends(audit: RunningAudit) -> None:
    for key, status, code in (
        (None, 401, "credential_missing"),
        ("auditor", 403, "permission_denied"),
        ("idle", 403, "permission_denied"),
        ("watcher", 403, "permission_denied"),
    ):
        response = await audit.post({"events": [decision()]}, key=key)
        assert (response.status_code, response.json()["code"]) == (status, code)
    assert audit.leaves() == {}


BAD = [
    (b"", 400, "JSON"),
    (b"{}", 400, "/events"),
    (b"[]", 400, "body"),
    (b'{"events":[]}', 400, "/events"),
    (b'{"events":{}}', 400, "/events"),
    (b'{"events":[1]}', 400, "/events/0"),
    (b'{"events":[null]}', 400, "/events/0"),
    (b'{"events":[[]]}', 400, "/events/0"),
    (b'{"events":[' + EVENT + b",{}]}", 400, "/events/1"),
    (b'{"events":[' + EVENT + b'],"more":1}', 400, "/more"),
    (b'{"events":[' + EVENT + b'],"events":[' + EVENT + b"]}", 400, "events"),
    (BATCH + BATCH, 400, "JSON"),
    (BATCH + b" x", 400, "JSON"),
    (BATCH[:-2], 400, "JSON"),
    (BATCH.replace(b"req_1", b"req_\\u0000"), 400, "/events/0/data/request/request_id"),
    (BATCH.replace(b"user_alice", b"user_\\u0000"), 400, "/events/0/data/question/actor/user_id"),
    (BATCH.replace(b"a sentence", b"\xff"), 400, "/events/0"),
    (BATCH.replace(b'"sequence":1', b'"sequence":1.0'), 400, "/events/0/sequence"),
    (BATCH.replace(b'"sequence":1', b'"sequence":2,"sequence":1'), 400, "/events/0"),
    (BATCH.replace(b'"version":1', b'"version":2'), 400, "/events/0/version"),
    (BATCH.replace(b'"version":1', b'"version":1,"zeal":1'), 400, "zeal"),
    (BATCH.replace(b'{"data"', b'{ "data"'), 400, "/events/0"),
    (b'{"events":[' + b",".join([b"{}"] * 1001) + b"]}", 400, "1000"),
    (b'{"events":[' + b"[" * 200_000 + b"]" * 200_000 + b"]}", 400, "nested"),
    (b'{"events":[' + EVENT.replace(b"a sentence", b"x" * 65_536) + b"]}", 400, "65535"),
    (b" " * 1_048_577, 413, "large"),
]


async def test_a_bad_body_is_a_clear_refusal_and_leaves_nothing(audit: RunningAudit) -> None:
    for body, status, where in BAD:
        response = await audit.post(body)
        assert response.status_code == status, (body[:200], response.text)
        assert response.headers["content-type"] == "application/problem+json"
        assert where in response.text, (body[:200], response.text)
    assert audit.leaves() == {}


async def test_a_body_that_is_not_declared_as_json_is_refused(audit: RunningAudit) -> None:
    response = await audit.post(BATCH, content_type="text/plain")
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


async def test_a_body_of_nearly_a_mebibyte_is_taken(audit: RunningAudit) -> None:
    events = [decision(note="x" * 60_000) for _ in range(17)]
    assert len(await audit.ingest(*events)) == 17


async def test_a_thousand_events_are_taken(audit: RunningAudit) -> None:
    entries = await audit.ingest(*(decision() for _ in range(1_000)))
    assert [entry["log_index"] for entry in entries] == list(range(1_000))


async def test_batches_sent_at_once_are_each_answered_for_themselves(audit: RunningAudit) -> None:
    batches = [[decision() for _ in range(1 + number % 4)] for number in range(30)]
    answers = await asyncio.gather(*(audit.ingest(*batch) for batch in batches))
    assert [[entry["event_id"] for entry in answer] for answer in answers] == [
        [event["event_id"] for event in batch] for batch in batches
    ]
    assert sorted(entry["log_index"] for answer in answers for entry in answer) == list(range(sum(map(len, batches))))
    audit.leaves()


async def test_a_standby_sends_writers_away_and_answers_searches(
    audit: RunningAudit, audit_database: ServiceDatabase
) -> None:
    await audit.ingest(decision())
    async with running_audit(audit_database, instance="audit@second") as standby:
        response = await standby.post({"events": [decision()]})
        assert (response.status_code, response.json()["code"]) == (503, "not_the_sequencer")
        assert response.headers["retry-after"] == "1"
        assert len(await standby.search("/events")) == 1
        assert (await check(standby, "log"))["figures"] == {"role": "standby", "log_size": 1}


async def check(service: RunningAudit, name: str) -> dict[str, Any]:
    """One check of /ready."""
    response = await service.client.get("/api/v1/ready")
    assert response.status_code == 200, response.text
    (found,) = [check for check in response.json()["data"]["checks"] if check["name"] == name]
    return dict(found)


async def test_ready_says_who_writes_and_how_much_there_is(audit: RunningAudit) -> None:
    await audit.ingest(decision(), decision())
    assert (await check(audit, "log"))["figures"] == {"role": "leader", "log_size": 2}
    assert (await check(audit, "migrations"))["ok"]
    version = (await audit.client.get("/api/v1/version")).json()["data"]
    assert (version["service"], version["schema_version"]) == ("audit", "0003.entity")
    assert (version["event_version"], "trace_version" in version) == (ENVELOPE_VERSION, False)


async def test_a_database_that_is_not_migrated_makes_it_unready_and_says_why(audit: RunningAudit) -> None:
    audit.sql("alter table public._migration_ledger rename to elsewhere")
    response = await audit.client.get("/api/v1/ready")
    assert response.status_code == 503
    assert "lacks the migration 0001.log" in response.text
    assert (await audit.client.get("/api/v1/health")).status_code == 200
    assert (await audit.client.get("/api/v1/version")).json()["data"]["schema_version"] is None


async def test_the_metrics_tell_what_was_ingested(audit: RunningAudit) -> None:
    event = decision()
    await audit.ingest(event, decision())
    await audit.ingest(event)
    await audit.post({"events": [event | {"sequence": 999_999}]})
    headers = {"authorization": f"Bearer {KEYS['watcher'].text}"}
    text = (await audit.client.get("/metrics", headers=headers)).text
    for line in (
        "plystra_audit_events_ingested_total 2.0",
        "plystra_audit_duplicates_total 1.0",
        "plystra_audit_conflicts_total 1.0",
        "plystra_audit_log_size 3.0",
        "plystra_audit_sequencer 1.0",
        "plystra_audit_ingest_batch_events_count 3.0",
        "plystra_audit_append_seconds_count 3.0",
    ):
        assert line in text
