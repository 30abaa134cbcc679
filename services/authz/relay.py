"""Guarantee 2, delivered exactly once in effect: ships the outbox to audit, in each writer's order, until acknowledged.

One relay is active per database: it holds an advisory lock, which ends with its session, so any replica takes over. It
remembers per writer how far audit has acknowledged. Killed at any point, it sends again what it had not yet marked, and
audit recognises it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final, Literal

import asyncpg
import msgspec

from services.authz.delivery import Delivery, Refused, Unavailable, split_events
from services.authz.store import SQL
from shared.clock import Clock
from shared.compression import new_compressor
from shared.db import DATABASE_ERRORS, Connection
from shared.envelope import MAX_BATCH_BYTES, MAX_BATCH_EVENTS
from shared.observe.logs import Logger
from shared.observe.tracing import Tracing

# What is put around the events and between commits must fit as well: into a body, and into what audit reads out of it.
MAX_WIRE_BYTES: Final = 1_000_000
MAX_EVENTS_BYTES: Final = MAX_BATCH_BYTES - 1_024
# How long commits gather before the next delivery, unless a whole batch waits already. Each delivery costs audit a commit
# of its own, whatever its size; nobody is served by a record that arrives a few hundredths of a second sooner.
GATHER_SECONDS: Final = 0.05
LEAD_RETRY_SECONDS: Final = 0.5
UPKEEP_SECONDS: Final = 5.0
MAX_BACKOFF_SECONDS: Final = 5.0
FAREWELL_SECONDS: Final = 3.0


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the outbox: the events of one group commit."""

    events: bytes
    events_length: int | None
    first_sequence: int
    last_sequence: int
    recorded_at: datetime
    traceparents: list[str] | None
    writer_id: int

    @property
    def frame(self) -> bytes:
        """The events as they are delivered: a frame of Zstandard."""
        return new_compressor()(self.events) if self.events_length is None else self.events

    @property
    def size(self) -> int:
        """How many bytes the events have as JSON."""
        return len(self.events) if self.events_length is None else self.events_length


Delivered = Literal["nothing", "little", "much"]


def _fullness(commits: Sequence[Commit]) -> float:
    """How much of a batch's limits they take up, of whichever they take most."""
    return max(
        sum(len(commit.events) for commit in commits) / MAX_WIRE_BYTES,
        sum(commit.size for commit in commits) / MAX_EVENTS_BYTES,
        sum(commit.last_sequence - commit.first_sequence + 1 for commit in commits) / MAX_BATCH_EVENTS,
    )


