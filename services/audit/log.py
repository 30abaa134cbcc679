"""The sequencer: one session writes the log, and everything that waits is appended in one commit.

The session holds an advisory lock, so of several processes one writes; the lock ends with the session, and another
takes over. An append is acknowledged only after its commit (guarantee 2): on any failure nothing is, the head is read
anew, and the producer's repetition finds by event id what the failed commit may have left.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from msgspec.structs import astuple

from services.audit.metrics import LogMetrics
from services.audit.model import Conflict, Receipt
from services.audit.own_events import OwnEvents
from services.audit.placement import Placement, Refused, Stored, place
from services.audit.store import SQL
from shared.clock import Clock
from shared.db import DATABASE_ERRORS, Connection
from shared.observe.logs import Logger
from shared.problems import Problem, ProblemError, retry_later
from shared.recorded import Recorded
from shared.web.context import RequestContext

Role = Literal["disconnected", "standby", "leader"]
Connect = Callable[[], Awaitable[Connection]]

# Lookups by id and index must never be planned as a scan, however fresh and unanalyzed a table is; a group's new rows
# stay in memory while the law is checked; a lock held by somebody else must not hold up producers for long.
WRITE_PARAMETERS: Final = {
    "enable_seqscan": "off",
    "lock_timeout": "5s",
    "statement_timeout": "20s",
    "synchronous_commit": "on",
    "work_mem": "32MB",
}
MAX_GROUP_BYTES: Final = 4 * 1024 * 1024
MAX_QUEUED_BYTES: Final = 64 * 1024 * 1024
_COLUMNS: Final = ("log_index", "recorded_at", *Recorded.__struct_fields__)
# As audit.ensure_partition has it. A partition is made when the log comes within half a partition of it.
_PARTITION_BITS: Final = 20
_AHEAD: Final = 2**19
_STANDBY_SECONDS: Final = 0.25
_FIRST_DELAY_SECONDS: Final = 0.05
_LAST_DELAY_SECONDS: Final = 1.0
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Appended(NamedTuple):
    """What became of a batch: a receipt for each event, and the log's size once it was in."""

    receipts: list[Receipt]
    log_size: int


class _Batch(NamedTuple):
    events: Sequence[Recorded]
    context: RequestContext
    size: int
    arrived: float
    done: asyncio.Future[Appended]


