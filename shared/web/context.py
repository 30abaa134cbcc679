"""What the edge learns of a request before anyone handles it."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from shared.identifiers import request_id_from

SCOPE_KEY: Final = "plystra"
# Version 00 has 55 characters, a later one may go on after the flags, and ff is none (W3C Trace Context §3.2.2, §4.3).
_TRACEPARENT: Final = re.compile(rb"(?!ff|00.{54})[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_USER_AGENT_LENGTH: Final = 256


class RequestContext(msgspec.Struct, kw_only=True):
    """A request's origin and identity; `trace_id` and `span_id` are lower-case hex as in W3C trace context."""

    authorization: bytes | None
    content_encoding: bytes | None = None
    content_type: bytes | None
    credential_id: str | None = None
    ip: str | None
    request_id: str
    sampled: bool = False
    span_id: str | None = None
    trace_id: str | None = None
    user_agent: str | None


def context_from_scope(scope: Any) -> RequestContext:
    """Read the headers once."""
    headers = dict(scope["headers"])
    client = scope.get("client")
    user_agent = headers.get(b"user-agent")
    context = RequestContext(
        authorization=headers.get(b"authorization"),
        content_encoding=headers.get(b"content-encoding"),
        content_type=headers.get(b"content-type"),
        ip=client[0] if client else None,
        request_id=request_id_from(headers.get(b"x-request-id")),
        user_agent=None if user_agent is None else _printable(user_agent),
    )
    traceparent = headers.get(b"traceparent")
    if traceparent is not None:
        match = _TRACEPARENT.fullmatch(traceparent)
        if match and match[1] != b"0" * 32 and match[2] != b"0" * 16:
            context.trace_id, context.span_id = match[1].decode(), match[2].decode()
            context.sampled = bool(int(match[3], 16) & 1)
    return context


def context_of(scope: Any) -> RequestContext:
    """Return the context that the edge has put into the scope."""
    context: RequestContext = scope[SCOPE_KEY]
    return context


def _printable(value: bytes) -> str:
    text = value[:_USER_AGENT_LENGTH].decode("latin-1")
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
