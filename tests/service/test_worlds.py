"""The benchmarks' worlds: the same from the same seed, loaded as the commands would have left them, decided as they say."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Final

import asyncpg
import msgspec
import psycopg
import pytest

from benchmarks.loading import load_world
from benchmarks.worlds import DEEP, Estate, Question, World
from services.authz.backlog import read_waiting
from services.authz.nouns import NOUNS
from services.authz.rows import MemberRow
from services.authz.seeding import load_example
from shared.ctl.projections import compare_projections
from shared.embedded.server import EmbeddedPostgres
from tests.conftest import ServiceDatabase, fresh_database
from tests.service.authz_service import AuthzDatabase, running_authz
from tests.service.authz_writer import AUTHOR, writing

SEED: Final = 7


def make(seed: int = SEED) -> World:
    return World.made(seed, spaces=3, members=8, grants=2, resources=24, probes=4)


def first(questions: Iterator[Question], count: int) -> list[Question]:
    return list(itertools.islice(questions, count))


def load(database: ServiceDatabase, batch: int = 500) -> int:
    return load_world(database.owner_dsn, make(), say=lambda _: None, batch=batch, patience=0).rows


@pytest.fixture(scope="module")
def loaded(server: EmbeddedPostgres, template_of: Callable[[str], str]) -> Iterator[ServiceDatabase]:
    """A database with the world and all keys, to look at or to copy."""
    with fresh_database(server, "authz", template=template_of("authz")) as database:
        load(database)
        AuthzDatabase(database).insert_keys()
        yield database


@pytest.fixture
def copy(server: EmbeddedPostgres, loaded: ServiceDatabase) -> Iterator[ServiceDatabase]:
    """The same for this test alone."""
    with fresh_database(server, "authz", template=loaded.name) as database:
        yield database


def events(database: ServiceDatabase) -> list[tuple[Any, ...]]:
    with psycopg.connect(database.reader_dsn) as connection:
        return connection.execute("select * from authz.event order by revision").fetchall()


def test_what_was_loaded_is_what_its_events_say(loaded: ServiceDatabase):
    comparison = compare_projections(loaded.owner_dsn)
    assert comparison.differences == []
    assert comparison.events == comparison.revision > DEEP


def test_each_event_carries_the_whole_row_that_a_command_would_have_made(loaded: ServiceDatabase):
    kinds = {noun.name: (noun.row, noun.kind(noun.made)) for noun in NOUNS.values()}
    with psycopg.connect(loaded.reader_dsn) as connection:
        stored = connection.execute("select entity_type, kind, before, after, revision from authz.event").fetchall()
    assert {entity for entity, *_ in stored} == kinds.keys()
    for entity, kind, before, after, revision in stored:
        row, made_by = kinds[entity]
        stamps = {name: after.pop(name) for name in ("created_at", "updated_at", "revision")}
        assert (kind, before, stamps["revision"]) == (made_by, None, revision)
        assert after.keys() == set(row.__struct_fields__)
        msgspec.convert(after, row)


def test_the_same_seed_makes_the_same_world_and_another_seed_another():
    assert make() == make()
    assert make() != make(SEED + 1)
    for one, same, other in zip(make().estates, make().estates, make(SEED + 1).estates, strict=True):
        assert first(one.questions(), 50) == first(same.questions(), 50)
        assert first(one.questions(), 50) != first(other.questions(), 50)


def test_the_same_rows_are_loaded_in_batches_of_any_size(loaded: ServiceDatabase, authz_database: ServiceDatabase):
    load(authz_database, batch=10_000)
    assert events(authz_database) == events(loaded)


def test_no_question_names_an_actor_or_a_resource_again_before_all_actors_were_named():
    asked = [msgspec.json.decode(question.body) for question in first(make().main.questions(), 3 * 8)]
    assert len({question["actor"]["user_member_id"] for question in asked}) == 3 * 8
    assert len({question["resource_id"] for question in asked}) == 3 * 8


def test_questions_go_on_where_they_are_told_to_begin():
    estate = make().main
    assert first(estate.questions(20), 20) == first(estate.questions(), 40)[20:]


def test_crossed_questions_are_all_pairs_and_the_first_ones_name_everything():
    asked = [msgspec.json.decode(question.body) for question in make().main.crossed(6)]
    pairs = [(question["actor"]["member_id"], question["resource_id"]) for question in asked]
    assert len(set(pairs)) == 36
    assert {member for member, _ in pairs[:6]} == {member for member, _ in pairs}
    assert {resource for _, resource in pairs[:6]} == {resource for _, resource in pairs}


async def test_every_question_gets_the_decision_that_follows_from_the_worlds_making(copy: ServiceDatabase):
    world = make()
    asked = first(world.main.questions(), 240)
    asked += [question for estate in (world.shallow, world.deep) for question in estate.crossed(4)]
    async with running_authz(copy) as authz:
        for question in asked:
            decision = await authz.decide(question.body.encode())
            assert decision["allow"] is question.allowed, (question, decision)
    assert {question.allowed for question in asked} == {True, False}


@pytest.mark.parametrize("end", ["shallow", "deep"])
async def test_the_chain_is_decided_from_its_top_to_its_end(copy: ServiceDatabase, end: str):
    estate: Estate = getattr(make(), end)
    question = next(question for question in estate.questions() if question.allowed)
    async with running_authz(copy) as authz:
        trace = (await authz.explain(question.body.encode())).json()["data"]["trace"]
    (candidate,) = trace["candidates"]
    assert candidate["permission"]["scope"] == "group_tree"
    assert candidate["anchor"]["path"] == "g0"
    assert trace["target"]["group"]["path"] == ".".join(f"g{number}" for number in range(estate.groups))


async def test_a_command_goes_on_after_a_world_was_loaded_and_alone_waits_for_delivery(copy: ServiceDatabase):
    revision = compare_projections(copy.owner_dsn).revision
    member = MemberRow(id="late", space_id="main_s0", display_name="Late")
    async with writing(copy) as writer:
        assert await writer.commands.create(AUTHOR, [member]) == revision + 1
    connection = await asyncpg.connect(copy.app_dsn)
    waiting = await read_waiting(connection)
    await connection.close()
    assert waiting.events == 1
    assert compare_projections(copy.owner_dsn).differences == []


async def test_a_world_is_not_loaded_over_changes_that_wait_for_delivery(authz_database: ServiceDatabase):
    await load_example(authz_database.app_dsn, "finance-reviewer")
    with pytest.raises(RuntimeError, match="36 changes made before still wait for delivery"):
        load(authz_database)
