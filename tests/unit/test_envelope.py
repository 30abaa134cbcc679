"""The event contract: what is written is canonical, and nothing else is read."""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict

from shared.canonical import MAX_INTEGER, NotCanonical, canonical_json
from shared.envelope import MAX_LEAF_BYTES, ChangeActor, ChangeData, ChangeEntity, encode_event
from shared.recorded import EventRefused, hash_leaf, read_event
from tests.audit_events import change, decision

EVENT_ID = "0199c3f0-1234-7abc-8def-0123456789ab"
WITHIN = st.integers(-MAX_INTEGER, MAX_INTEGER)
KEYS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=8)
TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | WITHIN | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


def by_the_standard_library(value: Any) -> bytes:
    """The canonical form, written by somebody else."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def put(event: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The event with one field changed."""
    changed = deepcopy(event)
    *parents, name = path.strip("/").split("/")
    place = changed
    for parent in parents:
        place = place[parent]
    place[name] = value
    return changed


def refusal(leaf: bytes) -> EventRefused:
    """Why the bytes are refused."""
    with pytest.raises(EventRefused) as caught:
        read_event(leaf)
    return caught.value


@given(VALUES)
def test_canonical_json_is_what_the_standard_library_writes_sorted(value: Any) -> None:
    # msgspec and json differ in how they escape control characters only in \x7f, which neither escapes.
    assert json.loads(canonical_json(value)) == value
    assert canonical_json(value) == by_the_standard_library(value)


@pytest.mark.parametrize(
    ("value", "pointer", "what"),
    [
        (1.5, "", "fraction"),
        ({"a": [1, {"b": 2.0}]}, "/a/1/b", "fraction"),
        ({"a": MAX_INTEGER + 1}, "/a", "2^53-1"),
        ({"a": -MAX_INTEGER - 1}, "/a", "2^53-1"),
        ({"ä": 1}, "", "ASCII"),
        ({"a\n": 1}, "", "ASCII"),
        ({1: 1}, "", "ASCII"),
        ({"a/b": {"~": "x\x00"}}, "/a~1b/~0", "NUL"),
        ({"a": b"x"}, "/a", "bytes"),
        (json.loads("[" * 40 + "]" * 40), "/0" * 33, "nested"),
    ],
)
def test_a_value_without_canonical_form_is_refused_with_its_place(value: Any, pointer: str, what: str) -> None:
    with pytest.raises(NotCanonical) as caught:
        canonical_json(value)
    assert caught.value.pointer == pointer
    assert what in caught.value.detail


@given(VALUES, st.datetimes(timezones=st.just(UTC)), st.integers(0, MAX_INTEGER))
def test_a_written_event_is_canonical_and_read_back(value: Any, occurred_at: datetime, sequence: int) -> None:
    data = ChangeData(
        actor=ChangeActor(credential_id=None, type="operator"),
        after=msgspec.Raw(canonical_json({"any": value})),
        before=msgspec.Raw(b"null"),
        entity=ChangeEntity(id="grant_1", type="member_role"),
        reason=None,
        request=None,
        revision=3,
        space_id=None,
    )
    leaf = encode_event(
        data=data,
        epoch=1,
        event_id=EVENT_ID,
        kind="member_role.granted",
        occurred_at=occurred_at,
        sequence=sequence,
        source="authz",
    )
    assert leaf == by_the_standard_library(json.loads(leaf))
    event = read_event(leaf)
    assert (event.occurred_at, event.sequence, event.leaf) == (occurred_at, sequence, leaf)


@pytest.mark.parametrize("purpose", [None, "live", "as_of", "later"])
@pytest.mark.parametrize("kind", ["decision.made", "decision.as_of"])
def test_an_answer_about_the_past_says_so_by_its_kind_and_its_purpose_alike(kind: str, purpose: str | None) -> None:
    document = decision() | {"kind": kind}
    if purpose is None:
        del document["data"]["purpose"]  # as it was before there was another
    else:
        document["data"]["purpose"] = purpose
    if (kind == "decision.as_of") == (purpose == "as_of") and purpose != "later":
        assert read_event(canonical_json(document)).kind == kind
    else:
        with pytest.raises(EventRefused) as refused:
            read_event(canonical_json(document))
        assert refused.value.pointer == "/data/purpose"


