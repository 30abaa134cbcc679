"""What a client may send before its request reaches the service: so much, for so long, and HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn
from uvicorn.server import ServerState

from shared.web import connection
from shared.web.connection import MAX_HEAD_BYTES, BoundedConnection

STATES: dict[int, ServerState] = {}
REQUEST = b"POST /echo HTTP/1.1\r\nhost: here\r\ncontent-length: 2\r\n"


FAILURES: list[Exception] = []


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the body: at once, after a while (/slow), or without listening to it (/deaf)."""
    body, message = b"", {"more_body": scope["path"] != "/deaf"}
    while message["more_body"]:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
    if scope["path"] == "/slow":
        await asyncio.sleep(0.2)
    try:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})
    except Exception as error:
        FAILURES.append(error)
        raise


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """A server of such connections; yields its port."""
    config = uvicorn.Config(echo, lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: BoundedConnection(config, state, {}), "127.0.0.1", 0
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        STATES[port] = state
        yield port
        for open_one in list(state.connections):
            open_one.shutdown()


async def say(port: int, *parts: bytes) -> bytes:
    """Send the parts, each once the one before is through; all that comes back until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(writer):
        with contextlib.suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
        async with asyncio.timeout(10):
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while chunk := await reader.read(65_536):
                    answer += chunk
    return answer


def problem_in(answer: bytes) -> tuple[int, str]:
    """The status and the code of an answer that must be a problem with a request id."""
    head, _, body = answer.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert headers["content-type"] == "application/problem+json"
    assert int(headers["content-length"]) == len(body)
    problem = msgspec.json.decode(body)
    assert headers["x-request-id"] == problem["request_id"]
    assert f" {problem['status']} " in head.decode().split("\r\n")[0]
    return problem["status"], problem["code"]


@pytest.mark.parametrize(
    "nonsense",
    [b"what?\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/9.9\r\n\r\n", b"\x00" * 100],
)
async def test_what_is_no_http_is_told_so_in_a_problem(nonsense: bytes) -> None:
    async with serving() as port:
        assert problem_in(await say(port, nonsense)) == (400, "malformed_request")


@pytest.mark.parametrize("kind", ["one header", "many headers", "the path"])
async def test_a_head_without_end_is_cut_off(kind: str) -> None:
    first = b"POST /" + b"x" * 1_000 if kind == "the path" else REQUEST + b"x-filler: "
    more = b"a: b\r\n" * 170 if kind == "many headers" else b"x" * 1_000
    async with serving() as port:
        begun = first + (b"\r\n" if kind == "many headers" else b"")
        answer = await say(port, begun, *[more] * 4_000)
    assert problem_in(answer) == (431, "head_too_large")


async def test_a_head_that_is_a_little_too_long_is_told_so_in_a_problem() -> None:
    async with serving() as port:
        answer = await say(port, REQUEST + b"x-filler: " + b"x" * MAX_HEAD_BYTES)
    assert problem_in(answer) == (431, "head_too_large")


async def test_a_head_within_the_bounds_is_taken_and_a_body_is_no_head() -> None:
    async with serving() as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        headers = {f"x-filler-{n}": "x" * 1_000 for n in range(60)}
        for _ in range(3):
            response = await client.post("/echo", headers=headers, content=b"y" * 1_000_000)
            assert response.status_code == 200
            assert len(response.content) == 1_000_000


@pytest.mark.parametrize("begun", [b"", b"P", REQUEST, b"GET / HTTP/1.1\r\nhost: here\r\n\r\n" + REQUEST])
async def test_a_head_that_takes_too_long_ends_the_connection(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CLIENT_SECONDS", 0.05)
    async with serving() as port:
        answer = await say(port, begun)
        assert answer.startswith(b"HTTP/1.1 200") == begun.startswith(b"GET")


async def test_who_goes_on_sending_after_a_refusal_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER_SECONDS", 0.1)
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer), pytest.raises(ConnectionError):
            async with asyncio.timeout(10):
                writer.write(b"what?\r\n\r\n")
                assert problem_in(await reader.read()) == (400, "malformed_request")
                while True:
                    writer.write(b"x" * 1_000)
                    await writer.drain()
                    await asyncio.sleep(0.01)


async def test_nonsense_behind_a_question_ends_both() -> None:
    async with serving() as port:
        assert problem_in(await say(port, REQUEST + b"\r\n{}what?\r\n\r\n")) == (400, "malformed_request")


async def test_a_question_that_is_on_its_way_when_the_service_stops_is_answered() -> None:
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            writer.write(REQUEST + b"\r\n{}")
            assert b"connection: close" not in await reader.readuntil(b"{}")
            for open_one in list(STATES[port].connections):
                open_one.shutdown()
            writer.write(REQUEST + b"\r\n{}")
            async with asyncio.timeout(10):
                answer = await reader.read()
            assert (answer[:12], answer[-2:]) == (b"HTTP/1.1 200", b"{}")
            assert b"connection: close" in answer


async def test_a_connection_that_nobody_uses_ends_when_the_service_stops() -> None:
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            writer.write(REQUEST + b"\r\n{}")
            await reader.readuntil(b"{}")
            for open_one in list(STATES[port].connections):
                open_one.shutdown()
            async with asyncio.timeout(5):
                assert await reader.read() == b""


async def test_a_body_that_stops_coming_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CLIENT_SECONDS", 0.05)
    async with serving() as port:
        assert await say(port, REQUEST + b"\r\n{") == b""


async def test_a_slow_body_and_the_pause_between_requests_may_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CLIENT_SECONDS", 0.2)
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            for _ in range(2):
                writer.write(REQUEST.replace(b": 2", b": 8") + b"\r\n")
                for _ in range(8):
                    writer.write(b"x")
                    await asyncio.sleep(0.08)  # the time is what is tried out
                assert (await reader.readuntil(b"x" * 8)).startswith(b"HTTP/1.1 200")
                await asyncio.sleep(0.7)  # as above


OFFER = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"


@pytest.mark.parametrize(
    "head", [OFFER, OFFER.replace(b"h2c", b"websocket"), OFFER.replace(b"Upgrade, ", b"close, Upgrade, ")]
)
@pytest.mark.parametrize("cuts", [1, 3])
async def test_an_offer_to_upgrade_is_ignored_and_the_body_is_read(head: bytes, cuts: int) -> None:
    asked = (
        REQUEST.replace(b": 2", b": 60")
        + head
        + b"\r\n"
        + b"GET /smuggled HTTP/1.1\r\nhost: here\r\n\r\n".ljust(60, b"x")
    )
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            for _ in range(1 if b"close" in head else 2):
                for start in range(cuts):
                    writer.write(asked[start * len(asked) // cuts : (start + 1) * len(asked) // cuts])
                    await asyncio.sleep(0.02)
                answer = await reader.readuntil(b"x" * 4)
                answer += await reader.readexactly(60 - len(answer.partition(b"\r\n\r\n")[2]))
                assert answer.count(b"HTTP/1.1 200") == 1
                assert answer.endswith(asked[-60:])
            assert (b"connection: close" in answer) == (b"close" in head)


async def test_a_question_that_offers_an_upgrade_and_has_no_body_is_answered() -> None:
    async with serving() as port:
        answer = await say(port, b"GET / HTTP/1.1\r\nhost: here\r\n" + OFFER + b"\r\n" + GOODBYE)
    assert answer.count(b"HTTP/1.1 200") == 2


async def test_connect_is_refused() -> None:
    async with serving() as port:
        answer = await say(port, b"CONNECT here:80 HTTP/1.1\r\nhost: here\r\n\r\n")
    assert problem_in(answer) == (400, "malformed_request")


@pytest.mark.parametrize("trailers", [b"a: b\r\n" * 300_000, b"a: " + b"x" * 2_000_000])
async def test_trailers_without_end_are_cut_off(trailers: bytes) -> None:
    chunked = REQUEST.replace(b"content-length: 2", b"transfer-encoding: chunked")
    async with serving() as port:
        answer = await say(
            port, chunked + b"\r\n0\r\n", *[trailers[i : i + 60_000] for i in range(0, len(trailers), 60_000)]
        )
    assert problem_in(answer) == (400, "malformed_request")


async def test_a_body_in_small_chunks_with_trailers_is_taken() -> None:
    chunked = REQUEST.replace(b"content-length: 2", b"transfer-encoding: chunked\r\nconnection: close")
    async with serving() as port:
        answer = await say(port, chunked + b"\r\n" + b"2\r\nab\r\n" * 20_000 + b"0\r\nx-sum: 1\r\n\r\n")
    assert answer.endswith(b"ab" * 20_000)


async def test_the_end_of_a_body_is_not_counted_as_the_head_that_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_HEAD_BYTES", 1_000)
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            writer.write(REQUEST.replace(b": 2", b": 30000") + b"\r\n" + b"x" * 30_000 + b"GET /b HTTP/1.1\r\nhost")
            await reader.readuntil(b"x" * 30_000)  # so the server has read the half of a head, too
            writer.write(b": here\r\nconnection: close\r\n\r\n")
            async with asyncio.timeout(10):
                assert (await reader.read()).startswith(b"HTTP/1.1 200")


GOODBYE = b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n"


async def test_a_client_that_has_asked_and_says_nothing_more_gets_its_answer() -> None:
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            writer.write(b"POST /slow HTTP/1.1\r\nhost: here\r\ncontent-length: 2\r\n\r\n{}")
            writer.write_eof()
            async with asyncio.timeout(10):
                assert (await reader.read()).endswith(b"\r\n\r\n{}")


async def test_a_client_that_ends_in_the_middle_of_its_question_gets_none() -> None:
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            writer.write(REQUEST + b"\r\n{")
            writer.write_eof()
            async with asyncio.timeout(10):
                assert await reader.read() == b""


@pytest.mark.parametrize("then", [b"what?\r\n\r\n", b""])
async def test_nobody_writes_to_a_connection_that_is_refused_or_gone(then: bytes) -> None:
    slow = b"GET /slow HTTP/1.1\r\nhost: here\r\n\r\n"
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(slow * 2 + then)
        await writer.drain()
        if then:
            assert problem_in(await reader.read()) == (400, "malformed_request")
        writer.close()
        await asyncio.sleep(0.5)  # longer than the slow answer takes
    assert FAILURES == []


async def test_an_answer_before_the_end_of_the_body_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER_SECONDS", 0.05)
    async with serving() as port:
        assert (await say(port, b"POST /deaf HTTP/1.1\r\nhost: here\r\ncontent-length: 9\r\n\r\n{")).endswith(
            b"\r\n\r\n"
        )
