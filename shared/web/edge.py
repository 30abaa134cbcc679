"""The outermost ASGI application of both services: every request gets an id, a log line, figures and a span here.

Whatever fails inside, the client gets an RFC 9457 problem with the request id, and the log the reason.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from litestar import Litestar
from opentelemetry.trace import Span

from shared.observe.logs import AccessLog, Logger
from shared.observe.metrics import HttpMetrics
from shared.observe.tracing import Tracing
from shared.problems import Problem
from shared.web.answers import problem_from, send_json, send_problem
from shared.web.context import SCOPE_KEY, RequestContext, context_from_scope
from shared.web.gate import OPEN_PATHS, Gate

# Takes (context, receive) and returns the encoded JSON body of a 200 answer, or raises.
LeanHandler = Callable[[RequestContext, Any], Awaitable[bytes]]
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]


class Edge:
    """Wraps an ASGI application; see the module's docstring for what it adds."""

    def __init__(
        self,
        app: Litestar,
        *,
        access: AccessLog,
        gate: Gate,
        logger: Logger,
        metrics: HttpMetrics,
        tracing: Tracing,
        lean: Mapping[str, LeanHandler] | None = None,
    ) -> None:
        self.app = app
        self._access = access
        self._gate = gate
        self._logger = logger
        self._metrics = metrics
        self._tracing = tracing
        self._lean = dict(lean or {})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        context = context_from_scope(scope)
        scope[SCOPE_KEY] = context
        refusal = self._gate.refusal
        if refusal is not None and scope["path"] not in OPEN_PATHS:
            await self._refuse(refusal, scope["method"], send, context, started)
            return
        lean = self._lean.get(scope["path"])
        if lean is not None and scope["method"] == "POST":
            await self._answer_lean(lean, scope, receive, send, context, started)
            return
        request_id = (b"x-request-id", context.request_id.encode("ascii"))
        status = 0

        async def send_with_id(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], request_id]
            await send(message)

        span = self._tracing.start_server_span(scope["method"], context) if self._tracing.enabled else None
        try:
            await self.app(scope, receive, send_with_id)
        except Exception as error:  # noqa: BLE001  # the outermost place: whatever failed, the client gets an answer
            report_problem(self._logger, error, context)
            if status == 0:
                problem = problem_from(error)
                status = problem.status
                await send_problem(send, problem, context.request_id)
        finally:
            # The route's template, never the raw path: the number of names must stay bounded.
            self._note(scope["method"], scope.get("path_template") or "unmatched", status, started, context, span)

    async def _answer_lean(
        self, lean: LeanHandler, scope: Any, receive: Any, send: Any, context: RequestContext, started: float
    ) -> None:
        """Answer on the fast lane: no routing, no wrapped `send`; everything else as for any request."""
        span = self._tracing.start_server_span("POST", context) if self._tracing.enabled else None
        status = 200
        try:
            body = await lean(context, receive)
            await send_json(send, body, context.request_id)
        except Exception as error:  # noqa: BLE001  # the outermost place: whatever failed, the client gets an answer
            problem = problem_from(error)
            status = problem.status
            report_problem(self._logger, error, context)
            await send_problem(send, problem, context.request_id)
        finally:
            self._note("POST", scope["path"], status, started, context, span)

    async def _refuse(self, refusal: Problem, method: str, send: Any, context: RequestContext, started: float) -> None:
        """Answer a request at the closed gate; no failure of the service, so the log has no more than its line."""
        span = self._tracing.start_server_span(method, context) if self._tracing.enabled else None
        try:
            await send_problem(send, refusal, context.request_id)
        finally:
            self._note(method, "refused", refusal.status, started, context, span)

    def _note(
        self, method: str, route: str, status: int, started: float, context: RequestContext, span: Span | None
    ) -> None:
        seconds = time.perf_counter() - started
        self._metrics.observe(method, route, status, seconds)
        self._access.write(method, route, status, seconds, context)
        if span is not None:
            self._tracing.end_server_span(span, method, route, status)


def report_problem(logger: Logger, error: Exception, context: RequestContext) -> None:
    """Log what the client is not told: the cause of a 5xx answer."""
    problem = problem_from(error)
    if problem.status >= 500:
        logger.error(
            "request_failed",
            code=problem.code,
            detail=problem.log_detail or problem.detail,
            request_id=context.request_id,
            trace_id=context.trace_id,
            exc_info=None if problem is error else error,
        )
