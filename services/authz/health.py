"""What `/ready`, `/version` and `/metrics` say of authz: database, migrations, tail, outbox, relay, maintenance."""

from __future__ import annotations

import time
from datetime import datetime

import asyncpg
from prometheus_client import Gauge

from services.authz.backlog import RelayState, Waiting, read_relay, read_waiting
from services.authz.maintenance import Maintenance
from services.authz.model import TRACE_VERSION
from services.authz.outbox import Recorder
from services.authz.store import SQL
from services.authz.tail import Tail
from shared.clock import utc_now
from shared.db import DATABASE_ERRORS, Pool, Session
from shared.migrations.lockfile import required_migrations
from shared.observe.metrics import CollectorRegistry
from shared.release import SERVICE_VERSION
from shared.settings import AuthzSettings
from shared.web.migrated import migrated_check
from shared.web.system import Build, ReadyCheck, Version


class AuthzVersion(Version, frozen=True, kw_only=True):
    """Which code and schema this is; `trace_version` is the version of the trace that decisions carry."""

    trace_version: int


class Health:
    """Looks at the service from outside its hot path."""

    def __init__(
        self,
        pool: Pool,
        *,
        tail: Tail,
        recorder: Recorder,
        maintenance: Maintenance,
        settings: AuthzSettings,
        registry: CollectorRegistry,
        build: Build,
    ) -> None:
        self._pool = pool
        self._tail = tail
        self._recorder = recorder
        self._maintenance = maintenance
        self._settings = settings
        self._build = build
        self._required = required_migrations("authz")
        self._depth = Gauge("plystra_authz_outbox_depth", "Events that wait for delivery.", registry=registry)
        self._oldest = Gauge(
            "plystra_authz_outbox_oldest_age_seconds", "Age of the oldest event that waits.", registry=registry
        )
        self._lag = Gauge(
            "plystra_authz_delivery_lag_seconds",
            "From commit in authz to acknowledgement by audit, of the last delivered batch.",
            registry=registry,
        )
        self._refused = Gauge("plystra_authz_outbox_refused", "Events that audit will never take.", registry=registry)
        self._tail_age = Gauge(
            "plystra_authz_tail_age_seconds",
            "Since the log of changes was last followed to its end.",
            registry=registry,
        )
        self._revision = Gauge("plystra_authz_revision", "Revision that is followed.", registry=registry)

    async def probe(self) -> list[ReadyCheck]:
        """Run every check; those that need the database fail together when it is away."""
        return [*await self._probe_work(), self._maintenance.ready_check()]

    async def _probe_work(self) -> list[ReadyCheck]:
        try:
            async with self._pool.acquire(timeout=2.0) as connection:
                applied = await self._applied(connection)
                missing = migrated_check("authz", self._required, applied)
                checks = [ReadyCheck(name="database", ok=True, detail="The database answers."), missing]
                if not missing.ok:
                    return checks
                waiting, relay = await read_waiting(connection), await read_relay(connection)
        except DATABASE_ERRORS as error:
            detail = f"The database of authz cannot be reached ({type(error).__name__})."
            return [ReadyCheck(name="database", ok=False, detail=detail)]
        return [*checks, self._tail_check(), self._outbox_check(waiting), self._relay_check(relay)]

    async def version(self) -> AuthzVersion:
        """Say which code and schema this is; the schema is None while the database is away."""
        try:
            async with self._pool.acquire(timeout=2.0) as connection:
                applied = await self._applied(connection)
        except DATABASE_ERRORS:
            applied = []
        return AuthzVersion(
            build=self._build,
            schema_version=applied[-1] if applied else None,
            service="authz",
            service_version=SERVICE_VERSION,
            trace_version=TRACE_VERSION,
        )

    async def refresh_metrics(self) -> None:
        """Read the gauges that live in the database; they keep their last value while it is away."""
        self._tail_age.set(min(self._tail.age, 1e9))
        self._revision.set(self._tail.revision)
        try:
            async with self._pool.acquire(timeout=2.0) as connection:
                waiting, relay = await read_waiting(connection), await read_relay(connection)
        except DATABASE_ERRORS:
            return
        self._depth.set(waiting.events)
        self._oldest.set(_age(waiting.oldest_at))
        self._lag.set((relay.delivered_lag_ms or 0) / 1000)
        self._refused.set(relay.refused)

    async def _applied(self, connection: Session) -> list[str]:
        try:
            return [row["id"] for row in await connection.fetch(SQL["read_migrations"])]
        except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError):
            return []

    def _tail_check(self) -> ReadyCheck:
        age, bound = self._tail.age, self._settings.staleness_ms / 1000
        ok = age <= bound
        return ReadyCheck(
            name="tail",
            ok=ok,
            detail="The log of changes is followed."
            if ok
            else f"The log of changes was last followed {age:.1f} s ago, beyond the bound of {bound} s.",
            figures={"revision": self._tail.revision, "age_seconds": round(min(age, 1e9), 3)},
        )

    def _outbox_check(self, waiting: Waiting) -> ReadyCheck:
        ceiling = self._settings.outbox_ceiling
        if not self._recorder.is_connected:
            ok, detail = False, "The outbox cannot be written."
        elif waiting.events >= ceiling:
            ok, detail = False, f"{waiting.events} events wait for delivery, at or beyond the ceiling of {ceiling}."
        else:
            ok, detail = True, "Decisions can be recorded."
        return ReadyCheck(
            name="outbox",
            ok=ok,
            detail=detail,
            figures={
                "waiting": waiting.events,
                "oldest_age_seconds": round(_age(waiting.oldest_at), 3),
                "ceiling": ceiling,
                "recorded": self._recorder.recorded,
            },
        )

    def _relay_check(self, relay: RelayState) -> ReadyCheck:
        # Delivery may be late without making an answer wrong, so it is shown here but never makes authz unready.
        if relay.last_error is not None:
            detail = f"Delivery to audit fails at present: {relay.last_error[:200]}"
        elif relay.seen_at is None or time.time() - relay.seen_at.timestamp() > 15:
            detail = "No relay is at work; events wait in the outbox."
        elif relay.refused:
            detail = f"audit refused {relay.refused} events for good; see authz.outbox_refused."
        else:
            detail = "Events are delivered to audit."
        return ReadyCheck(
            name="relay",
            ok=True,
            detail=detail,
            figures={
                "instance": relay.instance,
                "seen_age_seconds": round(_age(relay.seen_at), 3),
                "delivery_lag_ms": relay.delivered_lag_ms,
                "refused": relay.refused,
            },
        )


def _age(moment: datetime | None) -> float:
    return 0.0 if moment is None else max(0.0, (utc_now() - moment).total_seconds())
