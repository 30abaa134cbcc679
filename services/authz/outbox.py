"""Guarantee 1, recorded before answered: events are committed in groups, and `record` returns only after the commit.

One commit is under way at a time; what arrives meanwhile makes up the next one. So the sequences of a writer become
visible without a gap, and the more load there is, the more events share one fsync. When a commit fails, nobody knows
whether it took place: its questions are answered 503, and the writer goes on under a new epoch, so no sequence is used
twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final

import msgspec

from services.authz.store import SQL
from shared.clock import Clock, epoch_microseconds
from shared.compression import new_compressor
from shared.db import DATABASE_ERRORS, Connection
from shared.envelope import MAX_LEAF_BYTES, encode_event
from shared.observe.logs import Logger
from shared.observe.metrics import CollectorRegistry, Counter, Histogram
from shared.problems import Problem, retry_later

COMMIT_TIMEOUT_SECONDS: Final = 5.0
# A row of the outbox must fit into one delivery, or it would be delivered never.
MAX_COMMIT_BYTES: Final = 768 * 1024
# Beyond this many waiting events the service is slower than its callers; waiting longer helps nobody.
MAX_QUEUED: Final = 20_000

Connect = Callable[[], Awaitable[Connection]]


class _Pending(msgspec.Struct, frozen=True):
    event: bytes
    done: asyncio.Future[None]
    traceparent: str | None


class RecorderMetrics:
    """What the recorder tells of itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.batch = Histogram(
            "plystra_authz_commit_events",
            "Events in one group commit.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
            registry=registry,
        )
        self.seconds = Histogram(
            "plystra_authz_commit_seconds",
            "Time of one group commit.",
            buckets=(0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.25, 1.0, 5.0),
            registry=registry,
        )
        self.failures = Counter(
            "plystra_authz_commit_failures", "Group commits that failed; their questions got a 503.", registry=registry
        )


class Recorder:
    """Commits events into the outbox; `run` is its life, `record` its use."""

    def __init__(
        self,
        connect: Connect,
        *,
        source: str,
        clock: Clock,
        monotonic: Callable[[], float],
        logger: Logger,
        metrics: RecorderMetrics,
        max_events: int,
        has_room: Callable[[int], bool],
    ) -> None:
        self._connect = connect
        self._source = source
        self._clock = clock
        self._monotonic = monotonic
        self._logger = logger
        self._metrics = metrics
        self._max_events = max_events
        self._has_room = has_room
        self._compress = new_compressor()
        self._queue: list[_Pending] = []
        self._wake = asyncio.Event()
        self._connected = asyncio.Event()
        self._writer_id: int | None = None
        self._epoch = 0
        self._sequence = 0
        self._committed = 0  # of this epoch's events; the next group begins with this sequence
        self._closing = False
        self.recorded = 0

    @property
    def is_connected(self) -> bool:
        """Whether events can be committed at present."""
        return self._writer_id is not None

    async def record(
        self, kind: str, data: Any, *, event_id: str, occurred_at: datetime, traceparent: str | None = None
    ) -> None:
        """Commit one event; returns when it is durable, raises a 503 problem when that can't be said of it."""
        if self._writer_id is None or self._closing:
            raise retry_later("decision_not_recorded", "The outbox cannot be written at present; ask again.")
        if len(self._queue) >= MAX_QUEUED or not self._has_room(self._sequence - self._committed):
            raise retry_later(
                "outbox_full",
                "Too many events wait for delivery to audit; ask again when it has caught up.",
                seconds=5,
            )
        event = encode_event(
            data=data,
            epoch=self._epoch,
            event_id=event_id,
            kind=kind,
            occurred_at=occurred_at,
            sequence=self._sequence,
            source=self._source,
        )
        if len(event) > MAX_LEAF_BYTES:
            # Whoever writes events keeps them within this; one that audit never takes must not get into the outbox.
            raise Problem("internal_error", "The decision's trace is too large to be recorded.")
        self._sequence += 1
        done = asyncio.get_running_loop().create_future()
        self._queue.append(_Pending(event, done, traceparent))
        self._wake.set()
        await done

    async def run(self) -> None:
        """Keep a connection and commit what is queued, until `close`."""
        delay = 0.05
        while not self._closing:
            connection = None
            try:
                connection = await self._connect()
                await self._register(connection)
            except DATABASE_ERRORS as error:
                if connection is not None:
                    connection.terminate()
                self._logger.warning("outbox_unreachable", reason=repr(error), retry_in_seconds=delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 1.0)
                continue
            delay = 0.05
            try:
                await self._commit_until_closed(connection)
            except DATABASE_ERRORS as error:
                self._metrics.failures.inc()
                self._logger.error("commit_failed", reason=repr(error))
            finally:
                self._writer_id = None
                self._connected.clear()
                self._reject_all()
                connection.terminate()

    async def wait_connected(self, timeout: float) -> bool:
        """Wait until events can be committed; False when that takes longer than `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._connected.wait()
        return self.is_connected

    def close(self) -> None:
        """Take no more events; `run` returns when those that are queued are committed."""
        self._closing = True
        self._wake.set()

    async def _register(self, connection: Connection) -> None:
        self._epoch = max(self._epoch + 1, epoch_microseconds(self._clock()))
        # One transaction: nobody may see this writer before its session holds the lock that says it lives.
        async with connection.transaction():
            writer_id = int(await connection.fetchval(SQL["register_writer"], self._source, self._epoch, "decisions"))
            await connection.fetch(SQL["hold_writer"], writer_id)
        self._sequence = self._committed = 0
        self._writer_id = writer_id
        self._connected.set()

    async def _commit_until_closed(self, connection: Connection) -> None:
        # asyncpg leaves open what preparing began: by itself it would hold its locks until the first event is committed.
        async with connection.transaction():
            insert = await connection.prepare(SQL["record_events"])
        # A session that ends while nobody asks is replaced at once, instead of at the expense of the next question.
        connection.add_termination_listener(lambda _: self._wake.set())
        while True:
            await self._wake.wait()
            self._wake.clear()
            if connection.is_closed() and not self._queue:
                self._logger.warning("outbox_session_ended")
                return
            while self._queue:
                group = self._take()
                started = self._monotonic()
                try:
                    traceparents = [p.traceparent for p in group if p.traceparent is not None]
                    events = b",".join([p.event for p in group])
                    await insert.fetch(
                        self._writer_id,
                        self._committed,
                        self._committed + len(group) - 1,
                        traceparents or None,
                        self._compress(events),
                        len(events),
                        timeout=COMMIT_TIMEOUT_SECONDS,
                    )
                except BaseException:
                    for pending in group:
                        _reject(pending)
                    raise
                self._committed += len(group)
                self.recorded += len(group)
                for pending in group:
                    if not pending.done.done():
                        pending.done.set_result(None)
                self._metrics.batch.observe(len(group))
                self._metrics.seconds.observe(self._monotonic() - started)
            if self._closing:
                return

    def _take(self) -> list[_Pending]:
        count = size = 0
        for pending in self._queue[: self._max_events]:
            size += len(pending.event) + 1
            if size > MAX_COMMIT_BYTES:
                break
            count += 1
        group, self._queue = self._queue[:count], self._queue[count:]
        return group

    def _reject_all(self) -> None:
        queue, self._queue = self._queue, []
        for pending in queue:
            _reject(pending)


def _reject(pending: _Pending) -> None:
    with contextlib.suppress(asyncio.InvalidStateError):
        pending.done.set_exception(
            retry_later("decision_not_recorded", "The decision could not be recorded; ask again.")
        )
        pending.done.exception()  # a caller that went away must not leave a warning behind
