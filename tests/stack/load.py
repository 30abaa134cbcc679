"""A load on authz that forgets nothing: for each question its request id, and what came back of it."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import random
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Literal, Self
from urllib.parse import urlsplit

import msgspec

from shared.ctl.questions import QUESTIONS, Question
from tests.stack.process import DEADLINE_SECONDS, wait_until

_TIMEOUT_SECONDS: Final = 15.0
_RECONNECT_SECONDS: Final = 0.02

# How a question ended: `answered` by a whole response, `unsent` when the connection couldn't be had or broke before
# the last byte was handed over, `cut` when it broke after that.
End = Literal["answered", "unsent", "cut"]


@dataclasses.dataclass
class Asked:
    """One question, and all that its client knows of it."""

    request_id: str
    question: Question
    end: End = "unsent"
    status: int = 0
    code: str = ""
    decision_id: str = ""
    decision: str = ""
    deny_code: str | None = None
    retry_after: str | None = None
    why: str = ""

    @property
    def is_answered(self) -> bool:
        """Whether a decision came back."""
        return self.status == 200


class Load:
    """Questions over some connections at a bounded rate, from a thread of their own, while the block lasts."""

    def __init__(self, url: str, key: str, *, name: str, connections: int = 8, rate: float = 150.0) -> None:
        """Prepare; `name` begins every request id, `rate` is the most questions a second of all connections."""
        place = urlsplit(url)
        assert place.hostname
        assert place.port
        self._address = (place.hostname, place.port)
        self._key = key
        self._name = name
        self._connections = connections
        self._interval = connections / rate
        self._numbers = itertools.count()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name=f"load {name}")
        self.asked: list[Asked] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ask no more, and wait for the answers that are due."""
        self._stopping.set()
        self._thread.join(2 * _TIMEOUT_SECONDS)
        assert not self._thread.is_alive()

    @property
    def answered(self) -> int:
        """How many decisions came back so far."""
        return sum(asked.is_answered for asked in list(self.asked))

    def wait_answers(self, more: int, seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until so many more decisions have come back."""
        goal = self.answered + more
        wait_until(lambda: self.answered >= goal, seconds, f"{more} more answers")

    @property
    def in_flight(self) -> int:
        """How many questions were sent and wait for their answer."""
        return sum(asked.end == "cut" and not asked.why for asked in list(self.asked))

    def ended(self, end: End) -> list[Asked]:
        """The questions that ended so."""
        return [asked for asked in self.asked if asked.end == end]

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(self._connections):
                group.create_task(self._converse(random.Random(number)))

    async def _converse(self, chance: random.Random) -> None:
        """Ask one question after the other over one connection, and open another when it breaks."""
        connection: _Connection | None = None
        while not self._stopping.is_set():
            await asyncio.sleep(chance.uniform(0, 2 * self._interval))
            if self._stopping.is_set():
                break
            number = next(self._numbers)
            asked = Asked(f"{self._name}-{number}", QUESTIONS[number % len(QUESTIONS)])
            self.asked.append(asked)
            try:
                async with asyncio.timeout(_TIMEOUT_SECONDS):
                    if connection is None:
                        connection = _Connection(*await asyncio.open_connection(*self._address))
                    await connection.ask(asked, self._key)
            except (OSError, EOFError, asyncio.IncompleteReadError) as error:
                asked.why = repr(error)
                if connection is not None:
                    connection.close()
                connection = None
                await asyncio.sleep(_RECONNECT_SECONDS)
            else:
                if connection.is_over:
                    connection.close()
                    connection = None
        if connection is not None:
            connection.close()


class _Connection:
    """One HTTP/1.1 connection, as little of it as is needed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.is_over = False

    async def ask(self, asked: Asked, key: str) -> None:
        if self._reader.at_eof():
            raise EOFError("the server closed an idle connection")
        body = msgspec.json.encode(asked.question.body)
        head = (
            "POST /api/v1/authz/check HTTP/1.1\r\nhost: authz\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {key}\r\nx-request-id: {asked.request_id}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        await self._writer.drain()
        asked.end = "cut"
        status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(_split(lines))
        answer = msgspec.json.decode(await self._reader.readexactly(int(headers["content-length"])))
        assert headers["x-request-id"] == asked.request_id
        asked.end, asked.status = "answered", int(status.split()[1])
        asked.code, asked.retry_after = answer.get("code", ""), headers.get("retry-after")
        if asked.is_answered:
            data = answer["data"]
            asked.decision_id, asked.decision, asked.deny_code = (
                data["decision_id"],
                data["decision"],
                data["deny_code"],
            )
        self.is_over = headers.get("connection") == "close"

    def close(self) -> None:
        self._writer.close()


def _split(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        name, _, value = line.partition(":")
        yield name.lower(), value.strip()
