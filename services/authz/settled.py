"""A verdict in the form it is given in: its event and its answer as bytes, with gaps for what differs each time.

The engine is pure, so as long as no fact changes and no validity begins or ends, the same question has the same verdict.
It can then be given again by filling four gaps (when, under which id, as of which revision, for which request) instead of
gathering, evaluating and encoding anew. What is recorded is the same, byte for byte, as if it had been.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from services.authz.engine import decide, holds_between, settling_candidates
from services.authz.model import TRACE_VERSION, Facts, Purpose, Question, RequestOrigin, Trace
from shared.envelope import MAX_LEAF_BYTES, encode_data
from shared.web.answers import Answer

# What an event may need beyond the fixed part of its trace: the envelope, the request's origin, ids, times, revision.
_ROOM_BYTES: Final = 3_072
# No byte of JSON: inside a string it would be written \u0000.
_MARK: Final = b"\x00"
_GAP: Final[Any] = Raw(_MARK)


class CheckData(msgspec.Struct, frozen=True, kw_only=True):
    """A decision; `decision_id` is its event's id in the log, `revision` that of its facts; `purpose` is only for the past."""

    allow: bool
    decision: Literal["allow", "deny"]
    deny_code: str | None
    reason: str
    decision_id: str
    revision: int
    decided_at: datetime
    purpose: Literal["as_of"] | UnsetType = UNSET


class Settled(msgspec.Struct, frozen=True, gc=False):
    """A verdict that holds strictly between two moments; `trace` and `answer` are the bytes around their gaps."""

    after: datetime
    answer: tuple[bytes, ...]
    before: datetime
    decision: str
    deny_code: str
    is_inline: bool
    purpose: Purpose
    trace: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """How many bytes it keeps."""
        return sum(map(len, self.trace)) + sum(map(len, self.answer))

    def holds_at(self, now: datetime) -> bool:
        """Tell whether the verdict is still that of its facts."""
        return self.after < now < self.before


class Given(msgspec.Struct, frozen=True, gc=False):
    """One giving of a verdict: the trace to record, and the answer's bytes."""

    answer: bytes
    decision_id: str
    trace: bytes


def settle(
    facts: Facts, question: Question, now: datetime, inline: tuple[str, ...], purpose: Purpose = "live"
) -> Settled:
    """Evaluate a question; `inline` names the parts of its facts that came with the request."""
    verdict = decide(facts, question, now)
    after, before = holds_between(facts, now)
    trace = Trace(
        actor=facts.actor,
        candidates=verdict.candidates,
        checks=verdict.checks,
        decided_at=_GAP,
        decision=verdict.decision,
        decision_id=_GAP,
        decisive=verdict.decisive,
        deny_code=verdict.deny_code,
        inline=inline,
        omitted_candidates=0,
        purpose=purpose,
        question=question,
        reason=verdict.reason,
        registry=facts.registry,
        request=_GAP,
        revision=_GAP,
        target=facts.target,
        trace_version=TRACE_VERSION,
    )
    answer = CheckData(
        allow=verdict.decision == "allow",
        decision=verdict.decision,
        deny_code=verdict.deny_code,
        reason=verdict.reason,
        decision_id=_GAP,
        revision=_GAP,
        decided_at=_GAP,
        purpose=UNSET if purpose == "live" else purpose,
    )
    return Settled(
        after=after,
        answer=tuple(encode_data(Answer(data=answer, request_id=_GAP)).split(_MARK)),
        before=before,
        decision=verdict.decision,
        deny_code=verdict.deny_code or "",
        is_inline=bool(inline),
        purpose=purpose,
        trace=tuple(_fitting(trace).split(_MARK)),
    )


def give(settled: Settled, now: datetime, revision: int, decision_id: str, request: RequestOrigin) -> Given:
    """Fill the gaps: the verdict as given at `now`, as of a revision, to one request."""
    # Neither id needs escaping: one is ours, the other has no quotes, backslashes or control characters.
    decided_at, written_id, written_revision = encode_data(now), b'"%b"' % decision_id.encode(), b"%d" % revision
    first, second, third, fourth, last = settled.trace
    trace = b"".join(
        (first, decided_at, second, written_id, third, encode_data(request), fourth, written_revision, last)
    )
    first, second, third, fourth, last = settled.answer
    request_id = b'"%b"' % request.request_id.encode()
    answer = b"".join((first, written_id, second, written_revision, third, decided_at, fourth, request_id, last))
    return Given(answer, decision_id, trace)


def _fitting(trace: Trace) -> bytes:
    """Encode a trace within what an event can hold: candidates are left out, but none that settles the decision."""
    limit, keep = MAX_LEAF_BYTES - _ROOM_BYTES, len(trace.candidates)
    encoded = encode_data(trace)
    if len(encoded) <= limit:
        return encoded
    settling = settling_candidates(trace.candidates, trace.question, trace.decisive)
    while len(encoded) > limit and keep > 0:
        keep //= 2
        indexes = sorted({*range(keep), *settling})
        decisive = trace.decisive
        if decisive.candidate is not None:
            decisive = msgspec.structs.replace(decisive, candidate=indexes.index(decisive.candidate))
        encoded = encode_data(
            msgspec.structs.replace(
                trace,
                candidates=tuple(trace.candidates[i] for i in indexes),
                decisive=decisive,
                omitted_candidates=len(trace.candidates) - len(indexes),
            )
        )
    return encoded
