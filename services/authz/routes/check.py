"""`check` and `explain`: the question in, the recorded decision out.

`check` is the hot path, so the edge calls it directly: no routing, no request object, no response class.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import Request, asgi, post
from litestar.handlers import ASGIRouteHandler, HTTPRouteHandler
from litestar.params import JSONBody
from msgspec import Raw

from services.authz.asking import CheckRequest, asked_of, parse_check
from services.authz.decisions import Decisions
from services.authz.facts import STORED
from services.authz.model import Trace
from services.authz.settled import CheckData
from shared.credentials import Authenticator
from shared.problems import Problem
from shared.web.answers import Answer
from shared.web.context import RequestContext, context_of
from shared.web.edge import LeanHandler
from shared.web.strict import MAX_BODY_BYTES, demand_json, too_large

CHECK_PATH: Final = "/api/v1/authz/check"
EXPLAIN_PATH: Final = "/api/v1/authz/explain"


class ExplainData(CheckData, frozen=True, kw_only=True):
    """A decision with everything that it was derived from."""

    trace: Trace


def lean_check(decisions: Decisions, authenticator: Authenticator) -> LeanHandler:
    """Make the handler of `check` for the edge's fast lane."""

    async def check(context: RequestContext, receive: Any) -> bytes:
        credential = await authenticator.authenticate(context.authorization)
        context.credential_id = credential.credential_id
        credential.require("authz:check")
        demand_json(context)
        body = await _read(receive)
        taken = decisions.recall(body)
        if taken is None:
            asked = parse_check(body)
            if asked.inline is not STORED:
                credential.require("authz:check_inline")
            taken = await decisions.take(asked, body=body)
        return (await decisions.record(taken, context)).answer

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
        asked = asked_of(data)
        if asked.inline is not STORED:
            credential = await authenticator.authenticate(context.authorization)
            credential.require("authz:check_inline")
        given = await decisions.record(await decisions.take(asked), context)
        # The trace is returned as it was recorded, byte for byte.
        decided = msgspec.json.decode(given.answer, type=Answer[CheckData]).data
        trace: Any = Raw(given.trace)
        return Answer(data=ExplainData(**msgspec.structs.asdict(decided), trace=trace), request_id=context.request_id)

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
