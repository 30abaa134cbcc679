"""A body of `check` is read the short way or the full way, and both read the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.authz.asking import Asked, CheckRequest, asked_of, parse_check
from services.authz.facts import STORED
from shared.problems import Problem
from shared.web.strict import decode_strict

FULL = msgspec.json.Decoder(CheckRequest)
PLAIN: dict[str, Any] = {
    "actor": {"user_id": "u", "member_id": "m", "user_member_id": "um", "space_id": "s"},
    "action": "read",
    "resource_type": "doc",
    "resource_id": "x",
}
IDS = st.text("aZ0_.:@-", min_size=1, max_size=4) | st.sampled_from(["", "a b", "a\n", '"', "é", "x" * 128, "x" * 129])


def read_in_full(body: bytes) -> Any:
    return asked_of(decode_strict(body, FULL))


def outcome(read: Any, body: bytes) -> Any:
    try:
        return read(body)
    except Problem as problem:
        return problem.code, problem.detail


@given(st.lists(IDS, min_size=7, max_size=7), st.booleans(), st.booleans())
def test_a_plain_question_is_read_alike_the_short_way_and_the_full_way(ids, is_ascii, is_spaced):
    body = {
        "actor": dict(zip(PLAIN["actor"], ids[:4], strict=True)),
        **dict(zip(list(PLAIN)[1:], ids[4:], strict=True)),
    }
    text = json.dumps(body, ensure_ascii=is_ascii, indent=1 if is_spaced else None).encode()
    assert outcome(parse_check, text) == outcome(read_in_full, text)


@given(st.data())
def test_a_body_with_a_place_changed_is_read_or_refused_alike(data):
    text = json.dumps(PLAIN)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 12)))
    patch = data.draw(
        st.sampled_from(["", '"', "\\u0061", ',"action":"b"', ',"act\\u0069on":"b"', "{}", "null", " ", "x"])
    )
    body = (text[:start] + patch + text[end:]).encode()
    assert outcome(parse_check, body) == outcome(read_in_full, body)


def test_a_plain_question_brings_no_facts():
    asked = parse_check(json.dumps(PLAIN).encode())
    assert asked == Asked(asked.question)
    assert asked.inline is STORED


def test_the_revision_that_the_facts_must_have_is_no_part_of_the_question():
    plain = parse_check(json.dumps(PLAIN).encode())
    assert parse_check(json.dumps(PLAIN | {"at_least_revision": 7}).encode()) == plain._replace(at_least_revision=7)


def test_a_question_about_the_past_names_a_revision_or_a_time_in_utc():
    plain = parse_check(json.dumps(PLAIN).encode())
    assert plain.as_of is None
    assert parse_check(json.dumps(PLAIN | {"as_of": 7}).encode()) == plain._replace(as_of=7)
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    for text in ("2026-01-02T12:00:00Z", "2026-01-02T13:30:00+01:30"):
        asked = parse_check(json.dumps(PLAIN | {"as_of": text}).encode())
        assert asked == plain._replace(as_of=noon)
        assert asked.as_of.tzinfo is UTC


@pytest.mark.parametrize("key", ["actor", "action", "resource_type", "resource_id", "user_id", "space_id"])
@pytest.mark.parametrize("hide", [False, True])
def test_the_short_way_overlooks_no_key_that_is_given_twice(key, hide):
    text = json.dumps(PLAIN)
    second = f"{key[0]}\\u{ord(key[1]):04x}{key[2:]}" if hide else key
    value = json.dumps(PLAIN["actor"]) if key == "actor" else '"b"'
    body = text.replace(f'"{key}": ', f'"{second}": {value}, "{key}": ').encode()
    with pytest.raises(Problem, match="given twice"):
        parse_check(body)
