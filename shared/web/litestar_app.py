"""Makes the Litestar application of a service: strict bodies, permissions by route, problems for every failure."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec
from litestar import Litestar, Request, Response, Router
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.handlers import ASGIRouteHandler
from litestar.handlers.base import BaseRouteHandler
from litestar.openapi import OpenAPIConfig

from shared.credentials import PERMISSION_KEYS, Authenticator
from shared.observe.logs import Logger
from shared.problems import Problem, ProblemError
from shared.release import SERVICE_VERSION
from shared.web.answers import problem_from
from shared.web.context import RequestContext, context_of
from shared.web.edge import report_problem
from shared.web.strict import JSON, MAX_BODY_BYTES, decode_strict, decoded, demand_json

PUBLIC: Final = "public"
_DOCUMENT: Final = "/openapi"
_NEAREST: Final = 4


class LeanOperation(msgspec.Struct, frozen=True, kw_only=True):
    """A bare ASGI POST route: what OpenAPI says of it. It takes the body that the route `like` takes."""

    answer: Any
    description: str
    like: str
    operation_id: str
    path: str
    summary: str


class StrictRequest(Request[Any, Any, Any]):
    """A request whose JSON body is decoded strictly into the type that its handler declares as `data`.

    A handler whose `opt` names another `media` type reads the body by itself; `zstd` bounds a compressed one in bytes.
    """

    _content: bytes | None = None

    async def body(self) -> bytes:
        """Return the body, decoded, or raise a 4xx problem: Litestar would take an empty one for no `data` at all."""
        if self._content is None:  # Litestar asks twice: for this, and for `json`
            context, limit = context_of(self.scope), self.route_handler.opt.get("zstd")
            media = self.route_handler.opt.get("media", JSON)
            demand_json(context, zstd=limit is not None, media=media)
            body = await super().body()
            if limit is not None and (context.content_encoding or b"").lower() == b"zstd":
                body = decoded(body, limit)
            if not body:
                document = "one JSON document" if media == JSON else "at least one line"
                raise Problem("malformed_json", f"The body is empty; send {document}.")
            self._content = body
        return self._content

    async def json(self) -> Any:
        """Return the body as a value of the handler's type, or raise a 4xx problem."""
        field = self.route_handler.parsed_data_field
        assert field is not None  # Litestar reads a body only for handlers that declare `data`
        return decode_strict(await self.body(), msgspec.json.Decoder(field.annotation))


