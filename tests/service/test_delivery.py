"""What audit's answer to a batch means for the relay: in the log, never to be taken, or to be sent again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

import pytest
import zstandard

from services.authz.delivery import HttpDelivery, Refused, Unavailable

COMMITS: Final = (b'{"number":1},{"number":2}', b'{"number":3}')
BATCH: Final = [zstandard.compress(events) for events in COMMITS]
TRACEPARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SILENCE: Final = None


@contextlib.asynccontextmanager
async def delivering_to(
    answer: bytes | None, heard: Callable[[bytes], None] = lambda _: None
) -> AsyncIterator[HttpDelivery]:
    """A delivery to a server that answers every request so, or not at all."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        heard(head + await reader.readexactly(int(length.partition(b":")[2])))
        if answer is SILENCE:
            await reader.read()  # until the client has given up
        else:
            writer.write(answer)
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        delivery = HttpDelivery(url, "a-key", timeout_seconds=10 if answer is not SILENCE else 0.1)
        try:
            yield delivery
        finally:
            await delivery.close()


def response(status: int, body: bytes = b"the reason") -> bytes:
    """An answer of that status."""
    return b"HTTP/1.1 %d x\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (status, len(body), body)


async def test_a_batch_is_acknowledged_by_200() -> None:
    async with delivering_to(response(200)) as delivery:
        await delivery.deliver(BATCH, None)


@pytest.mark.parametrize(
    "outcome, status",
    [
        *((Refused, status) for status in (400, 409, 413, 422)),
        *((Unavailable, status) for status in (202, 204, 302, 401, 403, 404, 408, 415, 429, 500, 502, 503, 504)),
    ],
)
async def test_any_other_status_says_why_a_batch_is_not_in_the_log(outcome: type[Exception], status: int) -> None:
    body = b"" if status == 204 else b"the reason"
    async with delivering_to(response(status, body)) as delivery:
        with pytest.raises(outcome, match=f"^{status} {body.decode()}$"):
            await delivery.deliver(BATCH, None)


async def test_an_audit_that_cannot_read_what_is_around_the_events_may_learn_to() -> None:
    # As one of the release before answers, which looks at no Content-Encoding.
    async with delivering_to(response(400, b'{"code":"malformed_json","detail":"invalid character"}')) as delivery:
        with pytest.raises(Unavailable, match="malformed_json"):
            await delivery.deliver(BATCH, None)
    async with delivering_to(response(400, b'{"code":"validation_failed"}')) as delivery:
        with pytest.raises(Refused, match="validation_failed"):
            await delivery.deliver(BATCH, None)


@pytest.mark.parametrize(
    "answer, error",
    [
        (b"", "RemoteProtocolError"),
        (b"HTTP/1.1 200 x\r\ncontent-le", "RemoteProtocolError"),
        (b"HTTP/1.1 200 x\r\ncontent-length: 10\r\n\r\nthe", "RemoteProtocolError"),
        (b"what?\r\n\r\n", "RemoteProtocolError"),
        (SILENCE, "ReadTimeout"),
    ],
    ids=["none", "half a head", "half a body", "no HTTP", "silence"],
)
async def test_an_answer_that_is_none_means_that_the_batch_may_be_sent_again(answer: bytes | None, error: str) -> None:
    async with delivering_to(answer) as delivery:
        with pytest.raises(Unavailable, match=error):
            await delivery.deliver(BATCH, None)


async def test_nobody_who_answers_means_the_same() -> None:
    async with delivering_to(b"") as delivery:
        url = delivery._client.base_url
    delivery = HttpDelivery(str(url), "a-key")
    with pytest.raises(Unavailable, match="ConnectError"):
        await delivery.deliver(BATCH, None)
    await delivery.close()


@pytest.mark.parametrize("traceparent", [TRACEPARENT, None])
async def test_a_batch_is_sent_as_it_is_with_the_key_and_its_place_in_the_trace(traceparent: str | None) -> None:
    requests: list[bytes] = []
    async with delivering_to(response(200), requests.append) as delivery:
        await delivery.deliver(BATCH, traceparent)
    ((head, _, body),) = [request.partition(b"\r\n\r\n") for request in requests]
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert first == "POST /api/v1/events HTTP/1.1"
    with zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True) as reader:
        assert reader.read() == b'{"events":[{"number":1},{"number":2},{"number":3}]}'
    sent = (headers["authorization"], headers["content-type"], headers["content-encoding"])
    assert sent == ("bearer a-key", "application/json", "zstd")
    assert headers.get("traceparent") == traceparent
