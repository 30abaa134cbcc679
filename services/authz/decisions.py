"""Takes a decision and records it: facts, then the engine, then the outbox, and only then the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from services.authz.engine import decide, settling_candidates
from services.authz.facts import FactSource, InlineFacts
from services.authz.model import TRACE_VERSION, Question, RequestOrigin, Trace
from services.authz.outbox import EventTooLarge, Recorder
from shared.clock import Clock
from shared.envelope import MAX_LEAF_BYTES
from shared.observe.metrics import CollectorRegistry, Counter
from shared.observe.tracing import traceparent_of
from shared.web.context import RequestContext

DECISION_MADE: Final = "decision.made"
# What the envelope around a trace may take of an event's bytes.
_ENVELOPE_BYTES: Final = 1_024


class Decisions:
    """The one way to a decision; what it returns is durable."""

    def __init__(
        self,
        facts: FactSource,
        recorder: Recorder,
        *,
        clock: Clock,
        new_event_id: Callable[[], str],
        registry: CollectorRegistry,
    ) -> None:
        self._facts = facts
        self._recorder = recorder
        self._clock = clock
        self._new_event_id = new_event_id
        self._counter = Counter(
            "plystra_authz_decisions", "Recorded decisions.", ("decision", "deny_code"), registry=registry
        )
        self._children: dict[tuple[str, str], Counter] = {}
        self._encoder = msgspec.json.Encoder()

    async def decide(self, question: Question, inline: InlineFacts, context: RequestContext) -> Trace:
        """Decide and record; raises a 503 problem when either the facts or the record can't be had."""
        known = await self._facts.gather(question, inline)
        now = self._clock()
        verdict = decide(known.value, question, now)
        facts, inline_names = known.value, inline.names()
        trace = Trace(
            actor=facts.actor,
            candidates=verdict.candidates,
            checks=verdict.checks,
            decided_at=now,
            decision=verdict.decision,
            decision_id=self._new_event_id(),
            decisive=verdict.decisive,
            deny_code=verdict.deny_code,
            inline=inline_names,
            omitted_candidates=0,
            question=question,
            reason=verdict.reason,
            registry=facts.registry,
            request=RequestOrigin(
                credential_id=context.credential_id or "",
                inline=bool(inline_names),
                ip=context.ip,
                request_id=context.request_id,
                span_id=context.span_id,
                trace_id=context.trace_id,
                user_agent=context.user_agent,
            ),
            revision=known.revision,
            target=facts.target,
            trace_version=TRACE_VERSION,
        )
        try:
            await self._record(trace, context)
        except EventTooLarge:
            trace = self._abridged(trace)
            await self._record(trace, context)
        self._count(trace.decision, trace.deny_code or "")
        return trace

    async def _record(self, trace: Trace, context: RequestContext) -> None:
        await self._recorder.record(
            DECISION_MADE,
            trace,
            event_id=trace.decision_id,
            occurred_at=trace.decided_at,
            traceparent=traceparent_of(context),
        )

    def _count(self, decision: str, deny_code: str) -> None:
        child = self._children.get((decision, deny_code))
        if child is None:
            child = self._children[(decision, deny_code)] = self._counter.labels(decision, deny_code)
        child.inc()

    def _abridged(self, trace: Trace) -> Trace:
        """Keep a trace within what an event can hold: leave candidates out, but none that settles the decision."""
        limit, keep = MAX_LEAF_BYTES - _ENVELOPE_BYTES, len(trace.candidates)
        settling = settling_candidates(trace.candidates, trace.question, trace.decisive)
        whole = trace
        while len(self._encoder.encode(trace)) > limit and keep > 0:
            keep //= 2
            indexes = sorted({*range(keep), *settling})
            decisive = trace.decisive
            if whole.decisive.candidate is not None:
                decisive = msgspec.structs.replace(decisive, candidate=indexes.index(whole.decisive.candidate))
            trace = msgspec.structs.replace(
                whole,
                candidates=tuple(whole.candidates[i] for i in indexes),
                decisive=decisive,
                omitted_candidates=len(whole.candidates) - len(indexes),
            )
        return trace
