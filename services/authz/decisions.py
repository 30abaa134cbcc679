"""Takes a decision and records it: facts, then the engine, then the outbox, and only then the answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple

from msgspec import Raw

from services.authz.asking import Asked, invalid
from services.authz.cache import Cache, Entry
from services.authz.facts import FactSource
from services.authz.model import Question, RequestOrigin
from services.authz.outbox import Recorder
from services.authz.past import Past
from services.authz.settled import Given, Settled, give, settle
from shared.clock import Clock
from shared.envelope import DECISION_AS_OF, DECISION_MADE
from shared.observe.metrics import Tally
from shared.observe.tracing import traceparent_of
from shared.web.context import RequestContext

# What is larger is not remembered: the memory's limit counts entries, and must bound bytes as well.
_MAX_REMEMBERED_BYTES: Final = 8_192


class Taken(NamedTuple):
    """A verdict, the moment it was taken at, and the revision of the facts it was taken on."""

    settled: Settled
    now: datetime
    revision: int


class Decisions:
    """The one way to a decision; what `record` returns is durable."""

    def __init__(
        self,
        facts: FactSource,
        past: Past,
        remembered: Cache[bytes, Settled],
        recorder: Recorder,
        *,
        clock: Clock,
        new_event_id: Callable[[], str],
        counts: Tally,
    ) -> None:
        self._facts = facts
        self._past = past
        self._remembered = remembered
        self._recorder = recorder
        self._clock = clock
        self._new_event_id = new_event_id
        self._counts = counts

    def recall(self, body: bytes) -> Taken | None:
        """Return the verdict on a question that was asked before in the same words, if it is certain that it holds.

        The words may hold the revision that the facts must have at least: it was reached then, so it still is.
        """
        entry = self._remembered.get(body)
        if entry is None:
            return None
        revision, now = self._facts.known_revision(), self._clock()
        if revision is None or not entry.value.holds_at(now):
            return None
        return Taken(entry.value, now, revision)

    async def take(self, asked: Asked, *, body: bytes | None = None) -> Taken:
        """Evaluate a question, and remember the verdict for the same `body`; raises a 503 problem without facts.

        What is asked about the past is never remembered, whatever the `body`.
        """
        if asked.as_of is not None:
            return await self._look_back(asked.question, asked.as_of)
        known = await self._facts.gather(asked.question, asked.inline, asked.at_least_revision)
        now = self._clock()
        settled = settle(known.facts, asked.question, now, asked.inline.names())
        if body is not None and known.tokens and len(body) + settled.size <= _MAX_REMEMBERED_BYTES:
            self._remembered.put(body, Entry(settled, known.revision, known.tokens))
        return Taken(settled, now, known.revision)

    async def _look_back(self, question: Question, as_of: int | datetime) -> Taken:
        if isinstance(as_of, datetime) and as_of > self._clock():
            raise invalid("/as_of", "lies in the future, which nobody knows; give a time that has passed")
        then = await self._past.gather(question, as_of)
        return Taken(settle(then.facts, question, then.now, (), "as_of"), then.now, then.revision)

    async def record(self, taken: Taken, context: RequestContext) -> Given:
        """Record a verdict under the request that it is given to; raises a 503 problem when that can't be had."""
        settled, now, revision = taken
        given = give(
            settled,
            now,
            revision,
            self._new_event_id(),
            RequestOrigin(
                credential_id=context.credential_id or "",
                inline=settled.is_inline,
                ip=context.ip,
                request_id=context.request_id,
                span_id=context.span_id,
                trace_id=context.trace_id,
                user_agent=context.user_agent,
            ),
        )
        is_live = settled.purpose == "live"
        await self._recorder.record(
            DECISION_MADE if is_live else DECISION_AS_OF,
            Raw(given.trace),
            event_id=given.decision_id,
            occurred_at=now if is_live else self._clock(),
            traceparent=traceparent_of(context),
        )
        if is_live:
            self._counts.add((settled.decision, settled.deny_code))
        return given
