"""What `/ready`, `/version` and `/metrics` say of audit: database, migrations, the log and who writes it."""

from __future__ import annotations

from typing import Final

import asyncpg

from services.audit.log import Log, Role
from services.audit.metrics import LogMetrics
from services.audit.store import read_log_size, read_migrations
from shared.db import DATABASE_ERRORS, Pool, Session
from shared.envelope import ENVELOPE_VERSION
from shared.migrations.lockfile import required_migrations
from shared.release import SERVICE_VERSION
from shared.web.migrated import migrated_check
from shared.web.system import Build, ReadyCheck, Version

_ROLES: Final[dict[Role, str]] = {
    "leader": "This process writes the log.",
    "standby": "Another process writes the log; this one takes over when that one's session ends.",
    "disconnected": "The session that writes the log cannot be had.",
}


class AuditVersion(Version, frozen=True, kw_only=True):
    """Which code and schema this is; `event_version` is the version of the event contract that it reads."""

    event_version: int


class Health:
    """Looks at the service from outside its hot path."""

    def __init__(self, pool: Pool, log: Log, metrics: LogMetrics, build: Build) -> None:
        self._pool = pool
        self._log = log
        self._metrics = metrics
        self._build = build
        self._required = required_migrations("audit")

    async def probe(self) -> list[ReadyCheck]:
        """Run every check; those that need the database fail together when it is away."""
        try:
            async with self._pool.acquire(timeout=2.0) as session:
                migrated = migrated_check("audit", self._required, await _applied(session))
                checks = [ReadyCheck(name="database", ok=True, detail="The database answers."), migrated]
                if not migrated.ok:
                    return checks
                size = await read_log_size(session)
        except DATABASE_ERRORS as error:
            detail = f"The database of audit cannot be reached ({type(error).__name__})."
            return [ReadyCheck(name="database", ok=False, detail=detail)]
        role = self._log.role
        return [
            *checks,
            ReadyCheck(
                name="log",
                ok=role != "disconnected",
                detail=_ROLES[role],
                figures={"role": role, "log_size": size},
            ),
        ]

    async def version(self) -> AuditVersion:
        """Say which code and schema this is; the schema is None while the database is away."""
        try:
            async with self._pool.acquire(timeout=2.0) as session:
                applied = await _applied(session)
        except DATABASE_ERRORS:
            applied = []
        return AuditVersion(
            build=self._build,
            schema_version=applied[-1] if applied else None,
            service="audit",
            service_version=SERVICE_VERSION,
            event_version=ENVELOPE_VERSION,
        )

    async def refresh_metrics(self) -> None:
        """Read the log's size, which a standby's writer doesn't know; it keeps its last value while that fails."""
        try:
            async with self._pool.acquire(timeout=2.0) as session:
                self._metrics.size.set(await read_log_size(session))
        except DATABASE_ERRORS:
            return


async def _applied(session: Session) -> list[str]:
    try:
        return await read_migrations(session)
    except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError):
        return []
