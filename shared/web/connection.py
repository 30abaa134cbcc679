"""One client's connection: uvicorn's, with bounds on the head of a request, and ends that cut off nobody.

uvicorn bounds neither the bytes nor the seconds of a head. A body is bounded by whoever reads it, since the server reads no
further ahead than 64 KiB. Closing a connection while bytes are coming in resets it, and the client loses the answer that was
on its way: so what is refused is read on for a moment, and a stop lets a question in that is on its way already.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from shared.identifiers import request_id_from
from shared.problems import Problem

# At most this and what one read brings with it.
MAX_HEAD_BYTES: Final = 64 * 1024
HEAD_SECONDS: Final = 10.0
# How long a refused client may go on sending before the connection ends by force.
LINGER_SECONDS: Final = 1.0
# How long a connection that nobody uses is kept when the service stops.
FAREWELL_SECONDS: Final = 0.3


class BoundedConnection(HttpToolsProtocol):
    """A connection whose client has so many bytes and seconds for each head; between requests, the keep-alive applies."""

    cycle: RequestResponseCycle | None  # type: ignore[assignment]  # uvicorn doesn't declare that the first is to come

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._head_bytes = 0
        self._head_began: float | None = self.loop.time()
        self._is_refused = False
        self._is_stopping = False
        self._watch = self.loop.call_later(HEAD_SECONDS, self._check_time)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless the head has become too long."""
        if self._is_refused:
            return
        super().data_received(data)
        if self._head_began is not None and not self._is_refused:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(Problem("head_too_large", f"The head is longer than {MAX_HEAD_BYTES} bytes; send less."))

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        self._head_bytes = 0
        self._head_began = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that the head is there."""
        self._head_began = None
        super().on_headers_complete()
        if self._is_stopping and self.cycle is not None:
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's signature
        """Answer what is no HTTP; the parser's own words say no more than that."""
        self._refuse(Problem("malformed_request", "The request is not HTTP/1.1; mend the client."))

    def shutdown(self) -> None:
        """End with the answer under way; with none, after a moment in which a question on its way is still answered."""
        self._is_stopping = True
        if self.cycle is not None and not self.cycle.response_complete:
            super().shutdown()
        else:
            self.loop.call_later(FAREWELL_SECONDS, super().shutdown)

    def _check_time(self) -> None:
        # One timer a connection, not one a request: a head is cut off after ten to twenty seconds.
        if self._head_began is not None and self.loop.time() - self._head_began >= HEAD_SECONDS:
            self.transport.close()
        else:
            self._watch = self.loop.call_later(HEAD_SECONDS, self._check_time)

    def _refuse(self, problem: Problem) -> None:
        self._is_refused = True
        if self.transport.is_closing():
            return
        if self.cycle is not None:
            self.cycle.disconnected = True  # what was asked before on this connection is not answered into the refusal
        body = msgspec.json.encode(problem.document(request_id := request_id_from(None)))
        fields = [
            *self.server_state.default_headers,
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"x-request-id", request_id.encode("ascii")),
            (b"connection", b"close"),
        ]
        head = b"".join(b"%b: %b\r\n" % field for field in fields)
        self.transport.write(STATUS_LINE[problem.status] + head + b"\r\n" + body)
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)