def make_app(
    *,
    title: str,
    description: str,
    handlers: Sequence[BaseRouteHandler],
    authenticator: Authenticator,
    logger: Logger,
    lifespan: Sequence[Callable[[Litestar], Any]] = (),
    lean: Sequence[LeanOperation] = (),
    documented: bool = False,
) -> Litestar:
    """Make the application; every handler's `opt["permission"]` names the key that it demands, or `PUBLIC`.

    Typed handlers are guarded here. A bare ASGI handler authenticates by itself, because a guard would cost it more than
    the decision does. A `documented` application can be asked for its OpenAPI document, and is not for serving.
    """

    async def authorize(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        known = handler.opt.get("query", frozenset())
        unknown = sorted(set(connection.query_params) - known)
        if unknown:
            way_out = f"It knows {', '.join(sorted(known))}." if known else "It takes none."
            raise Problem(
                "unknown_parameter",
                f"This route has no query parameter {unknown[0][:100]!r}. {way_out}",
                errors=[ProblemError(parameter=name[:100], detail="unknown parameter") for name in unknown],
            )
        _refuse_repeated(name for name, _ in connection.query_params.multi_items())
        if connection.scope.get("method") == "OPTIONS":
            return  # Litestar's own answer: the methods of the route, and no more
        permission = handler.opt["permission"]
        if permission != PUBLIC:
            context = context_of(connection.scope)
            credential = await authenticator.authenticate(context.authorization)
            context.credential_id = credential.credential_id
            credential.require(permission)

    def render(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        context: RequestContext = context_of(request.scope)
        report_problem(logger, error, context)
        problem = _with_way_out(problem_from(error), error, request.scope)
        return Response(
            msgspec.json.encode(problem.document(context.request_id)),
            status_code=problem.status,
            media_type="application/problem+json",
            headers=dict(problem.headers) | {"cache-control": "no-store"},
        )

    def answer_options(request: Request[Any, Any, Any]) -> Response[None] | None:
        """Answer OPTIONS with all that the path takes; of several handlers Litestar's own answer knows the first."""
        if request.method != "OPTIONS":
            return None
        asked = request.scope.get("path_template")
        methods = {method for method, path, _ in routes_with_permissions(app) if path_template(path) == asked}
        methods |= {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        return Response(None, status_code=204, headers={"allow": ", ".join(sorted(methods))})

    bare = [handler for handler in handlers if isinstance(handler, ASGIRouteHandler)]
    typed = [handler for handler in handlers if not isinstance(handler, ASGIRouteHandler)]
    app = Litestar(
        route_handlers=[*bare, Router("/", route_handlers=typed, guards=[authorize], before_request=answer_options)],
        request_class=StrictRequest,
        request_max_body_size=MAX_BODY_BYTES,
        exception_handlers={Exception: render, HTTPException: render, Problem: render},
        openapi_config=OpenAPIConfig(
            title=title, description=description, version=SERVICE_VERSION, use_handler_docstrings=True, path=_DOCUMENT
        )
        if documented
        else None,
        logging_config=None,
        lifespan=list(lifespan),
        opt={"lean": tuple(lean)},
    )
    for method, path, permission in routes_with_permissions(app):
        if permission != PUBLIC and permission not in PERMISSION_KEYS:
            raise LookupError(f"{method} {path} names no permission key of shared/credentials.py: {permission!r}")
    return app


def _refuse_repeated(names: Iterable[str]) -> None:
    """Raise a 400 problem when a query parameter is given twice: all but one of its values would be dropped."""
    faults = [
        ProblemError(parameter=name, detail=f"is given {count} times; give it once")
        for name, count in sorted(Counter(names).items())
        if count > 1
    ]
    if faults:
        detail = "; ".join(f"{fault.parameter}: {fault.detail}" for fault in faults)
        raise Problem("validation_failed", f"{detail}.", errors=faults)


def _with_way_out(problem: Problem, error: Exception, scope: Any) -> Problem:
    """Say what to ask instead where only the router spoke: it says no more than that it found nothing."""
    asked = scope["path"][:100]
    if isinstance(error, MethodNotAllowedException):
        allowed = dict(problem.headers).get("allow", "")
        detail = f"{asked} does not take {scope['method'][:20]}. It takes {allowed}."
    elif isinstance(error, NotFoundException):
        paths = dict.fromkeys(path_template(path) for _, path, _ in routes_with_permissions(scope["litestar_app"]))
        nearest = difflib.get_close_matches(asked, paths, n=_NEAREST, cutoff=0.0)
        detail = f"There is nothing at {asked!r}. The nearest that there is: {', '.join(nearest)}."
    else:
        return problem
    return Problem(problem.code, detail, headers=problem.headers)


def lean_operations(app: Litestar) -> tuple[LeanOperation, ...]:
    """Return the bare ASGI routes of an application."""
    found: tuple[LeanOperation, ...] = app.opt["lean"]
    return found


def routes_with_permissions(app: Litestar) -> list[tuple[str, str, str]]:
    """List every (method, path template, permission key or `public`) of an application, in order of path."""
    rows = []
    for route in app.routes:
        if route.path.startswith(_DOCUMENT):
            continue
        for handler in getattr(route, "route_handlers", None) or [route.route_handler]:  # type: ignore[union-attr]  # a WebSocketRoute would have one too; we have none
            methods = getattr(handler, "http_methods", None) or handler.opt["methods"]
            rows += [
                (m, route.path, handler.opt.get("permission", "")) for m in methods if m not in ("OPTIONS", "HEAD")
            ]
    return sorted(rows, key=lambda row: (row[1], row[0]))


def path_template(path: str) -> str:
    """Write a path as OpenAPI does: `{event_id}` where Litestar has `{event_id:str}`."""
    return re.sub(r":\w+}", "}", path)