class Relay:
    """The active relay, or one that waits to become it."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        delivery: Delivery,
        *,
        instance: str,
        clock: Clock,
        monotonic: Callable[[], float],
        logger: Logger,
        tracing: Tracing,
    ) -> None:
        self._connect = connect
        self._delivery = delivery
        self._instance = instance
        self._clock = clock
        self._monotonic = monotonic
        self._logger = logger
        self._tracing = tracing
        self._stopping = asyncio.Event()
        self._upkeep_at = 0.0
        self._failing = False

    def stop(self) -> None:
        """Ask the relay to end: it delivers what is there for a bounded time, then returns from `run`."""
        self._stopping.set()

    async def run(self) -> None:
        """Relay until stopped, through crashes of either database or service."""
        while not self._stopping.is_set():
            connection = None
            try:
                connection = await self._connect()
                if await connection.fetchval(SQL["lead_relay"]):
                    self._logger.info("relay_leads", instance=self._instance)
                    await self._lead(connection)
                else:
                    await self._pause(LEAD_RETRY_SECONDS)
            except DATABASE_ERRORS as error:
                self._logger.warning("relay_lost_database", reason=repr(error))
                await self._pause(LEAD_RETRY_SECONDS)
            finally:
                if connection is not None:
                    connection.terminate()

    async def _lead(self, connection: Connection) -> None:
        backoff = GATHER_SECONDS
        farewell: float | None = None
        # What the relay before this one noted of a failure is out of date with the first delivery.
        self._failing = True
        while True:
            if self._stopping.is_set():
                farewell = farewell or self._monotonic() + FAREWELL_SECONDS
                if self._monotonic() > farewell:
                    return
            try:
                delivered = await self._deliver_next(connection)
                backoff = GATHER_SECONDS
                if self._failing:
                    self._failing = False
                    await connection.execute(SQL["note_relay_error"], None)
            except Unavailable as error:
                if self._stopping.is_set():
                    return
                await self._note_failure(connection, str(error))
                await self._pause(backoff)
                backoff = min(backoff * 2, MAX_BACKOFF_SECONDS)
                continue
            # What was committed before the stop is there to be read by a look that began after it.
            if delivered == "nothing" and farewell is not None:
                return
            if delivered != "much":
                await self._pause(GATHER_SECONDS)
            if self._monotonic() >= self._upkeep_at:
                await self._upkeep(connection)

    async def _deliver_next(self, connection: Connection) -> Delivered:
        """Deliver one batch and mark it; `much` when there is likely to be a next one."""
        rows = await connection.fetch(SQL["read_undelivered"], MAX_WIRE_BYTES, MAX_EVENTS_BYTES, MAX_BATCH_EVENTS)
        if not rows:
            return "nothing"
        commits = [Commit(**dict(row)) for row in rows]
        traceparents = [t for commit in commits for t in commit.traceparents or ()]
        with self._tracing.batch_span("deliver events", traceparents) as traceparent:
            try:
                await self._delivery.deliver([c.frame for c in commits], traceparent)
            except Refused as refusal:
                self._logger.error("batch_refused", reason=str(refusal), commits=len(commits))
                await self._deliver_singly(connection, commits, traceparent)
        reached: dict[int, int] = {}
        for commit in commits:
            reached[commit.writer_id] = max(commit.last_sequence, reached.get(commit.writer_id, -1))
        await connection.execute(SQL["mark_delivered"], list(reached), list(reached.values()))
        now = self._clock()
        lag = max(0, int((now - commits[0].recorded_at).total_seconds() * 1000))
        await connection.execute(SQL["note_relay_seen"], self._instance, now, lag)
        return "much" if _fullness(commits) > 1 / 4 else "little"

    async def _deliver_singly(self, connection: Connection, commits: list[Commit], traceparent: str | None) -> None:
        """Find the event that audit refuses and set it aside, so that it does not hold up the others."""
        compress = new_compressor()
        for commit in commits:
            for sequence, event in enumerate(split_events(commit.frame), start=commit.first_sequence):
                try:
                    await self._delivery.deliver([compress(event)], traceparent)
                except Refused as refusal:
                    self._logger.error(
                        "event_refused", writer_id=commit.writer_id, sequence=sequence, reason=str(refusal)
                    )
                    await connection.execute(SQL["refuse_event"], commit.writer_id, sequence, str(refusal), event)

    async def _upkeep(self, connection: Connection) -> None:
        self._upkeep_at = self._monotonic() + UPKEEP_SECONDS
        ended = [row["writer_id"] for row in await connection.fetch(SQL["find_ended_writers"])]
        if ended:
            await connection.execute(SQL["mark_drained"], ended)
        try:
            await connection.fetchval(SQL["reclaim_outbox"])
        except asyncpg.LockNotAvailableError:
            self._logger.info("outbox_reclaim_postponed", reason="a slot is in use")
        await connection.execute(SQL["note_relay_seen"], self._instance, None, None)

    async def _note_failure(self, connection: Connection, reason: str) -> None:
        self._failing = True
        self._logger.warning("delivery_failed", reason=reason)
        await connection.execute(SQL["note_relay_error"], reason)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not beyond `stop`."""
        if self._stopping.is_set():
            await asyncio.sleep(min(seconds, GATHER_SECONDS))
            return
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
