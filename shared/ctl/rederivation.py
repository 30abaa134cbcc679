"""One recorded decision derived again: from its trace alone, and from what the history says was stored.

Pure. Each check returns where the two part, in words for an operator, or None when they agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from shared.ctl.evaluation import evaluate, written
from shared.ctl.trace import Candidate, Facts, Trace

_MOST_SHOWN: Final = 3
_LONGEST_SHOWN: Final = 160
# Properties may nest deeper than Python likes to follow; what is further down is told as a whole.
_DEEPEST_SHOWN: Final = 16


def part_from_trace(trace: Trace, event_id: str) -> str | None:
    """Derive a decision from its trace alone, and tell where what was recorded is something else."""
    derived = evaluate(trace.facts, trace.question, trace.decided_at)
    told = trace.verdict
    if strange := [*_strange(trace, event_id)]:
        return "; ".join(strange[:_MOST_SHOWN])
    return None if written(told) == written(derived) else _parted(told, derived)


def part_from_history(trace: Trace, stored: Facts) -> str | None:
    """Derive a decision from what was stored, and tell where what was recorded is something else.

    The parts that came with the request are taken from the trace, which is all that has them.
    """
    facts = Facts(
        actor=trace.actor if "actor" in trace.inline else stored.actor,
        granted=trace.facts.granted if "grants" in trace.inline else stored.granted,
        registry=stored.registry,
        target=trace.target if "resource" in trace.inline else stored.target,
    )
    verdict = evaluate(facts, trace.question, trace.decided_at)
    told, derived = _essence(trace.facts, trace), _essence(facts, verdict)
    if trace.omitted_candidates and "grants" not in trace.inline:
        if len(verdict.candidates) != len(trace.candidates) + trace.omitted_candidates:
            shown = f"{len(trace.candidates)} shown and {trace.omitted_candidates} left out"
            return f"candidates: recorded {shown}, derived {len(verdict.candidates)}"
        derived["candidates"] = _shown_of(verdict.candidates, trace.candidates)
    return None if written(told) == written(derived) else _parted(told, derived)


def _essence(facts: Facts, answer: Any) -> dict[str, Any]:
    return {
        "decision": answer.decision,
        "deny_code": answer.deny_code,
        "actor": facts.actor,
        "target": facts.target,
        "registry": facts.registry,
        "candidates": answer.candidates,
    }


def _shown_of(every: tuple[Candidate, ...], shown: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """Return those of the candidates that a trace shows, in their order; it may leave some out, but invent none."""
    wanted = {written(one) for one in shown}
    return tuple(one for one in every if written(one) in wanted)


def _strange(trace: Trace, event_id: str) -> Iterator[str]:
    """Tell what in a trace isn't of the event, or of the question, that it is told of."""
    asked, actor, resource = trace.question, trace.actor, trace.target.resource
    kind, action = trace.registry.resource_type, trace.registry.action
    for name, found, expected in (
        ("decision_id", trace.decision_id, event_id),
        ("actor.user.id", actor.user and actor.user.id, actor.user and asked.actor.user_id),
        ("actor.space.id", actor.space and actor.space.id, actor.space and asked.actor.space_id),
        ("actor.member.id", actor.member and actor.member.id, actor.member and asked.actor.member_id),
        (
            "actor.user_member.id",
            actor.user_member and actor.user_member.id,
            actor.user_member and asked.actor.user_member_id,
        ),
        ("registry.resource_type.key", kind and kind.key, kind and asked.resource_type),
        ("registry.action.key", action and action.key, action and asked.action),
        ("target.resource.type", resource and resource.type, resource and asked.resource_type),
        ("target.resource.id", resource and (resource.id or resource.external_id), resource and asked.resource_id),
    ):
        if found != expected:
            yield f"{name} is {_short(found)}, asked was {_short(expected)}"


def _parted(told: Any, derived: Any) -> str:
    left, right = msgspec.to_builtins(told), msgspec.to_builtins(derived)
    found = [*_differences(left, right, "")]
    more = f"; and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
    return "; ".join(found[:_MOST_SHOWN]) + more


def _differences(told: Any, derived: Any, path: str, depth: int = 0) -> Iterator[str]:
    """Name the places, from the top down, in which two values of JSON aren't the same."""
    if written(told) == written(derived):
        return
    if isinstance(told, dict) and isinstance(derived, dict) and depth < _DEEPEST_SHOWN:
        for name in dict.fromkeys([*told, *derived]):
            place = f"{path}.{name}" if path else name
            if name in told and name in derived:
                yield from _differences(told[name], derived[name], place, depth + 1)
            else:
                yield f"{place}: {'only recorded' if name in told else 'only derived'}"
    elif isinstance(told, list | tuple) and isinstance(derived, list | tuple) and depth < _DEEPEST_SHOWN:
        if len(told) != len(derived):
            yield f"{path}: recorded {len(told)}, derived {len(derived)}"
        for index, (one, other) in enumerate(zip(told, derived, strict=False)):
            yield from _differences(one, other, f"{path}[{index}]", depth + 1)
    else:
        yield f"{path}: recorded {_short(told)}, derived {_short(derived)}"


def _short(value: Any) -> str:
    text = written(value).decode()
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
