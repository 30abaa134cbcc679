"""The laws of the evaluation: the engine agrees with the oracle, and holds whatever the facts happen to be."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import Any

import msgspec
from hypothesis import HealthCheck, assume, event, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from services.authz.engine import decide, settling_candidates
from services.authz.model import Facts, GrantedPermission, Question, Verdict
from tests.unit.chance import SCOPES, World, any_granted, seeded_world, worlds
from tests.unit.oracle import EVERY_DENY_CODE, Shown, consult, is_candidate
from tests.unit.worlds import ABROAD, HOME, NOW, PLAIN, QUESTION, TICK, granted, holding, put, retold

SAMPLE = 20_000

SPOILS = (
    ("grant.status", "revoked"),
    ("role.status", "disabled"),
    ("grant.not_before", NOW + 2 * TICK),
    ("grant.expires_at", NOW - 2 * TICK),
    ("permission.action", "reject"),
    ("permission.resource_type", "contract"),
)

law = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

any_scope = st.sampled_from(SCOPES)


def shown_by(verdict: Verdict) -> Counter[Shown]:
    """What the verdict says of its candidates, in the oracle's words."""
    return Counter(
        Shown(one.grant.id, one.permission.id, one.scope_check.covered, one.scope_check.deny_code)
        for one in verdict.candidates
    )


def written(verdict: Verdict) -> bytes:
    """The verdict's bytes, for `True == 1` in Python but not in an event."""
    return msgspec.json.encode(verdict)


def is_foreign(one: GrantedPermission, question: Question) -> bool:
    """Whether a part of it lies outside the actor's Space, or it is held by another member."""
    parts = {one.role.space_id, one.grant.space_id, one.anchor.space_id if one.anchor else question.actor.space_id}
    return parts != {question.actor.space_id} or one.grant.member_id != question.actor.member_id


def test_the_engine_agrees_with_the_oracle_on_a_sample_in_which_every_outcome_occurs() -> None:
    outcomes: Counter[str] = Counter()
    shown: Counter[str] = Counter()
    for seed in range(SAMPLE):
        world = seeded_world(seed)
        opinion, verdict = consult(*world), decide(*world)
        assert (verdict.decision, verdict.deny_code) == (opinion.decision, opinion.deny_code), f"seed {seed}"
        assert shown_by(verdict) == opinion.counted, f"seed {seed}"
        outcomes[verdict.deny_code or "allow"] += 1
        shown.update(one.scope_check.deny_code or "covered" for one in verdict.candidates)
    assert set(outcomes) == EVERY_DENY_CODE | {"allow"}
    assert min(outcomes.values()) >= SAMPLE // 200, outcomes
    assert min(shown.values()) >= SAMPLE // 20, shown


@law
@given(worlds())
def test_the_engine_agrees_with_the_oracle(world: World) -> None:
    opinion, verdict = consult(*world), decide(*world)
    event(verdict.deny_code or "allow")
    assert (verdict.decision, verdict.deny_code) == (opinion.decision, opinion.deny_code), world
    assert frozenset(shown_by(verdict)) == opinion.shown, world
    assert shown_by(verdict) == opinion.counted, world


def _inline(one: GrantedPermission) -> GrantedPermission:
    for where in ("grant.id", "permission.id", "role.id"):
        one = put(one, where, None)
    return one


TWINS = (_inline(granted()), _inline(granted(expires_at=NOW)), _inline(put(granted(), "anchor.space_id", ABROAD)))


@law
@given(worlds())
@example(World(holding(*TWINS), QUESTION, NOW)).via("inline grants that differ in nothing but validity or Space")
def test_the_order_of_the_grants_never_shows_in_the_verdict(world: World) -> None:
    verdicts = {
        written(decide(holding(*order, facts=world.facts), world.question, world.now))
        for order in permutations(world.facts.granted)
    }
    assert len(verdicts) == 1


@law
@given(worlds())
def test_the_same_question_twice_has_the_same_answer_and_leaves_the_facts_alone(world: World) -> None:
    before = msgspec.json.encode(world.facts)
    assert written(decide(*world)) == written(decide(*world))
    assert msgspec.json.encode(world.facts) == before


@law
@given(worlds())
def test_a_verdict_is_derived_again_from_its_own_candidates(world: World) -> None:
    verdict = decide(*world)
    assert written(decide(retold(world.facts, verdict), world.question, world.now)) == written(verdict)


