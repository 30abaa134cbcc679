"""The composition root of audit: everything is made here, once, and handed to what needs it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from litestar import Litestar

from services.audit.health import AuditVersion, Health
from services.audit.log import WRITE_PARAMETERS, Log
from services.audit.metrics import LogMetrics
from services.audit.own_events import OwnEvents
from services.audit.routes.ingest import ingest_handlers
from services.audit.routes.query import query_handlers
from services.audit.search import Search
from services.audit.store import READ_PARAMETERS, find_credential
from shared.clock import utc_now
from shared.credentials import Authenticator, Credential
from shared.db import DATABASE_ERRORS, Connection, connect, create_pool
from shared.identifiers import new_uuid7
from shared.observe.logs import AccessLog, configure_logging
from shared.observe.metrics import CollectorRegistry, HttpMetrics
from shared.observe.tracing import Tracing
from shared.problems import retry_later
from shared.release import SERVICE_VERSION
from shared.settings import AuditSettings
from shared.web.edge import Edge
from shared.web.gate import Gate
from shared.web.litestar_app import make_app
from shared.web.server import build_info
from shared.web.system import system_handlers

SERVICE = "audit"
_POOL_SIZE = 4


def create_app(settings: AuditSettings, *, documented: bool = False) -> Edge:
    """Make the whole service; nothing is connected before the ASGI lifespan begins."""
    logger = configure_logging(SERVICE, settings.log_level)
    registry = CollectorRegistry()
    tracing = Tracing(SERVICE, settings.instance, SERVICE_VERSION)
    access = AccessLog(SERVICE, settings.log_level)
    name = f"plystra-audit {settings.instance}"
    pool = create_pool(settings.app_dsn, f"{name} reads", max_size=_POOL_SIZE, parameters=READ_PARAMETERS)

    async def connect_writer() -> Connection:
        return await connect(settings.app_dsn, f"{name} sequencer", parameters=WRITE_PARAMETERS)

    async def load_credential(credential_id: str) -> Credential | None:
        try:
            async with pool.acquire(timeout=2.0) as session:
                return await find_credential(session, credential_id)
        except DATABASE_ERRORS as error:
            raise retry_later(
                "database_unavailable", "API keys cannot be looked up at present.", log_detail=repr(error)
            ) from error

    metrics = LogMetrics(registry)
    log = Log(
        connect_writer,
        OwnEvents(settings.instance, new_uuid7),
        clock=utc_now,
        monotonic=time.monotonic,
        logger=logger,
        metrics=metrics,
    )
    health = Health(pool, log, metrics, build_info(settings))

    @contextlib.asynccontextmanager
    async def life(_: Litestar) -> AsyncIterator[None]:
        async with pool:
            writing = asyncio.create_task(log.run())
            logger.info("started", instance=settings.instance, version=SERVICE_VERSION)
            try:
                await log.wait_settled(2.0)
                yield
            finally:
                log.close()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(settings.drain_seconds):
                        await writing
                access.flush()
                tracing.close()
                logger.info("stopped", instance=settings.instance, log_size=log.size)

    app = make_app(
        documented=documented,
        handlers=[
            *system_handlers(
                service=SERVICE,
                version=health.version,
                version_kind=AuditVersion,
                probe=health.probe,
                registry=registry,
                before_metrics=health.refresh_metrics,
            ),
            *ingest_handlers(log),
            *query_handlers(Search(pool)),
        ],
        authenticator=Authenticator(load_credential, utc_now, time.monotonic),
        logger=logger,
        lifespan=[life],
        title="Plystra audit",
        description="What was decided and changed, by whom, when and why: a log that accepts additions only.",
    )
    return Edge(app, access=access, gate=Gate(), logger=logger, metrics=HttpMetrics(registry), tracing=tracing)