class Log:
    """Appends batches; `run` is its life, `append` its use."""

    def __init__(
        self,
        connect: Connect,
        own_events: OwnEvents,
        *,
        clock: Clock,
        monotonic: Callable[[], float],
        logger: Logger,
        metrics: LogMetrics,
    ) -> None:
        self._connect = connect
        self._own_events = own_events
        self._clock = clock
        self._monotonic = monotonic
        self._logger = logger
        self._metrics = metrics
        self._queue: list[_Batch] = []
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self._closing = False
        self._recorded_at = _BEGINNING
        self._last_partition = -1
        self.role: Role = "disconnected"
        self.size = 0

    async def append(self, events: Sequence[Recorded], context: RequestContext) -> Appended:
        """Append a batch whole or not at all; returns when it is durable.

        Raises the problem `event_conflict` when the log has one of the ids with other bytes, and a 503 problem when the
        batch could not be written or that isn't certain: sending it again is safe and right.
        """
        if self._closing:
            raise retry_later("shutting_down", "The service is stopping; send the batch again.")
        if self.role == "standby":
            raise retry_later("not_the_sequencer", "Another process writes the log; send the batch there.")
        if self.role == "disconnected":
            raise retry_later("log_unavailable", "The log's database cannot be reached; send the batch again.")
        if self._queued_bytes >= MAX_QUEUED_BYTES:
            raise retry_later("log_unavailable", "Too many events wait to be written; send the batch again later.")
        size = sum(len(event.leaf) for event in events)
        done: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self._queue.append(_Batch(events, context, size, self._monotonic(), done))
        self._queued_bytes += size
        self._wake.set()
        return await done

    async def run(self) -> None:
        """Write the log when this process may, wait for that otherwise; reconnect after failures, until `close`."""
        delay = _FIRST_DELAY_SECONDS
        while not self._closing:
            connection: Connection | None = None
            try:
                connection = await self._connect()
                connection.add_termination_listener(self._lost)
                await self._become_leader(connection)
                delay = _FIRST_DELAY_SECONDS
                await self._write_until_closed(connection)
            except DATABASE_ERRORS as error:
                self._metrics.failures.inc()
                self._logger.warning("sequencer_lost", reason=repr(error), retry_in_seconds=delay)
            except Exception:
                # A process whose writer has died would look alive and take nothing for ever.
                self._metrics.failures.inc()
                self._logger.exception("sequencer_failed", retry_in_seconds=delay)
            finally:
                self._step_down()
                if connection is not None:
                    connection.terminate()
            if not self._closing:
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LAST_DELAY_SECONDS)

    async def wait_settled(self, timeout: float) -> Role:
        """Wait until this process is leader or standby, at most `timeout` seconds; returns its role then."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._settled.wait()
        return self.role

    def close(self) -> None:
        """Take no more batches; `run` returns when those that wait are written."""
        self._closing = True
        self._wake.set()

    async def _become_leader(self, connection: Connection) -> None:
        while not await connection.fetchval(SQL["lead_log"]):
            if self.role != "standby":
                self.role = "standby"
                self._settled.set()
                self._logger.info("sequencer_standby")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STANDBY_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            if self._closing:
                return
        head = await connection.fetchrow(SQL["read_head"])
        self.size = 0 if head is None else head["log_index"] + 1
        self._recorded_at = _BEGINNING if head is None else head["recorded_at"]
        self._last_partition = (self.size >> _PARTITION_BITS) - 1
        await self._make_partitions(connection)
        self._own_events.begin_epoch(self._clock())
        self._metrics.size.set(self.size)
        self._metrics.leads.set(1)
        self.role = "leader"
        self._settled.set()
        self._logger.info("sequencer_leads", log_size=self.size)

    async def _write_until_closed(self, connection: Connection) -> None:
        while True:
            while self._queue:
                group = self._take()
                try:
                    placement = await self._append_group(connection, group)
                except BaseException:
                    for batch in group:
                        _reject(batch)
                    raise
                self._settle(group, placement)
                await self._make_partitions(connection)
            if self._closing:
                return
            self._wake.clear()
            await self._wake.wait()
            if connection.is_closed():
                raise ConnectionError("the session that writes the log has ended")

    async def _append_group(self, connection: Connection, group: Sequence[_Batch]) -> Placement:
        known = await _find_known(connection, [event.event_id for batch in group for event in batch.events])
        now = self._clock()
        placement = place(self.size, [batch.events for batch in group], known)
        # An attempt to contradict the log is recorded before its author is told of it.
        placement.rows.extend(
            self._own_events.conflict_refused(outcome.conflicts, batch.context, now)
            for batch, outcome in zip(group, placement.outcomes, strict=True)
            if isinstance(outcome, Refused)
        )
        if placement.rows:
            recorded_at = max(now, self._recorded_at)
            # One statement, hence one transaction: the law of the log is checked and the event ids are noted within it.
            await connection.copy_records_to_table(
                "entry",
                schema_name="audit",
                columns=_COLUMNS,
                records=[
                    (index, recorded_at, *astuple(row)) for index, row in enumerate(placement.rows, start=self.size)
                ],
            )
            self.size += len(placement.rows)
            self._recorded_at = recorded_at
        return placement

    def _settle(self, group: Sequence[_Batch], placement: Placement) -> None:
        now = self._monotonic()
        for batch, outcome in zip(group, placement.outcomes, strict=True):
            self._metrics.batch.observe(len(batch.events))
            self._metrics.seconds.observe(now - batch.arrived)
            if isinstance(outcome, Refused):
                self._metrics.conflicts.inc(len(outcome.conflicts))
                _reject(batch, _conflict_problem(outcome.conflicts))
                continue
            appended = sum(receipt.status == "appended" for receipt in outcome.receipts)
            self._metrics.events.inc(appended)
            self._metrics.duplicates.inc(len(outcome.receipts) - appended)
            if not batch.done.done():
                batch.done.set_result(Appended(outcome.receipts, self.size))
        self._metrics.commit.observe(len(placement.rows))
        self._metrics.size.set(self.size)

    async def _make_partitions(self, connection: Connection) -> None:
        ahead = (self.size + _AHEAD) >> _PARTITION_BITS
        while self._last_partition < ahead:
            await connection.fetch(SQL["ensure_partition"], (self._last_partition + 1) << _PARTITION_BITS)
            self._last_partition += 1

    def _take(self) -> list[_Batch]:
        count = size = 0
        for batch in self._queue:
            size += batch.size
            if count and size > MAX_GROUP_BYTES:
                break
            count += 1
        group, self._queue = self._queue[:count], self._queue[count:]
        self._queued_bytes -= sum(batch.size for batch in group)
        return group

    def _step_down(self) -> None:
        self.role = "disconnected"
        self._settled.clear()
        self._metrics.leads.set(0)
        queue, self._queue, self._queued_bytes = self._queue, [], 0
        for batch in queue:
            _reject(batch)

    def _lost(self, _: object) -> None:
        self._wake.set()


async def _find_known(connection: Connection, event_ids: Sequence[str]) -> dict[str, Stored]:
    rows = await connection.fetch(SQL["find_log_indexes"], event_ids)
    if not rows:
        return {}
    stored = await connection.fetch(SQL["find_leaf_hashes"], [row["log_index"] for row in rows])
    hashes = {row["log_index"]: row["leaf_hash"] for row in stored}
    return {row["event_id"]: Stored(row["log_index"], hashes[row["log_index"]]) for row in rows}


def _reject(batch: _Batch, problem: Problem | None = None) -> None:
    if not batch.done.done():
        batch.done.set_exception(
            problem
            or retry_later("log_unavailable", "The batch could not be written, or not certainly; send it again.")
        )
        batch.done.exception()  # a caller that went away must not leave a warning behind


def _conflict_problem(conflicts: Sequence[Conflict]) -> Problem:
    return Problem(
        "event_conflict",
        f"{len(conflicts)} of the batch's events have an id that is taken by other bytes; nothing of the batch was "
        "appended. An event is never changed: send what is new under a new id.",
        errors=[
            ProblemError(
                pointer=f"/events/{conflict.position}",
                detail=f"event {conflict.event_id}: leaf hash {conflict.refused_hash.hex()} was sent, "
                f"{conflict.stored_hash.hex()} is stored"
                + ("" if conflict.log_index is None else f" at log index {conflict.log_index}"),
            )
            for conflict in conflicts
        ],
    )
