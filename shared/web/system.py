"""The routes that every service has: health, ready, version, and the Prometheus metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from shared.observe.metrics import CONTENT_TYPE, CollectorRegistry, render
from shared.problems import Problem, ProblemError
from shared.web.answers import Answer
from shared.web.context import context_of
from shared.web.litestar_app import PUBLIC


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The process lives; nothing else is said."""

    service: str
    status: str = "alive"


class ReadyCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a service needs, whether it has it, and the figures that belong to it."""

    detail: str
    figures: dict[str, int | float | str | None] = {}
    name: str
    ok: bool


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The service can do its work."""

    checks: list[ReadyCheck]
    ready: bool
    service: str


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """What the running code was built from; None when it runs from a checkout."""

    commit: str | None
    time: datetime | None


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """Which code and which schema this is; `schema_version` is the last applied migration.

    Each service adds the version of the documents that it writes or reads.
    """

    build: Build
    schema_version: str | None
    service: str
    service_version: str


V = TypeVar("V", bound=Version)
ReadyProbe = Callable[[], Awaitable[Sequence[ReadyCheck]]]


def system_handlers(
    *,
    service: str,
    version: Callable[[], Awaitable[V]],
    version_kind: type[V],
    probe: ReadyProbe,
    registry: CollectorRegistry,
    before_metrics: Callable[[], Awaitable[None]],
) -> list[HTTPRouteHandler]:
    """Make the handlers; `before_metrics` refreshes the gauges that are read from the database.

    Each of them answers HEAD too, as monitors ask: like GET, and the server leaves the body out.
    """

    @get("/api/v1/health", opt={"permission": PUBLIC}, summary="Is the process alive?", tags=["system"])
    async def get_health(request: Request[Any, Any, Any]) -> Answer[Health]:
        """Answers as long as the process runs, whatever its database does."""
        return Answer(data=Health(service=service), request_id=context_of(request.scope).request_id)

    @get("/api/v1/ready", opt={"permission": PUBLIC}, summary="Can the service do its work?", tags=["system"])
    async def get_ready(request: Request[Any, Any, Any]) -> Answer[Ready]:
        """Runs every check; 503 with the failing ones named when there are any."""
        checks = list(await probe())
        failing = [check for check in checks if not check.ok]
        if failing:
            raise Problem(
                "not_ready",
                " ".join(check.detail for check in failing),
                errors=[ProblemError(parameter=check.name, detail=check.detail) for check in failing],
                headers=[("retry-after", "2")],
            )
        return Answer(
            data=Ready(checks=checks, ready=True, service=service), request_id=context_of(request.scope).request_id
        )

    @get(
        "/api/v1/version",
        opt={"permission": PUBLIC},
        summary="Which code and schema is this?",
        tags=["system"],
        signature_namespace={"V": version_kind},  # what the OpenAPI document is to show
    )
    async def get_version(request: Request[Any, Any, Any]) -> Answer[V]:
        """Shows the service's version, the last applied migration and the version of what it writes or reads."""
        return Answer(data=await version(), request_id=context_of(request.scope).request_id)

    @get(
        "/metrics",
        opt={"permission": "metrics:read"},
        summary="Prometheus metrics",
        tags=["system"],
        media_type=CONTENT_TYPE,
    )
    async def get_metrics() -> Response[bytes]:
        """Gives the Prometheus text format."""
        await before_metrics()
        return Response(render(registry), media_type=CONTENT_TYPE)

    handlers: list[HTTPRouteHandler] = [get_health, get_ready, get_version, get_metrics]
    return [*handlers, *map(_head, handlers)]


def _head(handler: HTTPRouteHandler) -> HTTPRouteHandler:
    """Make the HEAD twin of a handler of GET; the OpenAPI document need not say everything twice."""
    (path,) = handler.paths
    return HTTPRouteHandler(
        path,
        http_method="HEAD",
        include_in_schema=False,
        media_type=handler.media_type,
        opt=dict(handler.opt),
        signature_namespace=handler.signature_namespace,
    )(handler.fn)
