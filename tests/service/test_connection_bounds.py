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


async def echo(scope: Any, receive: Any, send: Any) -> None:  # the signature of ASGI
    """Answer with the body."""
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


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
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.05)
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


async def test_nonsense_behind_a_question_ends_both(monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_a_body_and_the_pause_between_requests_may_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.05)
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.closing(writer):
            for _ in range(2):
                writer.write(REQUEST + b"\r\n{")
                await asyncio.sleep(0.2)  # the time is what is tried out
                writer.write(b"}")
                answer = await reader.readuntil(b"{}")
                assert answer.startswith(b"HTTP/1.1 200")
                await asyncio.sleep(0.2)  # as above
