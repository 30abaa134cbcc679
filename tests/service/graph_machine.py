"""A machine that gives commands at random and holds the service to the plain model after each of them.

What a command does is looked up in the tables themselves, past the service. A subclass says what else must hold, in
`changed` and `at_end`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack
from copy import deepcopy
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final, NamedTuple

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from services.authz.commands import Commands
from shared.ctl.projections import compare_projections
from shared.db import create_pool
from shared.identifiers import new_uuid7
from tests.conftest import ServiceDatabase, connect
from tests.service.authz_service import AuthzDatabase, running_authz
from tests.service.graph_doors import Clock, Door, OverHttp, ThroughCommands
from tests.service.graph_model import Command, Done, Graph, Refused, timed
from tests.service.graph_tries import draw_creation, draw_end, draw_grant_again, draw_move, draw_update, seed
from tests.service.graph_world import World, plain_rows, read_world
from tests.service.history import History

SEEDS: Final = st.integers(0, 2**32 - 1)


class Start(NamedTuple):
    """Where every run begins: a database to copy, and the model of what is in it."""

    clone: Callable[[], AbstractContextManager[ServiceDatabase]]
    graph: Graph
    seen: Counter[
        str
    ]  # how often each thing happened in all runs together, so that a test can tell that it tried something


def prepare(database: ServiceDatabase) -> Graph:
    """Give the commands of the seed to a database and to the model alike."""
    graph = Graph()

    async def give() -> None:
        async with create_pool(database.app_dsn, "test", max_size=1) as pool:
            door = ThroughCommands(Commands(pool, clock=Clock(), new_event_id=new_uuid7), Clock())
            for command in seed():
                answer = await door.send(command)
                assert answer.row is not None, (command, answer)
                assert graph.obey(command, answer.row["updated_at"]).row == answer.row

    asyncio.run(give())
    return graph


class Step(NamedTuple):
    """A command that was done: what it did, how the world was before it, and when it was."""

    command: Command
    done: Done
    before: World
    now: datetime


class Sequences(RuleBasedStateMachine):
    """Commands of every kind on every noun; after each, answer, tables, log and outbox are what the model says."""

    def __init__(self, start: Start) -> None:
        super().__init__()
        self.seen = start.seen
        self.graph = deepcopy(start.graph)
        self.given: list[Command] = []
        self._seeds: Counter[int] = Counter()
        self._ends = ExitStack()
        self.database = self._ends.enter_context(start.clone())
        self._connection = self._ends.enter_context(contextlib.closing(connect(self.database.superuser_dsn)))
        self._runner = self._ends.enter_context(asyncio.Runner())
        self._async_ends = AsyncExitStack()
        self._ends.callback(lambda: self.wait(self._async_ends.aclose()))
        self.door: Door = self.wait(self.open_door())
        self.world = read_world(self._connection)

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run work on the one event loop of this run."""
        return self._runner.run(work)

    async def open_door(self) -> Door:
        """Begin whatever the commands go through."""
        self.pool = await self.enter(create_pool(self.database.app_dsn, "test", max_size=2))
        clock = Clock()
        return ThroughCommands(Commands(self.pool, clock=clock, new_event_id=new_uuid7), clock)

    async def enter(self, context: Any) -> Any:
        """Keep an asynchronous context until the end of the run."""
        return await self._async_ends.enter_async_context(context)

    def now(self) -> datetime:
        """The time at which the next command will be done: the clock's, unless the log is further."""
        return max(self.door.clock(), datetime.fromisoformat(self.world.last["occurred_at"]))

    def changed(self, step: Step) -> None:
        """Look at what a command has done; `self.world` is how it is now."""

    def at_end(self) -> None:
        """Look at the whole history: it has no gap, runs forward, and makes the tables that are there."""
        history = History.of(AuthzDatabase(self.database))
        assert [event[0] for event in history.events] == list(range(1, self.graph.revision + 1))
        times = self._connection.execute("select occurred_at from authz.event order by revision").fetchall()
        assert times == sorted(times)
        replayed = history.rows(self.graph.revision)
        assert {noun: {id_: timed(row) for id_, row in rows.items()} for noun, rows in replayed.items()} == plain_rows(
            self.world.rows
        )
        assert compare_projections(self.database.owner_dsn).differences == []

    def teardown(self) -> None:
        try:
            self.at_end()
        finally:
            self._ends.close()

    @rule(seed=SEEDS)
    def create(self, seed: int) -> None:
        self.give(self.keyed(seed, lambda chance: draw_creation(chance, self.graph, self.now())))

    @rule(seed=SEEDS)
    def bind(self, seed: int) -> None:
        nouns = ("member_role", "user_member", "role_permission", "permission", "resource", "group")
        self.give(self.keyed(seed, lambda chance: draw_creation(chance, self.graph, self.now(), nouns)))

    @rule(seed=SEEDS)
    def update(self, seed: int) -> None:
        self.give(self.keyed(seed, lambda chance: draw_update(chance, self.graph, self.now())))

    @rule(seed=SEEDS)
    def end(self, seed: int) -> None:
        self.give(self.keyed(seed, lambda chance: draw_end(chance, self.graph)))

    @rule(seed=SEEDS)
    def revoke(self, seed: int) -> None:
        self.give(self.keyed(seed, lambda chance: draw_end(chance, self.graph, ("member_role", "user_member"))))

    @rule(seed=SEEDS)
    def grant_again(self, seed: int) -> None:
        """What was granted once, asked for anew, in its own Space or in another."""
        self.give(self.keyed(seed, lambda chance: draw_grant_again(chance, self.graph)))

    @rule(seed=SEEDS)
    def restore(self, seed: int) -> None:
        ended = {
            noun for noun in self.graph.rows for row in self.graph.of(noun) if row["status"] in {"disabled", "archived"}
        }
        nouns = tuple(sorted(ended)) or tuple(self.graph.rows)
        self.give(self.keyed(seed, lambda chance: draw_end(chance, self.graph, nouns, back=True)))

    @rule(seed=SEEDS)
    def move(self, seed: int) -> None:
        self.give(self.keyed(seed, lambda chance: draw_move(chance, self.graph)))

    @rule(seed=SEEDS)
    def repeat(self, seed: int) -> None:
        """A request once more, or another one under the key that it had."""
        keyed = [command for command in self.given if command.key is not None]
        if keyed:
            chance = self.chance(seed)
            command = chance.choice(keyed)
            other = chance.choice(self.given)._replace(key=command.key)
            self.give(chance.choice([command, command, other]))

    @rule(hours=st.sampled_from([-2, 0, 1, 23, 25]))
    def let_time_pass(self, hours: int) -> None:
        if isinstance(self.door.clock, Clock):
            self.door.clock.turn(timedelta(hours=hours, microseconds=1))

    def chance(self, seed: int) -> Random:
        """Make chance of a seed: choices drawn one by one would be repeated by hypothesis all over; so is the seed at times."""
        self._seeds[seed] += 1
        return Random(f"{seed}/{self._seeds[seed]}")

    def keyed(self, seed: int, draw: Callable[[Random], Command]) -> Command:
        """Draw a command, sometimes with an Idempotency-Key, which another request may have had."""
        chance = self.chance(seed)
        return draw(chance)._replace(key=chance.choice([*[None] * 20, *(f"k-{n}" for n in range(5))]))

    def give(self, command: Command) -> None:
        """Give a command to the service and to the model, and compare what came of it."""
        note(str(command))
        self.given.append(command)
        before, revision = self.world, self.graph.revision
        answer = self.wait(self.door.send(command))
        self.world = read_world(self._connection)
        # What has been written says when; what has not been is judged by the clock.
        now = (
            self.now() if self.world.events == before.events else datetime.fromisoformat(self.world.last["occurred_at"])
        )
        expected = self._expect(command, now)
        if isinstance(expected, Refused):
            self.seen[answer.code or "done"] += 1
            assert answer.code in expected.codes, f"{answer} instead of {set(expected.codes)} to {command}"
            assert self.world == before
            return
        self.seen[f"{command.verb} {command.noun}"] += 1
        self.seen["repeated"] += expected.is_repeated
        assert (answer.code, answer.is_repeated, answer.row) == (None, expected.is_repeated, expected.row), command
        self._compare(command, expected, self.graph.revision - revision, before)
        self.changed(Step(command, expected, before, now))

    def _expect(self, command: Command, now: datetime) -> Done | Refused:
        try:
            return self.graph.obey(command, now)
        except Refused as refused:
            return refused

    def _compare(self, command: Command, done: Done, count: int, before: World) -> None:
        world = self.world
        for noun, rows in self.graph.rows.items():
            assert world.rows[noun] == rows, noun
        assert world.foreign == []
        assert world.events == world.outbox == before.events + count == self.graph.revision
        assert world.keys == sorted(self.graph.answers)
        if count:
            event = world.last
            told = (event["revision"], event["kind"], event["entity_type"], event["entity_id"], event["reason"])
            assert told == (self.graph.revision, done.kind, command.noun, done.row["id"], command.reason)
            assert (event["before"] and timed(event["before"]), timed(event["after"])) == (done.before, done.row)
            assert event["space_id"] == done.row.get("space_id")


class SequencesOverHttp(Sequences):
    """The same through the running service."""

    async def open_door(self) -> Door:
        """Run the service."""
        AuthzDatabase(self.database).insert_keys()
        return OverHttp(await self.enter(running_authz(self.database, audit_url=None)))