def test_the_settling_candidates_alone_derive_the_same_decision() -> None:
    for seed in range(SAMPLE // 4):
        facts, question, now = seeded_world(seed)
        verdict = decide(facts, question, now)
        settling = settling_candidates(verdict.candidates, question, verdict.decisive)
        assert len(settling) == min(1, len(verdict.candidates))
        kept = replace(verdict, candidates=tuple(verdict.candidates[index] for index in settling))
        again = decide(retold(facts, kept), question, now)
        assert again.candidates == kept.candidates, f"seed {seed}"
        assert (again.checks, again.deny_code, again.reason) == (verdict.checks, verdict.deny_code, verdict.reason)


@law
@given(worlds())
def test_a_trace_read_back_from_its_bytes_derives_the_same_verdict(world: World) -> None:
    facts = msgspec.json.decode(msgspec.json.encode(world.facts), type=Facts)
    assert written(decide(facts, world.question, world.now)) == written(decide(*world))


@law
@given(worlds(), any_granted(), st.sampled_from(SPOILS))
def test_a_grant_that_is_no_candidate_never_shows_in_the_verdict(
    world: World, one: GrantedPermission, spoil: tuple[str, Any]
) -> None:
    more = holding(*world.facts.granted, put(one, *spoil), facts=world.facts)
    assert written(decide(more, world.question, world.now)) == written(decide(*world))


@law
@given(worlds())
def test_removing_a_grant_never_turns_deny_into_allow_unless_it_was_a_foreign_candidate(world: World) -> None:
    """Grants add up, so fewer of them allow less; but a foreign candidate is a veto, not a grant.

    The law in full: without a grant that is no foreign candidate, a deny stays a deny. Without a foreign candidate,
    a `CROSS_SPACE_VIOLATION` may lift (the input is consistent again), and no other deny can.
    """
    facts, question, now = world
    verdict = decide(*world)
    assume(verdict.decision == "deny")
    for index, one in enumerate(facts.granted):
        fewer = holding(*facts.granted[:index], *facts.granted[index + 1 :], facts=facts)
        if decide(fewer, question, now).decision == "allow":
            assert is_candidate(one, question, now)
            assert is_foreign(one, question)
            assert verdict.deny_code == "CROSS_SPACE_VIOLATION"


def test_removing_a_foreign_candidate_can_turn_deny_into_allow() -> None:
    foreign = put(granted(grant_id="grant_2"), "role.space_id", ABROAD)
    assert decide(holding(granted(), foreign), QUESTION, NOW).deny_code == "CROSS_SPACE_VIOLATION"
    assert decide(holding(granted()), QUESTION, NOW).decision == "allow"


@law
@given(worlds())
def test_fewer_grants_never_allow_more_where_nothing_is_foreign(world: World) -> None:
    facts, question, now = world
    home = tuple(one for one in facts.granted if not is_foreign(one, question))
    decisions = [
        decide(holding(*home[:count], facts=facts), question, now).decision == "allow" for count in range(len(home) + 1)
    ]
    assert decisions == sorted(decisions)


@law
@given(worlds(), any_granted())
def test_adding_a_grant_of_the_same_space_never_turns_allow_into_deny(world: World, one: GrantedPermission) -> None:
    facts, question, now = world
    facts = holding(*(kept for kept in facts.granted if not is_foreign(kept, question)), facts=facts)
    assume(not is_foreign(one, question))
    before, after = decide(facts, question, now), decide(holding(*facts.granted, one, facts=facts), question, now)
    assert (before.decision, after.decision) != ("allow", "deny")


@law
@given(worlds(), any_scope, st.sampled_from(["role.space_id", "grant.space_id", "anchor.space_id", "grant.member_id"]))
def test_a_foreign_candidate_is_never_allowed_past(world: World, scope: str, where: str) -> None:
    foreign = put(put(granted(scope), "grant.member_id", world.question.actor.member_id), where, ABROAD)
    verdict = decide(holding(*world.facts.granted, foreign, facts=world.facts), world.question, world.now)
    assert verdict.decision == "deny"


@law
@given(worlds())
def test_the_verdict_is_the_union_of_what_each_candidate_alone_would_say(world: World) -> None:
    facts, question, now = world
    assume(not any(is_foreign(one, question) for one in facts.granted))
    alone = {decide(holding(one, facts=facts), question, now).decision for one in facts.granted}
    assert decide(*world).decision == ("allow" if "allow" in alone else "deny")


@law
@given(worlds())
def test_renaming_every_space_changes_no_outcome(world: World) -> None:
    names = {HOME: "space_x", ABROAD: "space_y"}
    text = msgspec.json.encode({"facts": world.facts, "question": world.question}).decode()
    for old, new in names.items():
        text = text.replace(f'"{old}"', f'"{new}"')
    renamed = msgspec.json.decode(text)
    facts, question = msgspec.convert(renamed["facts"], Facts), msgspec.convert(renamed["question"], Question)
    assert decide(facts, question, world.now).deny_code == decide(*world).deny_code


@law
@given(worlds())
def test_time_alone_changes_the_outcome_only_at_the_ends_of_windows(world: World) -> None:
    """Between two neighbouring ends nothing happens: far before and far after all of them, the hour is irrelevant."""
    facts, question, _ = world
    for ever in (-1, 1):
        far, farther = NOW + ever * 1000 * TICK, NOW + ever * 10**12 * TICK
        assert written(decide(facts, question, far)) == written(decide(facts, question, farther))


def test_the_plain_world_allows() -> None:
    assert decide(PLAIN, QUESTION, NOW).decision == "allow"
    assert decide(replace(PLAIN, granted=()), QUESTION, NOW).decision == "deny"
