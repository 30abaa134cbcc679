"""The composition root of authz: everything is made here, once, and handed to what needs it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from litestar import Litestar

from services.authz.backlog import Backlog
from services.authz.cache import Cache, Changes
from services.authz.commands import COMMAND_PARAMETERS, Commands
from services.authz.decisions import Decisions
from services.authz.directory import LIST_PARAMETERS, Directory
from services.authz.facts import FactSource
from services.authz.health import AuthzVersion, Health
from services.authz.importing import Importing
from services.authz.maintenance import Maintenance
from services.authz.outbox import Recorder, RecorderMetrics
from services.authz.past import READ_PARAMETERS, Past
from services.authz.policies import Policies
from services.authz.routes.check import CHECK_PATH, EXPLAIN_PATH, check_handlers, lean_check
from services.authz.routes.directory import directory_handlers
from services.authz.routes.importing import import_handlers
from services.authz.routes.policy import policy_handlers
from services.authz.settled import CheckData, Settled
from services.authz.store import find_credential
from services.authz.tail import Tail
from shared.clock import utc_now
from shared.credentials import Authenticator, Credential
from shared.db import DATABASE_ERRORS, Connection, connect, create_pool
from shared.identifiers import new_id, new_uuid7
from shared.observe.logs import AccessLog, configure_logging
from shared.observe.metrics import CollectorRegistry, HttpMetrics, Tally
from shared.observe.tracing import Tracing
from shared.problems import retry_later
from shared.release import SERVICE_VERSION
from shared.settings import AuthzSettings
from shared.web.answers import Answer
from shared.web.edge import Edge
from shared.web.gate import Gate
from shared.web.litestar_app import LeanOperation, make_app
from shared.web.server import build_info
from shared.web.system import system_handlers

SERVICE = "authz"


def create_app(settings: AuthzSettings, *, documented: bool = False) -> Edge:  # noqa: PLR0915  # makes everything
    """Make the whole service; nothing is connected before the ASGI lifespan begins."""
    logger = configure_logging(SERVICE, settings.log_level)
    registry = CollectorRegistry()
    tracing = Tracing(SERVICE, settings.instance, SERVICE_VERSION)
    access = AccessLog(SERVICE, settings.log_level)
    pool = create_pool(settings.app_dsn, f"plystra-authz {settings.instance} facts", max_size=4)
    # Sessions of their own: whoever looks into the past takes none from those who ask about now.
    past_pool = create_pool(
        settings.app_dsn, f"plystra-authz {settings.instance} past", max_size=2, parameters=READ_PARAMETERS
    )

    async def connect_tail() -> Connection:
        return await connect(settings.app_dsn, f"plystra-authz {settings.instance} tail")

    async def connect_outbox() -> Connection:
        return await connect(settings.app_dsn, f"plystra-authz {settings.instance} outbox")

    async def load_credential(credential_id: str) -> Credential | None:
        try:
            async with pool.acquire(timeout=2.0) as connection:
                return await find_credential(connection, credential_id)
        except DATABASE_ERRORS as error:
            raise retry_later(
                "database_unavailable", "API keys cannot be looked up at present.", log_detail=repr(error)
            ) from error

    changes = Changes()
    tail = Tail(connect_tail, changes, time.monotonic, logger)
    facts = FactSource(
        pool,
        tail,
        changes,
        staleness_seconds=settings.staleness_ms / 1000,
        cache_entries=settings.cache_entries,
    )
    recorder = Recorder(
        connect_outbox,
        source=settings.instance,
        clock=utc_now,
        monotonic=time.monotonic,
        logger=logger,
        metrics=RecorderMetrics(registry),
        max_events=settings.commit_max_events,
        has_room=lambda unrecorded: backlog.has_room(unrecorded),  # noqa: PLW0108  # the backlog is made below
    )
    backlog = Backlog(pool, lambda: recorder.recorded, settings.outbox_ceiling)
    remembered: Cache[bytes, Settled] = Cache(changes, settings.verdict_entries)
    counts = Tally("plystra_authz_decisions", "Recorded live decisions.", ("decision", "deny_code"), registry)
    decisions = Decisions(
        facts, Past(past_pool, tail), remembered, recorder, clock=utc_now, new_event_id=new_uuid7, counts=counts
    )
    authenticator = Authenticator(load_credential, utc_now, time.monotonic)
    readers = create_pool(
        settings.app_dsn, f"plystra-authz {settings.instance} directory", max_size=4, parameters=LIST_PARAMETERS
    )
    writers = create_pool(
        settings.app_dsn, f"plystra-authz {settings.instance} commands", max_size=4, parameters=COMMAND_PARAMETERS
    )
    commands = Commands(writers, clock=utc_now, new_event_id=new_uuid7)
    directory = Directory(readers, tail)
    policies = Policies(commands, directory, new_id)
    # Half of the outbox is left to decisions: no import, however large, lets authz refuse to decide.
    importing = Importing(commands, has_room=lambda: backlog.has_room(settings.outbox_ceiling // 2))
    gate = Gate()
    maintenance = Maintenance(pool, gate, logger)
    health = Health(
        pool,
        tail=tail,
        recorder=recorder,
        maintenance=maintenance,
        settings=settings,
        registry=registry,
        build=build_info(settings),
    )

    @contextlib.asynccontextmanager
    async def life(_: Litestar) -> AsyncIterator[None]:
        async with pool, past_pool, readers, writers:
            await maintenance.look()  # before the first request
            tasks = [asyncio.create_task(run()) for run in (tail.run, backlog.run, maintenance.run)]
            recording = asyncio.create_task(recorder.run())
            logger.info("started", instance=settings.instance, version=SERVICE_VERSION)
            try:
                await recorder.wait_connected(2.0)
                yield
            finally:
                recorder.close()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(settings.drain_seconds):
                        await recording
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                access.flush()
                tracing.close()
                logger.info("stopped", instance=settings.instance, recorded=recorder.recorded)

    app = make_app(
        documented=documented,
        handlers=[
            *system_handlers(
                service=SERVICE,
                version=health.version,
                version_kind=AuthzVersion,
                probe=health.probe,
                registry=registry,
                before_metrics=health.refresh_metrics,
            ),
            *check_handlers(decisions, authenticator),
            *directory_handlers(commands, directory),
            *policy_handlers(policies),
            *import_handlers(importing),
        ],
        authenticator=authenticator,
        logger=logger,
        lifespan=[life],
        title="Plystra authz",
        description="May this User, acting through this Member of this Space, do this action on this resource?",
        lean=[
            LeanOperation(
                answer=Answer[CheckData],
                path=CHECK_PATH,
                like=EXPLAIN_PATH,
                operation_id="check",
                summary="May this actor do this action on this resource?",
                description="Decides, records the decision, and answers: a deny is an answer too (HTTP 200).",
            )
        ],
    )
    return Edge(
        app,
        access=access,
        gate=gate,
        logger=logger,
        metrics=HttpMetrics(registry),
        tracing=tracing,
        lean={CHECK_PATH: lean_check(decisions, authenticator)},
    )
