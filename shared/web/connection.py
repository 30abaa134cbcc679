"""One client's connection: uvicorn's, with bounds on what is no body, and ends that cut off nobody.

uvicorn bounds neither the bytes nor the seconds of a request's head, nor what stands around a chunked body; it drops the
body of a request that offers an upgrade, and closes into what is on its way. A body itself is bounded by whoever reads it:
the server reads no further ahead than 64 KiB.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from shared.identifiers import request_id_from
from shared.problems import Problem

# At most this and what one read brings with it.
MAX_HEAD_BYTES: Final = 64 * 1024
# Sizes of chunks and trailers of one request, which nobody reads.
MAX_FRAMING_BYTES: Final = 1024 * 1024
# For a head, and between two reads of a body.
CLIENT_SECONDS: Final = 10.0
# How long a client may go on sending what nobody wants, before the connection ends by force: closing at once would reset it,
# and the answer on its way would be lost.
LINGER_SECONDS: Final = 1.0
# How long a connection that nobody uses is kept when the service stops: a question may be on its way.
FAREWELL_SECONDS: Final = 0.3
_OF_AN_UPGRADE: Final = (b"connection", b"upgrade", b"http2-settings")


class BoundedConnection(HttpToolsProtocol):
    """A connection whose client has so many bytes and seconds for each head; between requests, the keep-alive applies."""

    cycle: RequestResponseCycle | None  # type: ignore[assignment]  # uvicorn doesn't declare that the first is to come

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begin to wait for the first head."""
        super().connection_made(transport)
        # `cycle` is the last that was asked, this the one that is being answered.
        self._running: RequestResponseCycle | None = None
        self._head_bytes = self._framing_bytes = self._body_bytes = 0
        self._heads_begun = 0
        self._is_head_open = True
        self._is_refused = False
        self._is_stopping = False
        self._heard_at = self.loop.time()
        self._watch = self.loop.call_later(CLIENT_SECONDS, self._check_time)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching, and let nobody write any more."""
        self._watch.cancel()
        if self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio takes a bool as well
        """Keep the connection for the answer to a question that is asked whole, though its client says nothing more."""
        if (asked := self._unanswered()) is None or asked.more_body:
            return False
        asked.keep_alive = False
        return True

    def data_received(self, data: bytes) -> None:
        """Read on, unless what is no body has become too long."""
        if self._is_refused:
            return
        was_open, self._heads_begun, self._body_bytes = self._is_head_open, 0, 0
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(Problem("malformed_request", "The request is not HTTP/1.1; mend the client."))
            return
        if self._is_head_open:
            # Of several heads in one read, nobody knows where the last begins: it is counted from the next read on.
            self._head_bytes += 0 if self._heads_begun > 1 else len(data) - self._body_bytes
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(Problem("head_too_large", f"The head is longer than {MAX_HEAD_BYTES} bytes; send less."))
        else:
            if not was_open:
                self._heard_at = self.loop.time()
            self._framing_bytes += len(data) - self._body_bytes
            if self._framing_bytes > MAX_HEAD_BYTES + MAX_FRAMING_BYTES:
                self._refuse(
                    Problem("malformed_request", "The body has more framing than content; send larger chunks.")
                )

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        self._head_bytes = self._framing_bytes = 0
        self._heads_begun += 1
        self._is_head_open = True
        self._heard_at = self.loop.time()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; what comes after the body is a trailer, which nobody reads."""
        if self._is_head_open:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Note that the head is there; one that offers an upgrade is read again without the offer."""
        if self.parser.should_upgrade():
            return
        self._is_head_open = False
        super().on_headers_complete()
        if self._is_stopping and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of the body."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next question; what is left of a body that is answered already is read for a moment only."""
        super().on_response_complete()
        cycle = self.cycle
        if not self.pipeline and cycle is not None and cycle.response_complete and cycle.more_body:
            self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def shutdown(self) -> None:
        """End with the answer under way; with none, after a moment in which a question on its way is still answered."""
        self._is_stopping = True
        if self._unanswered() is None:
            self.loop.call_later(FAREWELL_SECONDS, super().shutdown)
        else:
            super().shutdown()

    def _unanswered(self) -> RequestResponseCycle | None:
        return None if self.cycle is None or self.cycle.response_complete else self.cycle

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if self.parser.get_method() == b"CONNECT":
                self._refuse(Problem("malformed_request", "CONNECT is not taken: the service is no proxy."))
                return
            # A server may ignore the offer (RFC 9110 §7.8); the parser, once it has seen one, reads no body.
            version = self.parser.get_http_version().encode("ascii")
            head = b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, version)
            kept = [(name, value) for name, value in self.headers if name not in _OF_AN_UPGRADE]
            if not self.parser.should_keep_alive():
                kept.append((b"connection", b"close"))
            head += b"".join(b"%b: %b\r\n" % field for field in kept)
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(
                lenient_data_after_close=True
            )  # as uvicorn does, for pipelined questions
            self._feed(head + b"\r\n" + data[offer.args[0] :])

    def _check_time(self) -> None:
        # One timer a connection, not one a request: a client that says nothing more is cut off after ten to twenty seconds.
        is_owed = self._is_head_open or (self.cycle is not None and self.cycle.more_body and not self.flow.read_paused)
        if is_owed and self.loop.time() - self._heard_at >= CLIENT_SECONDS:
            self.transport.close()
        else:
            self._watch = self.loop.call_later(CLIENT_SECONDS, self._check_time)

    def _refuse(self, problem: Problem) -> None:
        self._is_refused = True
        if self.transport.is_closing():
            return
        if (running := self._running) is not None:
            running.disconnected = True  # what was asked before is not answered into the refusal
            if running.response_started and not running.response_complete:
                self.transport.close()
                return
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
