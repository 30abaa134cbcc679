"""Whatever commands are given, in whatever order: the laws that hold after each of them.

`pytest --hypothesis-profile=thorough` tries twenty times as many sequences.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from shared.embedded.server import EmbeddedPostgres
from tests.conftest import fresh_database
from tests.service.graph_laws import Remembering, TakingAway
from tests.service.graph_machine import Sequences, SequencesOverHttp, Start, prepare


@pytest.fixture(scope="module")
def start(server: EmbeddedPostgres, template_of: Callable[[str], str]) -> Iterator[Start]:
    """Two Spaces of the same shape, in which much is allowed."""
    with fresh_database(server, "authz", template=template_of("authz")) as database:
        graph = prepare(database)
        yield Start(functools.partial(fresh_database, server, "authz", database.name), graph, Counter())


def run(machine: Callable[[Start], RuleBasedStateMachine], start: Start, *, percent: int, steps: int) -> Counter[str]:
    """Run a machine, in `percent` of the examples that the profile of hypothesis has; returns what happened, and how often."""
    start.seen.clear()
    run_state_machine_as_test(
        lambda: machine(start),
        settings=settings(
            max_examples=max(settings.default.max_examples * percent // 100, 1),
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return start.seen


def test_no_sequence_of_commands_parts_the_tables_from_the_rules_or_from_their_history(start: Start):
    seen = run(Sequences, start, percent=20, steps=30)
    assert min(total(seen, "create "), total(seen, "end "), total(seen, "update ")) >= 5, seen
    assert min(seen["not_found"], total(seen, "duplicate_"), seen["reference_unknown"] + seen["foreign_space"]) > 0, (
        seen
    )


def test_what_is_sent_over_http_does_what_the_rules_say_and_nothing_else(start: Start):
    seen = run(SequencesOverHttp, start, percent=3, steps=30)
    assert total(seen, "") > 0


def test_taking_away_never_allows_more_and_no_space_has_a_part_in_the_answers_of_another(start: Start):
    seen = run(TakingAway, start, percent=14, steps=25)
    assert seen["less allowed"] > 0


def test_memory_the_log_and_the_past_tell_the_same_of_every_revision(start: Start):
    seen = run(Remembering, start, percent=14, steps=25)
    assert seen["told"] > 0


def total(seen: Counter[str], beginning: str) -> int:
    """How often all that begins so has happened."""
    return sum(count for name, count in seen.items() if name.startswith(beginning))
