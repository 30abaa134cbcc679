"""Ids have one form, new ones are unique and in order of time, and a caller's request id is kept when it can be."""

from __future__ import annotations

import os
import re
import time
import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.identifiers import ID_PATTERN, Id, new_id, new_uuid7, request_id_from


def is_id(text: str) -> bool:
    try:
        msgspec.convert(text, Id)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize("text", ["a", "A-z_0.9:b@c", "x" * 128, "user@example.com", "-"])
def test_an_id_is_1_to_128_characters_of_a_small_alphabet(text):
    assert is_id(text)


@pytest.mark.parametrize("text", ["", "x" * 129, "a b", "a\n", "\na", "a\x00", "é", "a/b", 'a"b', "a\\b", "a,b", "١"])
def test_anything_else_is_no_id(text):
    assert not is_id(text)


@given(st.text(max_size=140))
def test_the_type_and_the_pattern_agree(text):
    assert is_id(text) == bool(re.fullmatch(ID_PATTERN.removesuffix("$"), text))


def test_a_new_event_id_is_a_uuid_of_version_7_of_this_millisecond():
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(new_uuid7())
    after = time.time_ns() // 1_000_000
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= after


def test_event_ids_are_unique_and_in_order_of_their_milliseconds():
    ids = [new_uuid7() for _ in range(50_000)]
    assert len(set(ids)) == len(ids)
    stamps = [id_[:13] for id_ in ids]
    assert stamps == sorted(stamps)


def test_all_74_random_bits_vary():
    random_parts = [uuid.UUID(new_uuid7()).int & ((1 << 80) - 1) for _ in range(200)]
    ones = zeros = 0
    for part in random_parts:
        ones, zeros = ones | part, zeros | ~part
    varying = ones & zeros & ((1 << 80) - 1)
    assert varying.bit_count() == 74


def test_a_forked_child_makes_ids_of_its_own():
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writing, new_uuid7()[14:].encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reading, 100).decode() != new_uuid7()[14:]
    os.close(reading)
    os.close(writing)


def test_a_new_row_has_an_id_with_its_prefix():
    id_ = new_id("member")
    assert re.fullmatch(r"member_[0-9a-f]{32}", id_)
    assert is_id(id_)


KEPT = ["a", "x" * 128, "req-1", "0af7651916cd43dd8448eb211c80319c", "!#$%&'()*+,-./:;<=>?@[]^_`{|}~"]
REPLACED = ["", "x" * 129, 'a"b', "a\\b", "a\tb", "a\nb", "a\x7f", "é", "\x00"]


@pytest.mark.parametrize("given_id", KEPT)
def test_a_request_id_of_printable_characters_is_kept(given_id):
    assert request_id_from(given_id.encode()) == given_id


@pytest.mark.parametrize("given_id", REPLACED)
def test_any_other_request_id_is_replaced(given_id):
    assert re.fullmatch(r"req_[0-9a-f]{32}", request_id_from(given_id.encode("latin-1")))


def test_a_request_without_an_id_gets_one_of_its_own():
    assert request_id_from(None) != request_id_from(None)


@given(st.binary(max_size=140))
def test_whatever_is_sent_the_request_id_is_safe_to_write_anywhere(sent):
    assert re.fullmatch(r"[\x21\x23-\x5b\x5d-\x7e]{1,128}", request_id_from(sent))
