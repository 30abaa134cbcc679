"""What commands may do to answers: less after something is taken away, more after something is given, nothing elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
import structlog
from hypothesis.stateful import rule

from services.authz.cache import Changes
from services.authz.engine import decide
from services.authz.facts import FactSource
from services.authz.model import Facts, Question
from services.authz.past import READ_PARAMETERS, Past
from services.authz.tail import Tail
from shared.db import Connection, connect, create_pool
from tests.service.authz_service import AuthzDatabase
from tests.service.graph_doors import Door
from tests.service.graph_machine import SEEDS, Sequences, Step
from tests.service.graph_model import IN_SPACE, Command, Done
from tests.service.graph_tries import identity_of
from tests.service.graph_world import answers_of, questions_of
from tests.service.history import History, facts_from


class TakingAway(Sequences):
    """After each command every binding is asked about every action on every resource, as before it."""

    @rule(seed=SEEDS)
    def take_away(self, seed: int) -> None:
        """End something that counts still."""
        chance = self.chance(seed)
        noun = chance.choice([*self.graph.rows, "group", "role_permission", "permission"])
        active = [row for row in self.graph.of(noun) if row["status"] == "active"]
        if active:
            row = chance.choice(active)
            self.give(Command("end", noun, row.get("space_id"), identity_of(noun, row["id"], row), {}, "taken away"))

    @rule(seed=SEEDS)
    def limit(self, seed: int) -> None:
        """Let a grant or a binding end soon, or a grant begin later."""
        chance = self.chance(seed)
        noun, field = chance.choice(
            [("member_role", "expires_at"), ("member_role", "not_before"), ("user_member", "expires_at")]
        )
        active = [row for row in self.graph.of(noun) if row["status"] == "active"]
        time = (self.now() + timedelta(minutes=chance.choice([1, 90]))).isoformat()
        if active:
            row = chance.choice(active)
            self.give(Command("update", noun, row["space_id"], (row["id"],), {field: time}))

    @rule()
    def look_ahead(self) -> None:
        """Where no grant begins meanwhile, a time that passes takes away at most."""
        now, rows = self.now(), self.world.rows
        questions = list(questions_of(rows))
        for days in (1 / 24, 2, 400):
            later = now + timedelta(days=days)
            begun = {
                id_: row for id_, row in rows["member_role"].items() if not now < (row["not_before"] or now) <= later
            }
            before = answers_of(rows | {"member_role": begun}, questions, now)
            after = answers_of(rows | {"member_role": begun}, questions, later)
            assert [q for q in questions if (before[q][0], after[q][0]) == ("deny", "allow")] == []

    def changed(self, step: Step) -> None:
        """Compare all answers with what they were, at the same time."""
        command, done, before, now = step
        if done.kind is None:
            return
        questions = list(questions_of(self.world.rows))
        was, is_ = answers_of(before.rows, questions, now), answers_of(self.world.rows, questions, now)
        more = [q for q in questions if (was[q][0], is_[q][0]) == ("deny", "allow")]
        less = [q for q in questions if (was[q][0], is_[q][0]) == ("allow", "deny")]
        if command.verb == "end" or is_limited(done):
            assert more == [], (command, more)
            self.seen["less allowed"] += bool(less)
        if command.verb in {"create", "restore"}:
            assert less == [], (command, less)
        resources = self.world.rows["resource"]
        across = {q for q in questions if resources[q.resource_type, q.resource_id]["space_id"] != q.actor.space_id}
        assert [q for q in across if is_[q][0] == "allow"] == []
        if command.noun in IN_SPACE:
            others = [q for q in questions if q.actor.space_id != command.space_id and q not in across]
            assert [q for q in others if was[q] != is_[q]] == [], command


class Remembering(Sequences):
    """Questions asked after every command: of memory as a running service has it, of the log, and of the past."""

    async def open_door(self) -> Door:
        """Let memory follow the log as a running service does."""
        door = await super().open_door()
        changes = Changes()
        tail = Tail(self._connect, changes, time.monotonic, structlog.get_logger())
        # Between two steps nothing runs, the tail neither; too old to be believed it is never.
        self._memory = FactSource(self.pool, tail, changes, staleness_seconds=1e9, cache_entries=100)
        pool = create_pool(self.database.app_dsn, "test past", max_size=1, parameters=READ_PARAMETERS)
        self._past = Past(await self.enter(pool), tail)
        self._asked: dict[Question, list[Told]] = {}
        await self.enter(following(tail))
        return door

    @rule(seed=SEEDS)
    def ask(self, seed: int) -> None:
        """Ask something that will be asked after each command that follows."""
        questions = sorted(questions_of(self.world.rows), key=msgspec.json.encode)
        allowed = [
            q for q, answer in answers_of(self.world.rows, questions, self.now()).items() if answer[0] == "allow"
        ]
        chance = self.chance(seed)
        question = chance.choice(chance.choice([questions, allowed or questions]))
        self._asked.setdefault(question, [])
        self._tell([question], self.now())

    @rule(seed=SEEDS)
    def ask_of_the_past(self, seed: int) -> None:
        """Ask as of a revision what was asked live when it was the newest one."""
        told = [(question, one) for question, all_told in self._asked.items() for one in all_told]
        if told:
            question, (revision, now, live) = self.chance(seed).choice(told)
            then = self.wait(self._past.gather(question, revision))
            assert (then.revision, decided(then.facts, question, now)) == (revision, live)

    def changed(self, step: Step) -> None:
        """Ask again."""
        self._tell(list(self._asked), step.now)

    def _tell(self, questions: list[Question], now: datetime) -> None:
        revision = self.graph.revision
        rows = History.of(AuthzDatabase(self.database)).rows(revision)
        for question in questions:
            known = self.wait(self._memory.gather(question, at_least=revision))
            live = decided(known.facts, question, now)
            assert (known.revision, live) == (revision, decided(facts_from(rows, question), question, now)), question
            self._asked[question].append(Told(revision, now, live))
            self.seen["told"] += 1

    async def _connect(self) -> Connection:
        return await connect(self.database.app_dsn, "test tail")


class Told(NamedTuple):
    """What a question was answered at a time with the facts of a revision, with all that it was answered from."""

    revision: int
    now: datetime
    live: bytes


def decided(facts: Facts, question: Question, now: datetime) -> bytes:
    """The verdict and its facts as a text: in Python 1 is True, in JSON it isn't."""
    parts = (decide(facts, question, now), facts.actor, facts.registry, facts.target)
    return msgspec.json.encode(parts, order="sorted")


def is_limited(done: Done) -> bool:
    """Whether a change of a validity leaves no time in it that wasn't in it before."""
    if done.before is None or done.kind not in {"member_role.updated", "user_member.updated"}:
        return False
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    windows = [(row.get("not_before") or first, row["expires_at"] or last) for row in (done.before, done.row)]
    return windows[0][0] <= windows[1][0] and windows[1][1] <= windows[0][1]


@contextlib.asynccontextmanager
async def following(tail: Tail) -> AsyncIterator[None]:
    """Let a tail follow the log for as long as the block lasts."""
    task = asyncio.create_task(tail.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
