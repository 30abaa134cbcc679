"""Malformed is not denied: a request that is not in order gets a 4xx that names the fault, and nothing is recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
import zstandard

from shared.web.answers import NO_ID
from tests.service.authz_service import CHECK, EXPLAIN, RunningAuthz, actor, bearer, question

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATHS = pytest.mark.parametrize("path", [CHECK, EXPLAIN])
PLAIN = msgspec.json.encode(question())
TARGET: dict[str, Any] = {"type": "invoice", "id": "x", "space_id": "space_acme"}
GRANT: dict[str, Any] = {
    "role_key": "r",
    "resource_type": "invoice",
    "action": "approve",
    "scope": "space",
    "space_id": "space_acme",
}


def sent(**target: Any) -> dict[str, Any]:
    """A question about a target that is sent."""
    return question(resource_type=None, resource_id=None, resource=TARGET | target)


def without(name: str) -> dict[str, Any]:
    """The plain question without a field of it or of its actor."""
    return question(**{name: None}) if name in question() else question(actor=actor(**{name: None}))


def with_id(name: str, value: Any) -> dict[str, Any]:
    """The plain question with another value for one of its seven ids."""
    return question(**{name: value}) if name in question() else question(actor=actor() | {name: value})


IDS = {
    "action": "/action",
    "resource_type": "/resource_type",
    "resource_id": "/resource_id",
    **{name: f"/actor/{name}" for name in actor()},
}
WRONG_IDS = ["", "x" * 129, "a b", "a\n", "\na", "a\x00", "a\u007f", "a/b", 'a"b', "a\\b", "é", 1, True, ["a"], {}]

FAULTS: list[tuple[Any, str]] = [
    *[(without(name), pointer) for name, pointer in IDS.items()],
    *[(with_id(name, value), pointer) for name, pointer in IDS.items() for value in WRONG_IDS],
    (question(actor=actor() | {"user_id": None}), "/actor/user_id"),
    ({**question(), "action": None}, "/action"),
    ({}, "/actor"),
    ([], ""),
    ("text", ""),
    (1, ""),
    (None, ""),
    (question(actor=None), "/actor"),
    (question(actor=[]), "/actor"),
    (question(actor="user_alice"), "/actor"),
    # What only the service may say of a request.
    *[
        (question(**{name: "x"}), f"/{name}")
        for name in ("request_id", "ip", "user_agent", "now", "revision", "trace_id")
    ],
    *[
        (question(actor=actor(**{name: "x"})), f"/actor/{name}")
        for name in ("request_id", "ip", "user_agent", "status")
    ],
    (question(Action="approve"), "/Action"),
    (question(**{"a/b~c": 1}), "/a~1b~0c"),
    # Facts of one's own.
    (question(actor=actor(user_status="")), "/actor/user_status"),
    (question(actor=actor(user_status="x" * 65)), "/actor/user_status"),
    (question(actor=actor(user_status=1)), "/actor/user_status"),
    (question(actor=actor() | {"user_status": None}), "/actor/user_status"),
    (question(actor=actor(user_email="a\x00b")), "/actor/user_email"),
    (question(actor=actor(user_email="x" * 257)), "/actor/user_email"),
    (question(actor=actor(binding_expires_at="2030-01-01")), "/actor/binding_expires_at"),
    (question(actor=actor(binding_expires_at="2030-01-01T00:00:00")), "/actor/binding_expires_at"),
    (question(actor=actor(binding_expires_at=1_900_000_000)), "/actor/binding_expires_at"),
    (question(actor=actor(binding_expires_at="0001-01-01T00:00:00+01:00")), "/actor/binding_expires_at"),
    (question(actor=actor(binding_expires_at="9999-12-31T23:59:59-01:00")), "/actor/binding_expires_at"),
    (sent(space_id=None), "/resource/space_id"),
    (sent(type="a b"), "/resource/type"),
    (sent(id="a\n"), "/resource/id"),
    (sent(id=None), "/resource"),
    (sent(id=None, external_id=""), "/resource"),
    (sent(external_id="a\nb"), "/resource/external_id"),
    (sent(external_id="x" * 257), "/resource/external_id"),
    (sent(unknown=1), "/resource/unknown"),
    *[
        (sent(group_path=path), "/resource/group_path")
        for path in ("", ".", "a.", ".a", "a..b", "A", "1", "a b", "a\n")
    ],
    (sent(group_path="x" * 16_385), "/resource/group_path"),
    (sent(properties=[]), "/resource/properties"),
    (sent(properties={"a": 1.5}), "/resource/properties/a"),
    (sent(properties={"a": [0, {"b": 1e3}]}), "/resource/properties/a/1/b"),
    (sent(properties={"a": 2**53}), "/resource/properties/a"),
    (sent(properties={"a": -(2**53)}), "/resource/properties/a"),
    (sent(properties={"a": 10**40}), "/resource/properties/a"),
    (sent(properties={"a": "\x00"}), "/resource/properties/a"),
    (sent(properties={"é": 1}), "/resource/properties"),
    (sent(properties={"a": "x" * 16_384}), "/resource/properties"),
    (question(resource=TARGET | {"type": "receipt"}), "/resource_type"),
    (question(resource=TARGET), "/resource_id"),
    (question(grants={}), "/grants"),
    (question(grants=[GRANT, GRANT | {"scope": ""}]), "/grants/1/scope"),
    (question(grants=[GRANT | {"role_key": "a b"}]), "/grants/0/role_key"),
    (question(grants=[GRANT | {"condition": {}}]), "/grants/0/condition"),
    (question(grants=[{"role_key": "r"}]), "/grants/0/resource_type"),
    (question(grants=[GRANT | {"expires_at": "soon"}]), "/grants/0/expires_at"),
    (question(grants=[GRANT, GRANT | {"expires_at": "0001-01-01T00:00:00+01:00"}]), "/grants/1/expires_at"),
    (question(grants=[GRANT] * 1_001), "/grants"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def _nothing_is_ever_recorded(finance: RunningAuthz) -> AsyncIterator[None]:
    yield
    assert finance.count_recorded() == 0


async def refusal(finance: RunningAuthz, path: str, body: Any, status: int = 400) -> dict[str, Any]:
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    response = await finance.post(path, content, key="trusted")
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["x-request-id"]
    return problem


@PATHS
@pytest.mark.parametrize("body, pointer", FAULTS)
async def test_a_fault_is_named_by_its_json_pointer(finance: RunningAuthz, path, body, pointer):
    problem = await refusal(finance, path, body)
    (error,) = problem["errors"]
    assert error["pointer"] == pointer
    assert error["detail"]
    assert problem["code"] == ("invalid_id" if error["detail"] == NO_ID else "validation_failed")


@PATHS
@pytest.mark.parametrize("name", IDS)
async def test_an_id_of_a_wrong_form_has_a_code_of_its_own(finance: RunningAuthz, path, name):
    for value in (value for value in WRONG_IDS if isinstance(value, str)):
        problem = await refusal(finance, path, with_id(name, value))
        assert (problem["code"], problem["errors"][0]["pointer"]) == ("invalid_id", IDS[name])


def hidden(key: str) -> str:
    """A key with its second letter written as an escape."""
    return f"{key[0]}\\u{ord(key[1]):04x}{key[2:]}"


def twice(key: str, *, hide: bool) -> bytes:
    """The plain question with one of its keys given a second time, and another value."""
    text = PLAIN.decode()
    second = hidden(key) if hide else key
    value = '{"user_id":"u"}' if key == "actor" else '"other"'
    assert text.count(f'"{key}":') == 1
    return text.replace(f'"{key}":', f'"{second}":{value},"{key}":').encode()


@PATHS
@pytest.mark.parametrize("hide", [False, True])
@pytest.mark.parametrize("key", ["actor", *IDS])
async def test_a_key_given_twice_is_refused_at_each_level_also_when_an_escape_hides_it(
    finance: RunningAuthz, path, key, hide
):
    problem = await refusal(finance, path, twice(key, hide=hide))
    assert problem["code"] == "validation_failed"
    if key != "actor":  # else the first value may be refused for what it lacks
        assert problem["errors"][0]["pointer"].rpartition("/")[2] == key
        assert "given twice" in problem["detail"]


@PATHS
@pytest.mark.parametrize(
    "body",
    [
        PLAIN.replace(b'{"actor"', b'{"grants":[],"grants":[],"actor"'),
        msgspec.json.encode(sent(properties={"k": 1})).replace(b'"k":1', b'"k":1,"\\u006b":2'),
        msgspec.json.encode(sent(properties={"k": {"k": 1}})).replace(b'"k":1', b'"k":1,"k":2'),
        msgspec.json.encode(sent(status="active")).replace(b'"status"', b'"status":"archived","status"'),
        msgspec.json.encode(question(grants=[GRANT])).replace(b'"scope"', b'"scope":"global","scope"'),
    ],
)
async def test_a_key_given_twice_is_refused_in_facts_that_are_sent(finance: RunningAuthz, path, body):
    assert "given twice" in (await refusal(finance, path, body))["detail"]


@PATHS
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" \n",
        b"{",
        b"not json",
        PLAIN[:-1],
        PLAIN + PLAIN,
        PLAIN + b" 1",
        PLAIN + b"\x00",
        b"\xef\xbb\xbf" + PLAIN,
        PLAIN.decode().encode("utf-16"),
        PLAIN.replace(b"invoice_001", b"invoice_\xff"),
        PLAIN.replace(b"invoice_001", b"invoice_\xc0\x80"),
        PLAIN.replace(b"invoice_001", b"\\ud800"),
        PLAIN.replace(b"invoice_001", b"\xed\xa0\x80"),
        PLAIN.replace(b'"approve"', b"'approve'"),
        PLAIN.replace(b'"approve"', b"approve"),
        PLAIN.replace(b"}", b",}"),
        b"[" * 100_000,
        b'{"actor":' * 100_000,
        msgspec.json.encode(sent(properties={})).replace(b'"properties":{}', b'"properties":{"a":' + b"[" * 100_000),
    ],
)
async def test_what_is_not_one_json_document_is_malformed(finance: RunningAuthz, path, body):
    problem = await refusal(finance, path, body)
    assert problem["code"] in {"malformed_json", "validation_failed"}
    if not body.startswith((b"[", b"{")) or body.startswith(PLAIN):
        assert problem["code"] == "malformed_json"


@PATHS
@pytest.mark.parametrize("escape", ["", '"b":"\\u0041",'])
async def test_deep_nesting_is_refused_at_every_depth(finance: RunningAuthz, path, escape):
    frame = msgspec.json.encode(sent(properties={})).decode()
    for depth in [33, 100, *range(880, 1_000, 3)]:
        deep = f'"properties":{{{escape}"a":{"[" * depth}{"]" * depth}}}'
        await refusal(finance, path, frame.replace('"properties":{}', deep).encode())


@PATHS
@pytest.mark.parametrize("is_counted", [True, False])
async def test_a_body_beyond_one_mebibyte_is_refused_whether_or_not_it_says_its_length(
    finance: RunningAuthz, path, is_counted
):
    body = PLAIN + b" " * (1_048_577 - len(PLAIN))

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    headers = {"content-type": "application/json"} | bearer("caller")
    content = body if is_counted else chunks()
    response = await finance.client.post(path, content=content, headers=headers)
    assert ("content-length" in response.request.headers) is is_counted
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


@PATHS
@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "multipart/form-data"],
)
async def test_a_body_that_is_not_declared_as_json_is_refused(finance: RunningAuthz, path, content_type):
    response = await finance.post(path, PLAIN, content_type=content_type)
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


@PATHS
@pytest.mark.parametrize("coding", ["zstd", "gzip", "br"])
async def test_a_body_in_a_coding_is_refused(finance: RunningAuthz, path, coding):
    response = await finance.post(path, zstandard.compress(PLAIN), content_encoding=coding)
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
    assert response.headers["accept-encoding"] == "identity"
