"""A body is one strict JSON document of known fields; each fault is told with its place."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.problems import Problem
from shared.web.context import RequestContext
from shared.web.strict import decode_strict, demand_json


class Leaf(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    word: str
    number: int = 0
    note: str | None = None


class Body(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    leaf: Leaf
    leaves: list[Leaf] = []
    free: dict[str, Any] = {}


DECODER = msgspec.json.Decoder(Body)
ANYTHING = msgspec.json.Decoder()
PLAIN = b'{"leaf":{"word":"a"}}'


def refusal(body: bytes, decoder: msgspec.json.Decoder[Any] = DECODER) -> Problem:
    with pytest.raises(Problem) as caught:
        decode_strict(body, decoder)
    assert caught.value.status == 400
    return caught.value


def test_a_proper_document_is_read():
    body = b' {"leaf": {"word": "\\u00e9\\"", "note": null}, "leaves": [{"word": ""}], "free": {"a": {"a": 1.5}}}\r\n'
    value = decode_strict(body, DECODER)
    assert value == Body(leaf=Leaf(word='é"'), leaves=[Leaf(word="")], free={"a": {"a": 1.5}})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"leaf":{"word":"a"}',
        PLAIN + PLAIN,
        PLAIN + b",",
        PLAIN + b"\x00",
        b"\xef\xbb\xbf" + PLAIN,
        b'{"leaf":{"word":"\xff"}}',
        b'{"leaf":{"word":"\xed\xa0\x80"}}',
        b'{"leaf":{"word":"\\ud800"}}',
        b'{"leaf":{"word":"\\udc00\\ud800"}}',
        b'{"leaf":{"word":"\\x41"}}',
        b'{"leaf":{"word":"a\nb"}}',
        b"{'leaf':{'word':'a'}}",
        b'{"leaf":{"word":"a",}}',
        b'{"leaf":{"word":"a"}} // why',
        b'{"free":{"a":NaN},"leaf":{"word":"a"}}',
        b'{"free":{"a":01},"leaf":{"word":"a"}}',
        PLAIN.decode().encode("utf-16"),
    ],
)
def test_what_is_not_one_json_document_in_utf8_is_malformed(body):
    assert refusal(body).code == "malformed_json"


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"leaf":{"word":"\\u0041"},"free":{"a":['])
@pytest.mark.parametrize("decoder", [DECODER, ANYTHING])
def test_deep_nesting_is_refused_and_breaks_nothing(opening, decoder):
    refusal(opening * 100_000, decoder)


@pytest.mark.parametrize("escape", [b"", b'"b":"\\u0041",'])
def test_at_every_depth_nesting_is_read_or_refused(escape):
    outcomes = set()
    for depth in range(1_100):
        body = b'{"leaf":{"word":"a"},"free":{' + escape + b'"a":' + b"[" * depth + b"]" * depth + b"}}"
        try:
            decode_strict(body.replace(b'"a":}', b'"a":0}'), DECODER)
            outcomes.add("read")
        except Problem as problem:
            outcomes.add(problem.code)
    assert outcomes == {"read", "malformed_json"}


@pytest.mark.parametrize(
    "body, pointer, said",
    [
        (b"[]", "", "Expected `object`"),
        (b"{}", "/leaf", "required field is missing"),
        (b'{"leaf":{}}', "/leaf/word", "required field is missing"),
        (b'{"leaf":{"word":1}}', "/leaf/word", "Expected `str`, got `int`"),
        (b'{"leaf":{"word":null}}', "/leaf/word", "Expected `str`, got `null`"),
        (b'{"leaf":{"word":"a","number":"1"}}', "/leaf/number", "Expected `int`, got `str`"),
        (b'{"leaf":{"word":"a","number":true}}', "/leaf/number", "Expected `int`, got `bool`"),
        (b'{"leaf":{"word":"a"},"extra":1}', "/extra", "unknown field; leave it out"),
        (b'{"leaf":{"word":"a","a/b~c":1}}', "/leaf/a~1b~0c", "unknown field; leave it out"),
        (b'{"leaf":{"word":"a"},"leaves":[{"word":"a"},{"word":2}]}', "/leaves/1/word", "Expected `str`, got `int`"),
        (b'{"leaf":{"word":"a"},"leaves":[{"word":"a"},{}]}', "/leaves/1/word", "required field is missing"),
        (b'{"leaf":{"word":"a"},"free":{"a":1' + b"0" * 5000 + b"}}", "/free", "out of range"),
        (b'{"leaf":{"word":"a"},"free":[]}', "/free", "Expected `object`, got `array`"),
    ],
)
def test_a_fault_of_form_is_told_with_its_pointer(body, pointer, said):
    problem = refusal(body)
    assert problem.code == "validation_failed"
    (error,) = problem.errors
    assert error.pointer == pointer
    assert said in error.detail
    assert problem.detail.startswith(f"{pointer or 'The body'}: ")


@pytest.mark.parametrize(
    "body",
    [
        b'{"leaf":{"word":"a"},"leaf":{"word":"a"}}',
        b'{"leaf":{"word":"a","word":"b"}}',
        b'{"leaf":{"word":"a","number":0,"number":0}}',
        b'{"leaf":{"word":"a","note":null,"note":null}}',
        b'{"leaf":{"word":"a","w\\u006frd":"b"}}',
        b'{"le\\u0061f":{"word":"a"},"leaf":{"word":"b"}}',
        b'{"leaf":{"word":"a"},"leaves":[{"word":"a"},{"word":"a","word":"b"}]}',
        b'{"leaf":{"word":"a"},"free":{"k":1,"k":2}}',
        b'{"leaf":{"word":"a"},"free":{"k":[{"k":1,"k":2}]}}',
        b'{"leaf":{"word":"a"},"free":{"a/b":1,"a\\/b":2}}',
        b'{"leaf":{"word":"a"},"free":{"k":1,"k":"\\u0022\\u0022"}}',
        b'{"leaf":{"word":"\\u0022\\u0022","word":"b"}}',
    ],
)
def test_a_key_given_twice_in_one_object_is_refused_however_it_is_written(body):
    assert "given twice" in refusal(body).detail


@pytest.mark.parametrize(
    "twice, pointer",
    [
        ('"free":{"k":1,"k":2}', "/free/k"),
        ('"free":{"a":[0,{"b/c":1,"b/c":1}]}', "/free/a/1/b~1c"),
        ('"free":{},"free":{}', "/free"),
        ('"leaves":[{"word":"a"},{"word":"a","w\\u006frd":"b"}]', "/leaves/1/word"),
    ],
)
def test_a_key_given_twice_is_told_with_its_place(twice, pointer):
    problem = refusal(f'{{"leaf":{{"word":"a"}},{twice}}}'.encode())
    assert [error.pointer for error in problem.errors] == [pointer]


def test_a_key_given_twice_among_very_many_is_found_in_time():
    keys = ",".join(f'"k{n}":0' for n in range(60_000))
    problem = refusal(f'{{"leaf":{{"word":"a"}},"free":{{{keys},"k7":1}}}}'.encode())
    assert [error.pointer for error in problem.errors] == ["/free/k7"]


NAMES = st.sampled_from(["a", "b", "\\u0061", "\\u0062", "a\\\\", '\\"', "\\u0022"])
LEAVES = st.sampled_from(["1", "null", '"x"', '"\\u0022"', '"\\"\\""', "[]"])
OBJECTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(st.tuples(NAMES, inner), max_size=4).map(
        lambda pairs: "{" + ",".join(f'"{name}":{value}' for name, value in pairs) + "}"
    ),
    max_leaves=8,
)


def has_duplicates(body: str) -> bool:
    found = False

    def look(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        names = [name for name, _ in pairs]
        found = found or len(set(names)) < len(names)

    json.loads(body, object_pairs_hook=look)
    return found


@given(OBJECTS)
def test_duplicates_are_found_exactly_when_there_are_any(free):
    body = f'{{"leaf":{{"word":"a"}},"free":{{"x":{free}}}}}'
    if has_duplicates(body):
        assert "given twice" in refusal(body.encode()).detail
    else:
        decode_strict(body.encode(), DECODER)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body):
    with contextlib.suppress(Problem):
        decode_strict(body, ANYTHING)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"application/json",
        b"Application/JSON",
        b"application/json; charset=utf-8",
        b"application/json;charset=UTF-8",
    ],
)
def test_a_body_that_is_declared_as_json_or_not_at_all_is_taken(value):
    demand_json(declared(value))


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"text/plain",
        b"application/jsonp",
        b"application/json; charset=latin-1",
        b"application/json, text/plain",
        b"\xff",
    ],
)
def test_a_body_that_is_declared_as_anything_else_is_refused(value):
    with pytest.raises(Problem) as caught:
        demand_json(declared(value))
    assert caught.value.status == 415


def declared(content_type: bytes | None, content_encoding: bytes | None = None) -> RequestContext:
    return RequestContext(
        authorization=None,
        content_encoding=content_encoding,
        content_type=content_type,
        ip=None,
        request_id="r",
        user_agent=None,
    )


@pytest.mark.parametrize("coding", [None, b"identity", b"Identity"])
@pytest.mark.parametrize("zstd", [True, False])
def test_a_body_in_no_coding_is_taken_everywhere(coding, zstd):
    demand_json(declared(None, coding), zstd=zstd)


@pytest.mark.parametrize("coding", [b"zstd", b"ZSTD"])
def test_a_body_in_zstd_is_taken_where_the_route_says_so_alone(coding):
    demand_json(declared(None, coding), zstd=True)
    with pytest.raises(Problem) as caught:
        demand_json(declared(None, coding))
    assert (caught.value.status, caught.value.code) == (415, "unsupported_media_type")
    assert caught.value.headers == (("accept-encoding", "identity"),)


@pytest.mark.parametrize("coding", [b"", b"gzip", b"br", b"zstd, gzip", b"\xff"])
def test_a_body_in_any_other_coding_is_refused_with_the_ones_that_are_taken(coding):
    with pytest.raises(Problem) as caught:
        demand_json(declared(b"application/json", coding), zstd=True)
    assert (caught.value.status, caught.value.code) == (415, "unsupported_media_type")
    assert caught.value.headers == (("accept-encoding", "zstd, identity"),)