def test_a_decision_gives_every_column_it_is_searched_by() -> None:
    document = decision(event_id=EVENT_ID, deny_code="SCOPE_OUT_OF_BOUNDS", resource_id="Rechnung №1 “Überweisung”")
    document = put(document, "/data/request/trace_id", "4bf92f3577b34da6a3ce929d0e0e4736")
    leaf = canonical_json(document)
    event = read_event(leaf)
    assert asdict(event) == {
        "occurred_at": datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC),
        "epoch": document["epoch"],
        "sequence": document["sequence"],
        "revision": 7,
        "event_id": EVENT_ID,
        "kind": "decision.made",
        "source": "authz@test",
        "space_id": "space_acme",
        "user_id": "user_alice",
        "member_id": "member_reviewer",
        "user_member_id": "um_user_alice",
        "resource_type": "invoice",
        "resource_id": "Rechnung №1 “Überweisung”",
        "action": "approve",
        "decision": "deny",
        "deny_code": "SCOPE_OUT_OF_BOUNDS",
        "request_id": "req_1",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "entity_type": None,
        "entity_id": None,
        "leaf_hash": hashlib.sha256(b"\x00" + leaf).digest(),
        "leaf": leaf,
    }


def test_a_change_gives_its_entity_and_no_decision() -> None:
    event = read_event(canonical_json(change(event_id=EVENT_ID)))
    assert (event.entity_type, event.entity_id, event.space_id) == ("member_role", "grant_1", "space_acme")
    assert (event.revision, event.request_id) == (3, "req_1")
    assert {event.user_id, event.member_id, event.resource_id, event.decision, event.deny_code} == {None}


def test_a_leaf_is_hashed_as_rfc_9162_says() -> None:
    # The first two leaves of the classic vectors.
    assert hash_leaf(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert hash_leaf(b"\x00").hex() == "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"


MISFORMED = [
    ("/event_id", "not-a-uuid"),
    ("/event_id", EVENT_ID.upper()),
    ("/event_id", EVENT_ID.replace("-7abc", "-4abc")),
    ("/event_id", EVENT_ID + "\n"),
    ("/event_id", 7),
    ("/kind", "decision"),
    ("/kind", "Decision.made"),
    ("/source", ""),
    ("/source", "a b"),
    ("/source", "a" * 129),
    ("/epoch", -1),
    ("/epoch", 1.5),
    ("/epoch", 2**53),
    ("/sequence", -1),
    ("/sequence", "0"),
    ("/version", 2),
    ("/occurred_at", "2026-01-02T03:04:05+00:00"),
    ("/occurred_at", "2026-01-02T03:04:05.1Z"),
    ("/occurred_at", "2026-01-02T03:04:05.1234567Z"),
    ("/occurred_at", "2026-01-02 03:04:05Z"),
    ("/occurred_at", "2026-01-02T03:04:05"),
    ("/occurred_at", "2026-01-02T04:04:05+01:00"),
    ("/occurred_at", 1767323045),
    ("/data/decision", "maybe"),
    ("/data/deny_code", "lower"),
    ("/data/deny_code", "NO_MATCHING_PERMISSION"),
    ("/data/revision", -1),
    ("/data/question/action", ""),
    ("/data/question/resource_type", "a\nb"),
    ("/data/question/resource_id", ""),
    ("/data/question/resource_id", "a" * 257),
    ("/data/question/resource_id", "nul\x00"),
    ("/data/question/actor/space_id", "nul\x00"),
    ("/data/question/actor/user_id", "spa ce"),
    ("/data/question/actor/member_id", "ü"),
    ("/data/question/actor/user_member_id", None),
    ("/data/request/request_id", 'with"quote'),
    ("/data/request/request_id", "with\\backslash"),
    ("/data/request/trace_id", "4BF92F3577B34DA6A3CE929D0E0E4736"),
]


@pytest.mark.parametrize(("pointer", "value"), MISFORMED)
def test_a_field_out_of_its_domain_is_refused_by_name(pointer: str, value: Any) -> None:
    leaf = by_the_standard_library(put(decision(event_id=EVENT_ID), pointer, value))
    assert refusal(leaf).pointer == pointer


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/data/space_id", "spa ce"),
        ("/data/entity/id", ""),
        ("/data/entity/type", None),
        ("/data/after", []),
        ("/data/before", "x"),
        ("/data/request/request_id", " "),
        ("/data/revision", "1"),
    ],
)
def test_a_field_of_a_change_out_of_its_domain_is_refused_by_name(pointer: str, value: Any) -> None:
    assert refusal(by_the_standard_library(put(change(), pointer, value))).pointer == pointer


