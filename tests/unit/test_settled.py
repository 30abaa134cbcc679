"""A settled verdict: given again, it is what would be settled anew; and it ends when a validity begins or ends."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

import msgspec
from msgspec.structs import replace

from services.authz.engine import decide, holds_between
from services.authz.model import Facts, RequestOrigin, Trace
from services.authz.settled import give, settle
from shared.envelope import MAX_LEAF_BYTES, encode_data
from tests.unit.chance import World, seeded_world
from tests.unit.worlds import NOW, PLAIN, QUESTION, granted, group, holding, put

SAMPLE = 3_000
HOUR = timedelta(hours=1)
EVENT_ID = "01a2059f-8017-7291-98ac-48ffd1f70845"
REQUEST = RequestOrigin(
    credential_id="gje5amiued30h0fq",
    inline=False,
    ip="203.0.113.7",
    request_id="req_{}'\x7e",
    span_id=None,
    trace_id=None,
    user_agent='an "agent" \\ of € sorts',
)


def moments_of(facts: Facts) -> list[datetime]:
    """Every moment at which a validity among the facts begins or ends."""
    binding = facts.actor.user_member
    found = [binding.expires_at if binding else None]
    for one in facts.granted:
        found += [one.grant.not_before, one.grant.expires_at]
    return [moment for moment in found if moment is not None]


def in_the_course_of_a_day(seed: int) -> World:
    """A world whose validities begin and end on full hours around `NOW`, and which is asked at some half or full hour."""
    chance, world = Random(seed), seeded_world(seed)

    def moment() -> datetime | None:
        return chance.choice([None, NOW + chance.randint(-4, 4) * HOUR])

    facts = put(world.facts, "actor.user_member.expires_at", moment()) if chance.random() < 0.5 else world.facts
    grants = tuple(put(put(g, "grant.not_before", moment()), "grant.expires_at", moment()) for g in facts.granted)
    return World(replace(facts, granted=grants), world.question, NOW + chance.randint(-10, 10) * HOUR / 2)


def test_between_the_moments_the_verdict_stays_the_same_and_they_are_those_at_which_it_may_change() -> None:
    changed = 0
    for seed in range(SAMPLE):
        facts, question, now = in_the_course_of_a_day(seed)
        after, before = holds_between(facts, now)
        moments = moments_of(facts)
        if now in moments:
            assert (after, before) == (now, now), f"seed {seed}"
            continue
        assert after == max((m for m in moments if m < now), default=datetime.min.replace(tzinfo=NOW.tzinfo))
        assert before == min((m for m in moments if m > now), default=datetime.max.replace(tzinfo=NOW.tzinfo))
        verdict = msgspec.json.encode(decide(facts, question, now))
        for half_hours in range(-12, 13):
            then = NOW + half_hours * HOUR / 2
            same = msgspec.json.encode(decide(facts, question, then)) == verdict
            assert same or not after < then < before, f"seed {seed} at {then}"
            changed += not same
    assert changed > SAMPLE, "no world in the sample depends on the time"


def test_a_verdict_given_again_is_what_would_be_settled_anew() -> None:
    given_again = 0
    for seed in range(SAMPLE):
        facts, question, now = in_the_course_of_a_day(seed)
        first = settle(facts, question, now, ())
        for then in (now, now + HOUR / 4, now - HOUR / 4, now + HOUR, now - HOUR):
            if first.holds_at(then):
                anew = settle(facts, question, then, ())
                assert give(first, then, seed, EVENT_ID, REQUEST) == give(anew, then, seed, EVENT_ID, REQUEST)
                given_again += then != now
    assert given_again > SAMPLE


def test_what_is_given_is_the_trace_in_canonical_form_and_an_answer_that_agrees_with_it() -> None:
    for seed in range(SAMPLE):
        facts, question, now = seeded_world(seed)
        given = give(settle(facts, question, now, ("grants",)), now, 41, EVENT_ID, REQUEST)
        trace = msgspec.json.decode(given.trace, type=Trace)
        verdict = decide(facts, question, now)
        assert (trace.candidates, trace.checks, trace.decisive) == (
            verdict.candidates,
            verdict.checks,
            verdict.decisive,
        )
        assert (trace.actor, trace.registry, trace.target) == (facts.actor, facts.registry, facts.target)
        assert (trace.decided_at, trace.decision_id, trace.revision, trace.request) == (now, EVENT_ID, 41, REQUEST)
        assert (trace.inline, trace.omitted_candidates) == (("grants",), 0)
        assert encode_data(trace) == given.trace
        assert msgspec.json.decode(given.answer) == {
            "data": {
                "allow": verdict.deny_code is None,
                "decision": verdict.decision,
                "deny_code": verdict.deny_code,
                "reason": verdict.reason,
                "decision_id": EVENT_ID,
                "revision": 41,
                "decided_at": msgspec.to_builtins(trace)["decided_at"],
            },
            "request_id": REQUEST.request_id,
        }


def test_the_largest_trace_leaves_room_for_the_longest_request() -> None:
    path = "a" * 16_384
    anchor = replace(group("finance"), path=path)
    facts = holding(*(granted(anchor=anchor, grant_id=f"grant_{n}") for n in range(9)))
    facts = put(facts, "target.group.path", path)
    longest = replace(REQUEST, request_id="x" * 128, user_agent='"' * 256, ip="ffff:" * 7 + "255.255.255.255")
    longest = replace(longest, trace_id="a" * 32, span_id="b" * 16)
    sizes = []
    for length in range(8_000, 12_000, 50):
        settled = settle(put(facts, "target.resource.properties", {"a": "x" * length}), QUESTION, NOW, ())
        given = give(settled, NOW, 2**53 - 1, EVENT_ID, longest)
        trace = msgspec.json.decode(given.trace, type=Trace)
        assert trace.omitted_candidates == 9 - len(trace.candidates) > 0
        sizes.append(len(given.trace))
    # The envelope around it holds two ids of at most 100 and 36 characters, three numbers, a time and its keys.
    assert MAX_LEAF_BYTES - 4_096 < max(sizes) <= MAX_LEAF_BYTES - 512


def test_a_string_of_the_facts_that_looks_like_a_gap_is_none() -> None:
    facts = put(PLAIN, "target.resource.properties", {"a\x00b": "\x00", "b": "\\u0000"})
    settled = settle(facts, QUESTION, NOW, ())
    assert (len(settled.trace), len(settled.answer)) == (5, 5)
    trace = msgspec.json.decode(give(settled, NOW, 1, EVENT_ID, REQUEST).trace, type=Trace)
    assert trace.target.resource == facts.target.resource
