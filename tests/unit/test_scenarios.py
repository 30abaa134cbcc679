"""Each scenario of tests/scenarios has the answers that its file expects, from the engine and from the oracle."""

from __future__ import annotations

import pytest

from services.authz.engine import decide
from services.authz.model import Verdict
from tests.unit.oracle import EVERY_DENY_CODE, consult
from tests.unit.scenario import Asked, Expected, Scenario, all_scenarios
from tests.unit.worlds import finance_facts, finance_question

SCENARIOS = all_scenarios()
ASKED = [
    pytest.param(scenario, asked, id=f"{name}: {asked.it}")
    for name, scenario in SCENARIOS.items()
    for asked in scenario.asked
]


def listed(verdict: Verdict) -> tuple[Expected, ...]:
    """The verdict's candidates in a scenario's words."""
    return tuple(
        Expected(
            role=one.role.key,
            scope=one.permission.scope,
            grant=one.grant.id or "",
            anchor=one.anchor.path if one.anchor else None,
            result=one.scope_check.deny_code or "covered",
        )
        for one in verdict.candidates
    )


@pytest.mark.parametrize(("scenario", "asked"), ASKED)
def test_the_engine_answers_as_the_scenario_expects(scenario: Scenario, asked: Asked) -> None:
    verdict = decide(scenario.facts(asked.question), asked.question, asked.now or scenario.now)
    assert (verdict.deny_code or "allow") == asked.answer
    assert listed(verdict) == asked.candidates


@pytest.mark.parametrize(("scenario", "asked"), ASKED)
def test_the_oracle_answers_as_the_scenario_expects(scenario: Scenario, asked: Asked) -> None:
    opinion = consult(scenario.facts(asked.question), asked.question, asked.now or scenario.now)
    assert (opinion.deny_code or "allow") == asked.answer
    assert sorted((one.grant_id, one.deny_code or "covered") for one in opinion.counted.elements()) == sorted(
        (one.grant, one.result) for one in asked.candidates
    )


def test_the_scenarios_together_show_every_outcome_that_a_lawful_store_can_lead_to() -> None:
    answers = {asked.answer for scenario in SCENARIOS.values() for asked in scenario.asked}
    # A Permission of scope `global` is refused when it is written, so no store leads there.
    assert answers == EVERY_DENY_CODE - {"GLOBAL_SCOPE_DISABLED"} | {"allow"}


def test_the_worked_example_is_the_same_in_the_file_and_in_code() -> None:
    scenario = SCENARIOS["finance_reviewer"]
    assert len(scenario.asked) == 6
    for asked in scenario.asked:
        question = finance_question(asked.actor.user_member_id, asked.action, asked.resource_id)
        assert question == asked.question
        assert scenario.facts(question) == finance_facts(question)


def test_no_two_questions_of_a_scenario_have_one_name() -> None:
    for scenario in SCENARIOS.values():
        assert len({asked.it for asked in scenario.asked}) == len(scenario.asked)