@pytest.mark.parametrize("pointer", [*(f"/{name}" for name in decision()), "/data/question", "/data/request/trace_id"])
def test_a_missing_field_is_refused(pointer: str) -> None:
    document = decision(event_id=EVENT_ID)
    *parents, name = pointer.strip("/").split("/")
    place: Any = document
    for parent in parents:
        place = place[parent]
    del place[name]
    assert name in refusal(canonical_json(document)).detail


def test_an_allow_with_a_deny_code_is_refused() -> None:
    assert refusal(canonical_json(put(decision(), "/data/decision", "deny"))).pointer == "/data/deny_code"


def test_an_unknown_envelope_field_is_refused_by_name() -> None:
    assert "extra" in refusal(canonical_json(decision() | {"extra": 1})).detail


CANONICAL = canonical_json(decision(event_id=EVENT_ID))
BODY = CANONICAL[1:-1]


@pytest.mark.parametrize(
    "leaf",
    [
        b" " + CANONICAL,
        CANONICAL + b"\n",
        CANONICAL.replace(b'"version":1', b'"version": 1'),
        CANONICAL.replace(b',"version":1', b"").replace(b"{", b'{"version":1,', 1),
        CANONICAL.replace(b'"version":1', b'"version":1,"version":1'),
        CANONICAL.replace(b'"kind"', b'"\\u006bind"'),
        CANONICAL.replace(b'"source":"authz@test"', b'"source":"\\u0061uthz@test"'),
        CANONICAL.replace(b'"version":1', b'"version":1.0'),
        CANONICAL.replace(b'"version":1', b'"version":1e0'),
        CANONICAL.replace(b'"epoch":1', b'"epoch":01'),
        CANONICAL + CANONICAL,
        CANONICAL[:-1],
        b"",
        b"null",
        b"[]",
        b"\xef\xbb\xbf" + CANONICAL,
    ],
)
def test_other_bytes_of_the_same_event_are_refused(leaf: bytes) -> None:
    refusal(leaf)


def test_bytes_that_are_not_utf_8_are_refused_also_where_nobody_looks() -> None:
    assert "UTF-8" in refusal(CANONICAL.replace(b"a sentence", b"a \xff sentence")).detail


def test_a_leaf_has_at_most_65535_bytes() -> None:
    padding = "x" * (MAX_LEAF_BYTES - len(canonical_json(decision(sequence=1, note=""))))
    longest = canonical_json(decision(sequence=1, note=padding))
    assert len(longest) == MAX_LEAF_BYTES
    assert read_event(longest).leaf == longest
    assert "65536 bytes" in refusal(canonical_json(decision(sequence=1, note=padding + "x"))).detail


def test_deep_nesting_is_refused_and_harms_nobody() -> None:
    nested = b"[" * 20_000 + b"]" * 20_000
    assert "nested" in refusal(CANONICAL.replace(b'"decision"', b'"a":' + nested + b',"decision"', 1)).detail


@given(st.integers(0, len(CANONICAL) - 1), st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_another_event(position: int, mask: int) -> None:
    flipped = bytearray(CANONICAL)
    flipped[position] ^= mask
    leaf = bytes(flipped)
    try:
        event = read_event(leaf)
    except EventRefused:
        return
    assert event.leaf == leaf
    assert event.leaf_hash != hash_leaf(CANONICAL)
