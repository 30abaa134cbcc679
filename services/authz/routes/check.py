"""`check` and `explain`: the question in, the recorded decision out.

`check` is the hot path, so the edge calls it directly: no routing, no request object, no response class.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from litestar import Request, asgi, post
from litestar.handlers import ASGIRouteHandler, HTTPRouteHandler
from litestar.params import JSONBody

from services.authz.asking import CheckRequest, inline_facts, parse_check, question_of
from services.authz.decisions import Decisions
from services.authz.facts import STORED
from services.authz.model import Trace
from shared.credentials import Authenticator
from shared.problems import Problem
from shared.web.answers import Answer
from shared.web.context import RequestContext, context_of
from shared.web.edge import LeanHandler
from shared.web.strict import MAX_BODY_BYTES, demand_json, too_large

CHECK_PATH: Final = "/api/v1/authz/check"
EXPLAIN_PATH: Final = "/api/v1/authz/explain"


class CheckData(msgspec.Struct, frozen=True, kw_only=True):
    """A decision; `decision_id` is its event's id in the log, `revision` that of the facts it was taken on."""

    allow: bool
    decision: Literal["allow", "deny"]
    deny_code: str | None
    reason: str
    decision_id: str
    revision: int
    decided_at: datetime


class ExplainData(CheckData, frozen=True, kw_only=True):
    """A decision with everything that it was derived from."""

    trace: Trace


_ENCODER: Final = msgspec.json.Encoder()


def lean_check(decisions: Decisions, authenticator: Authenticator) -> LeanHandler:
    """Make the handler of `check` for the edge's fast lane."""

    async def check(context: RequestContext, receive: Any) -> bytes:
        credential = await authenticator.authenticate(context.authorization)
        context.credential_id = credential.credential_id
        credential.require("authz:check")
        demand_json(context.content_type)
        question, inline = parse_check(await _read(receive))
        if inline is not STORED:
            credential.require("authz:check_inline")
        trace = await decisions.decide(question, inline, context)
        return _ENCODER.encode(Answer(data=_data(CheckData, trace, {}), request_id=context.request_id))

    return check


def check_handlers(decisions: Decisions, authenticator: Authenticator) -> list[ASGIRouteHandler | HTTPRouteHandler]:
    """Make the routes of `check`, as far as the fast lane leaves them, and `explain`."""

    @asgi(CHECK_PATH, copy_scope=False, opt={"permission": "authz:check", "methods": ["POST"]})
    async def check(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001  # the signature of ASGI
        # The edge answers every POST to exactly this path itself: what gets as far as here is something else.
        if scope["method"] == "POST":
            raise Problem("not_found", f"There is nothing here; ask at {CHECK_PATH}.")
        raise Problem("method_not_allowed", "Ask with POST.", headers=(("allow", "POST"),))

    @post(
        EXPLAIN_PATH,
        opt={"permission": "authz:explain"},
        status_code=200,
        summary="May this actor do this action on this resource, and why?",
        tags=["decisions"],
    )
    async def explain(request: Request[Any, Any, Any], data: JSONBody[CheckRequest]) -> Answer[ExplainData]:
        """Decides and records like `check`, and returns the whole trace."""
        context = context_of(request.scope)
        question, inline = question_of(data), inline_facts(data)
        if inline is not STORED:
            credential = await authenticator.authenticate(context.authorization)
            credential.require("authz:check_inline")
        trace = await decisions.decide(question, inline, context)
        return Answer(data=_data(ExplainData, trace, {"trace": trace}), request_id=context.request_id)

    return [check, explain]


async def _read(receive: Any) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body", False):
        if len(body) > MAX_BODY_BYTES:
            break
        message = await receive()
        body += message.get("body", b"")
    if len(body) > MAX_BODY_BYTES:
        raise too_large()
    return body


def _data(kind: Any, trace: Trace, more: dict[str, Trace]) -> Any:
    return kind(
        allow=trace.decision == "allow",
        decision=trace.decision,
        deny_code=trace.deny_code,
        reason=trace.reason,
        decision_id=trace.decision_id,
        revision=trace.revision,
        decided_at=trace.decided_at,
        **more,
    )
