"""The evaluation that `plystractl authz replay` derives with agrees with the engine and with the oracle."""

from __future__ import annotations

from collections import Counter

import msgspec
from hypothesis import HealthCheck, given, settings
from msgspec.structs import replace

from services.authz import model
from services.authz.engine import decide, settling_candidates
from shared.ctl import trace
from shared.ctl.evaluation import evaluate, written
from tests.unit.chance import World, seeded_world, worlds
from tests.unit.oracle import EVERY_DENY_CODE, Shown, consult
from tests.unit.worlds import retold

SAMPLE = 20_000


def read(kind, value):
    """A value of authz's model as the replay reads it from the bytes of an event."""
    return msgspec.json.decode(msgspec.json.encode(value), type=kind)


def evaluated(world: World) -> trace.Verdict:
    """What the replay's evaluation makes of a world."""
    return evaluate(read(trace.Facts, world.facts), read(trace.Question, world.question), world.now)


def assert_agreement(world: World) -> trace.Verdict:
    """Hold the three against each other; the verdict."""
    verdict, opinion = evaluated(world), consult(*world)
    assert written(verdict) == written(read(trace.Verdict, decide(*world))), world
    assert (verdict.decision, verdict.deny_code) == (opinion.decision, opinion.deny_code), world
    shown = Counter(
        Shown(one.grant.id, one.permission.id, one.scope_check.covered, one.scope_check.deny_code)
        for one in verdict.candidates
    )
    assert shown == opinion.counted, world
    return verdict


def test_it_agrees_with_engine_and_oracle_on_a_sample_in_which_every_outcome_occurs() -> None:
    outcomes = Counter(assert_agreement(seeded_world(seed)).deny_code or "allow" for seed in range(SAMPLE))
    assert set(outcomes) == EVERY_DENY_CODE | {"allow"}


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(worlds())
def test_it_agrees_with_engine_and_oracle(world: World) -> None:
    assert_agreement(world)


def test_it_derives_the_same_answer_from_the_settling_candidates_alone() -> None:
    for seed in range(SAMPLE // 4):
        facts, question, now = seeded_world(seed)
        verdict = decide(facts, question, now)
        settling = settling_candidates(verdict.candidates, question, verdict.decisive)
        kept = replace(verdict, candidates=tuple(verdict.candidates[index] for index in settling))
        again = evaluated(World(retold(facts, kept), question, now))
        assert (again.decision, again.deny_code) == (verdict.decision, verdict.deny_code), f"seed {seed}"


def test_what_a_trace_is_read_into_has_every_fact_of_the_model() -> None:
    """The bytes by which ties are broken are the same only as long as the fields are."""
    for name in (
        "User",
        "Space",
        "Member",
        "UserMember",
        "Group",
        "Resource",
        "ResourceType",
        "ResourceAction",
        "Role",
    ):
        assert getattr(trace, name).__struct_fields__ == getattr(model, name).__struct_fields__, name
    for name in ("Permission", "Grant", "ActorFacts", "TargetFacts", "RegistryFacts", "Facts", "Question", "ActorIds"):
        assert getattr(trace, name).__struct_fields__ == getattr(model, name).__struct_fields__, name
    assert trace.Granted.__struct_fields__ == model.GrantedPermission.__struct_fields__
    assert trace.TRACE_VERSION == model.TRACE_VERSION
