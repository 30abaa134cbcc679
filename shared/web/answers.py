"""How answers look: `{"data": …, "request_id": …}`, lists with a page, problems as RFC 9457."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar

import msgspec

from shared.identifiers import ID_PATTERN
from shared.problems import PROBLEMS, Problem, ProblemError

T = TypeVar("T")
Send = Callable[[Any], Awaitable[None]]
JSON: Final = (b"content-type", b"application/json")
_NO_STORE: Final = (b"cache-control", b"no-store")
NO_ID: Final = "is not an id: 1–128 of A–Z a–z 0–9 _ . : @ -"
_ID_FORM: Final = ID_PATTERN.removesuffix("$")  # as a refusal quotes it, however the end of the text is written
_PROBLEM: Final = (b"content-type", b"application/problem+json")


class Answer(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A successful answer."""

    data: T
    request_id: str


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Where the next page of a list begins; None on the last one."""

    next_cursor: str | None


class Listing(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """A successful answer that holds one page of a list."""

    data: list[T]
    page: Page
    request_id: str


def problem_from(error: Exception) -> Problem:
    """Turn any exception into what the client is told; an unforeseen one says nothing of the inside."""
    if isinstance(error, Problem):
        return error
    status = getattr(error, "status_code", 500)
    detail = str(getattr(error, "detail", "")) if status < 500 else ""
    extra = getattr(error, "extra", None)
    faults = [e for e in extra if isinstance(e, dict)] if isinstance(extra, list) else []
    errors = [ProblemError(parameter=_parameter(e), detail=str(e.get("message", ""))) for e in faults]
    if errors:
        detail = "; ".join(f"{e.parameter or 'the request'}: {e.detail}" for e in errors)
    if status == 400 and errors and all(_ID_FORM in e.detail for e in errors):
        return _invalid_ids(errors)
    by_status = {400: "validation_failed", 404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
    code = by_status.get(status, "validation_failed" if 400 <= status < 500 else "internal_error")
    headers = [(k.lower(), v) for k, v in (getattr(error, "headers", None) or {}).items() if k.lower() == "allow"]
    return Problem(code, detail or _DETAILS.get(code, PROBLEMS[code][1] + "."), errors=errors, headers=headers)


def _invalid_ids(faults: list[ProblemError]) -> Problem:
    errors = [ProblemError(parameter=fault.parameter, detail=NO_ID) for fault in faults]
    return Problem("invalid_id", "; ".join(f"{e.parameter}: {e.detail}" for e in errors) + ".", errors=errors)


def _parameter(fault: dict[str, Any]) -> str | None:
    """Name a parameter as the client does: Litestar says the name of the handler's argument."""
    key = fault.get("key")
    if key is None:
        return None
    return str(key).replace("_", "-").title() if fault.get("source") == "header" else str(key).rstrip("_")


_DETAILS: Final = {"internal_error": "The service failed to answer; the request id finds the cause in its log."}


async def send_problem(send: Send, problem: Problem, request_id: str) -> None:
    """Write a problem as the answer."""
    body = msgspec.json.encode(problem.document(request_id))
    headers = [
        _PROBLEM,
        (b"content-length", b"%d" % len(body)),
        _NO_STORE,
        (b"x-request-id", request_id.encode("ascii")),
        *((name.encode("latin-1"), value.encode("latin-1")) for name, value in problem.headers),
    ]
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_json(send: Send, body: bytes, request_id: str) -> None:
    """Write an encoded JSON document as a 200 answer."""
    headers = [JSON, (b"content-length", b"%d" % len(body)), _NO_STORE, (b"x-request-id", request_id.encode("ascii"))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
