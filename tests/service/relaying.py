"""The relay between a real outbox, filled by hand, and a server in audit's place."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Final, Self

import msgspec
import structlog

from services.authz.delivery import HttpDelivery
from services.authz.relay import Relay
from shared.clock import utc_now
from shared.compression import decompress, new_compressor
from shared.db import connect
from shared.envelope import MAX_BATCH_BYTES
from shared.observe.tracing import Tracing
from tests.service.authz_service import INSTANCE, AuthzDatabase

DEADLINE_SECONDS: Final = 20.0
REASON: Final = "so the test wants it"


class StubAudit:
    """A server in audit's place, which keeps the batches that it gets and answers each as a test tells it to."""

    def __init__(self) -> None:
        """Prepare one that acknowledges everything; an `answer` of None lets the relay wait for ever."""
        self.answer: Callable[[list[bytes]], int | None] = lambda _: 200
        self.received: list[list[bytes]] = []
        self.bodies: list[int] = []
        self.acknowledged: list[list[bytes]] = []
        self.url = ""

    @property
    def events(self) -> list[bytes]:
        """All that was acknowledged, in order."""
        return [event for batch in self.acknowledged for event in batch]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
                assert length is not None
                assert b"\r\ncontent-encoding: zstd\r\n" in head.lower()
                self.bodies.append(int(length[1]))
                batch = _events_in(await reader.readexactly(int(length[1])))
                self.received.append(batch)
                status = self.answer(batch)
                if status is None:
                    await reader.read()  # until the relay has given up
                    return
                if status == 200:
                    self.acknowledged.append(batch)
                body = REASON.encode()
                writer.write(b"HTTP/1.1 %d x\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body))


def _events_in(body: bytes) -> list[bytes]:
    batch = msgspec.json.decode(decompress(body, MAX_BATCH_BYTES), type=dict[str, list[msgspec.Raw]])
    return [bytes(event) for event in batch["events"]]


@dataclasses.dataclass(frozen=True)
class RunningRelay:
    """A relay at work, and the task that it is."""

    relay: Relay
    life: asyncio.Task[None]

    async def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self.relay.stop()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await self.life


class Outbox(AuthzDatabase):
    """What writers leave in authz's database, and what the relay makes of it."""

    def register(self, source: str, stream: str = "changes") -> int:
        """Make a writer; one of `decisions` counts as ended when nobody holds its lock."""
        statement = (
            "insert into authz.outbox_writer (source, epoch, stream) values (%s, 1, %s) returning writer_id::int"
        )
        return int(self.sql(statement, source, stream)[0][0])

    def put(self, writer: int, first: int, events: Sequence[bytes], *, compressed: bool = True) -> list[bytes]:
        """Add one commit of a writer; one that isn't compressed is from before 0007.outbox_compressed."""
        joined = b",".join(events)
        self.sql(
            "insert into authz.outbox (slot, writer_id, first_sequence, last_sequence, events, events_length)"
            " select slot, %s, %s, %s, %s, %s from authz.outbox_rotation",
            writer,
            first,
            first + len(events) - 1,
            new_compressor()(joined) if compressed else joined,
            len(joined) if compressed else None,
        )
        return list(events)

    def delivered(self, writer: int) -> int:
        """The last sequence of a writer that is marked as delivered, -1 before the first."""
        return int(self.sql("select delivered_sequence from authz.outbox_writer where writer_id = %s", writer)[0][0])

    def waiting(self) -> int:
        """How many commits aren't marked as delivered."""
        statement = (
            "select count(*) from authz.outbox o join authz.outbox_writer w using (writer_id)"
            " where o.last_sequence > w.delivered_sequence"
        )
        return int(self.sql(statement)[0][0])

    def refused(self) -> list[tuple[int, int, bytes]]:
        """What was set aside: writer, sequence and event."""
        statement = "select writer_id::int, sequence::int, event from authz.outbox_refused order by 1, 2"
        return [(writer, sequence, event) for writer, sequence, event in self.sql(statement)]

    def last_error(self) -> str | None:
        """What the relay notes of its last failure, None when it delivers."""
        error: str | None = self.sql("select last_error from authz.relay")[0][0]
        return error

    async def drained(self) -> None:
        """Wait until everything is marked as delivered."""
        await until(lambda: self.waiting() == 0)

    def stands_by(self, part: str) -> bool:
        """Whether the relay of that name has asked for the lead and waits for it."""
        query = (
            "select 1 from pg_stat_activity where datname = %s and application_name = %s and state = 'idle'"
            " and query like '%%pg_try_advisory_lock%%'"
        )
        return bool(self.as_superuser(query, self.database.name, f"plystra-authz {INSTANCE} {part}"))

    @contextlib.asynccontextmanager
    async def relayed_to(
        self, audit: StubAudit, *, part: str = "relay", monotonic: Callable[[], float] = time.monotonic
    ) -> AsyncIterator[RunningRelay]:
        """Run a relay for as long as the block lasts, and end it by force; `part` names its session."""
        delivery = HttpDelivery(audit.url, "a key")
        relay = Relay(
            lambda: connect(self.database.app_dsn, f"plystra-authz {INSTANCE} {part}"),
            delivery,
            instance=f"test/{part}",
            clock=utc_now,
            monotonic=monotonic,
            logger=structlog.get_logger(),
            tracing=Tracing("test", "test", "0"),
        )
        running = RunningRelay(relay, asyncio.create_task(relay.run()))
        try:
            yield running
        finally:
            running.life.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running.life
            await delivery.close()


async def until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds; fails at the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"it did not come true within {DEADLINE_SECONDS:g} s"
        await asyncio.sleep(0.01)


def documents(name: str, count: int, size: int = 0) -> list[bytes]:
    """Events of one writer as the outbox keeps them, numbered from 0; their form is nothing to the relay."""
    return [msgspec.json.encode({"name": name, "number": number, "rest": "x" * size}) for number in range(count)]


def of(name: str, events: Sequence[bytes]) -> list[int]:
    """The numbers of one writer's events, in their order."""
    decoded = [msgspec.json.decode(event) for event in events]
    return [event["number"] for event in decoded if event["name"] == name]
