"""One question, asked of one process again and again without a pause, and when each answer came."""

from __future__ import annotations

import http.client
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

import msgspec

from shared.ctl.questions import Question
from tests.stack.process import DEADLINE_SECONDS, wait_until

_TIMEOUT_SECONDS: Final = 10.0


class Seen(NamedTuple):
    """One answer, with the seconds at which its question left and it arrived, by the machine's monotonic clock."""

    asked_at: float
    arrived_at: float
    status: int
    code: str
    revision: int
    deny_code: str | None


class Watch:
    """Asks over one connection from a thread of its own while the block lasts."""

    def __init__(self, url: str, key: str, question: Question) -> None:
        """Prepare; `key` is the API key to ask with."""
        place = urlsplit(url)
        assert place.hostname
        self._connection = http.client.HTTPConnection(place.hostname, place.port, timeout=_TIMEOUT_SECONDS)
        self._headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self._body = msgspec.json.encode(question.body)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch {url}")
        self.seen: list[Seen] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(2 * _TIMEOUT_SECONDS)
        assert not self._thread.is_alive()
        self._connection.close()

    def wait_answers(self, more: int, seconds: float = DEADLINE_SECONDS) -> None:
        """Wait until so many more answers have come."""
        goal = len(self.seen) + more
        wait_until(lambda: len(self.seen) >= goal, seconds, f"{more} more answers")

    def wait_revision(self, revision: int) -> None:
        """Wait until an answer names this revision or a later one."""
        wait_until(lambda: self.seen and self.seen[-1].revision >= revision, what=f"an answer of revision {revision}")

    def first_of(self, revision: int) -> Seen:
        """The first answer as of this revision or a later one."""
        return next(seen for seen in self.seen if seen.revision >= revision)

    def _run(self) -> None:
        while not self._stopping.is_set():
            with suppress(OSError, http.client.HTTPException):  # it connects anew by itself
                self.seen.append(self._ask())

    def _ask(self) -> Seen:
        asked_at = time.monotonic()
        self._connection.request("POST", "/api/v1/authz/check", self._body, self._headers)
        response = self._connection.getresponse()
        answer: dict[str, Any] = msgspec.json.decode(response.read())
        data = answer.get("data") or {}
        return Seen(
            asked_at=asked_at,
            arrived_at=time.monotonic(),
            status=response.status,
            code=answer.get("code", ""),
            revision=data.get("revision", 0),
            deny_code=data.get("deny_code"),
        )
