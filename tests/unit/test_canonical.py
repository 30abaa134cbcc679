"""Free values are written in one canonical form, or refused with the place and the way out."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.canonical import MAX_DEPTH, MAX_INTEGER, NotCanonical, canonical_json
from shared.envelope import encode_event

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEYS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=8)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


def written_by_the_book(value: Any) -> bytes:
    """RFC 8785 for this profile, by another writer: sorted keys, no whitespace, characters as they are."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def shuffled(value: Any) -> Any:
    """The same value with the keys of every object the other way round."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    if isinstance(value, list):
        return [shuffled(one) for one in value]
    return value


@given(VALUES)
def test_the_form_is_that_of_an_independent_writer(value):
    assert canonical_json(value) == written_by_the_book(value)


@given(VALUES)
def test_what_is_read_back_is_the_value(value):
    assert msgspec.json.decode(canonical_json(value)) == value


@given(VALUES)
def test_the_order_of_keys_never_shows(value):
    assert canonical_json(shuffled(value)) == canonical_json(value)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_an_event_that_carries_free_objects_is_canonical_whatever_their_order(value):
    written = encode_event(
        data=shuffled(value), epoch=1, event_id="e", kind="a.b", occurred_at=NOON, sequence=0, source="s"
    )
    assert written == written_by_the_book(json.loads(written))


@pytest.mark.parametrize(
    "value, pointer, said",
    [
        (1.0, "", "fraction"),
        ({"a": [1, {"b": 0.5}]}, "/a/1/b", "fraction"),
        (float("nan"), "", "fraction"),
        (MAX_INTEGER + 1, "", "2^53-1"),
        ({"a": -MAX_INTEGER - 1}, "/a", "2^53-1"),
        ({"a": "x\x00y"}, "/a", "NUL"),
        ({"é": 1}, "", "printable ASCII"),
        ({"a": {"b\n": 1}}, "/a", "printable ASCII"),
        ({"a": {1: 1}}, "/a", "printable ASCII"),
        ({"a/b": {"c~d": 1.5}}, "/a~1b/c~0d", "fraction"),
        ({"a": "\ud800"}, "/a", "surrogate"),
        ({"a": b"bytes"}, "/a", "bytes"),
        ({"a": {1, 2}}, "/a", "set"),
    ],
)
def test_what_has_no_canonical_form_is_refused_with_its_place(value, pointer, said):
    with pytest.raises(NotCanonical) as caught:
        canonical_json(value)
    assert caught.value.pointer == pointer
    assert said in caught.value.detail


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_nesting_is_bounded():
    canonical_json(nested(MAX_DEPTH))
    with pytest.raises(NotCanonical, match="nested deeper"):
        canonical_json(nested(MAX_DEPTH + 1))
    with pytest.raises(NotCanonical, match="nested deeper"):
        canonical_json(nested(100_000))


def test_the_greatest_integers_are_written():
    assert canonical_json([MAX_INTEGER, -MAX_INTEGER]) == b"[9007199254740991,-9007199254740991]"
