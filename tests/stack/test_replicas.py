"""Guarantee 6 between processes: a replica shows a change soon, and one that is cut off shows nothing beyond the bound."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from itertools import pairwise
from typing import Final, NamedTuple

import httpx

from shared.ctl.questions import QUESTIONS
from shared.embedded.server import EmbeddedPostgres
from tests.service.authz_service import AuthzDatabase
from tests.stack.conftest import OpenPair
from tests.stack.pair import Pair, session_of
from tests.stack.process import stopped, wait_until
from tests.stack.watch import Seen, Watch

REPLICA: Final = "authz-b"
INACTIVE: Final = "ACTOR_USER_INACTIVE"
CHANGES: Final = 100
ROUNDS: Final = 3
BOUND_SECONDS: Final = 1.0


class Made(NamedTuple):
    """A change: its revision, and the time at which it was answered."""

    revision: int
    returned_at: float


Toggle = Callable[[], Awaitable[Made]]


@asynccontextmanager
async def toggling(pair: Pair) -> AsyncIterator[Toggle]:
    """A function that disables Alice through the other process, the next time restores her, and so on."""
    headers = {"authorization": f"Bearer {pair.secrets.admin_key}"}
    commands = itertools.cycle(("disable", "restore"))
    async with httpx.AsyncClient(base_url=pair.urls["authz"], headers=headers, trust_env=False) as client:

        async def toggle() -> Made:
            answer = await client.post(f"/api/v1/users/user_alice/{next(commands)}", json={}, timeout=10)
            returned_at = time.monotonic()
            assert answer.status_code == 200, answer.text
            return Made(answer.json()["data"]["revision"], returned_at)

        yield toggle


@contextmanager
def watched(pair: Pair, name: str = REPLICA) -> Iterator[Watch]:
    """Ask a process again and again whether Alice may, which is warm when the block begins."""
    with Watch(pair.urls[name], pair.secrets.caller_key, QUESTIONS[0]) as watch:
        watch.wait_answers(100)
        yield watch


def readiness(pair: Pair) -> httpx.Response:
    """What the replica's `/ready` answers."""
    return httpx.get(f"{pair.urls[REPLICA]}/api/v1/ready", timeout=10, trust_env=False)


def code_at(revision: int, first: Made) -> str | None:
    """What the graph says as of a revision, when the first change disabled Alice and each has its own revision."""
    return INACTIVE if revision >= first.revision and (revision - first.revision) % 2 == 0 else None


async def test_a_change_through_one_process_is_seen_by_another_within_100_ms(own_pair: Pair) -> None:
    own_pair.replica(REPLICA).start()
    own_pair.wait_ready(REPLICA)
    p50s, p99s = [], []
    async with toggling(own_pair) as toggle:
        with watched(own_pair) as watch:
            for _ in range(ROUNDS):
                made = []
                for _ in range(CHANGES):
                    made.append(await toggle())
                    watch.wait_revision(made[-1].revision)
                lags = sorted(1000 * max(0.0, watch.first_of(m.revision).arrived_at - m.returned_at) for m in made)
                p50s.append(statistics.median(lags))
                p99s.append(lags[int(0.99 * len(lags)) - 1])
                print(f"seen after: p50 {p50s[-1]:.1f} ms, p99 {p99s[-1]:.1f} ms, at most {lags[-1]:.1f} ms")
    # The best of three rounds: a machine that is busy with other things may hold up any process for longer than that.
    # Without the notification, changes would be seen at the next poll only: every round's median would be above 200 ms.
    assert min(p50s) < 50
    assert min(p99s) < 100


async def test_a_process_that_cannot_follow_is_never_stale_beyond_the_bound_and_says_that_it_is_not_ready(
    open_pair: OpenPair, server: EmbeddedPostgres
) -> None:
    with open_pair() as pair:
        pair.replica(REPLICA, PLYSTRA_AUTHZ_STALENESS_MS=str(int(1000 * BOUND_SECONDS))).start()
        pair.start().wait_ready(REPLICA)
        made = []
        async with toggling(pair) as toggle:
            with watched(pair) as watch:
                with stopped(session_of(server, f"{REPLICA} tail")):
                    # Some while memory may still be used, the others after that.
                    until = time.monotonic() + 3 * BOUND_SECONDS
                    while len(made) < CHANGES or time.monotonic() < until:
                        made.append(await toggle())
                        watch.wait_answers(2)
                    ready = readiness(pair)
                    assert pair.readiness("authz")[0] == 200  # the one beside it follows on
                    made.append(await toggle())
                    watch.wait_answers(2)  # the second was asked after the change
                    through = watch.seen[-1]
                pair.wait_ready(REPLICA)
                watch.wait_revision(made[-1].revision)
    assert (ready.status_code, ready.json()["code"]) == (503, "not_ready")
    assert "The log of changes was last followed" in ready.json()["detail"]
    assert (through.status, through.revision) == (200, made[-1].revision)
    assert {(seen.status, seen.code) for seen in watch.seen} == {(200, "")}
    assert [seen for seen in watch.seen if seen.deny_code != code_at(seen.revision, made[0])] == []
    late = staleness(watch.seen, made)
    print(
        f"{len(made)} changes, {len(watch.seen)} answers; asked {1000 * max(late):.0f} ms after what they had not seen"
    )
    # It did answer from memory while that was allowed, so what is asserted next is about something.
    assert max(late) > BOUND_SECONDS / 2
    assert max(late) <= BOUND_SECONDS


def staleness(answers: list[Seen], made: list[Made]) -> list[float]:
    """For each answer that hadn't seen a change, how long after the first such change it was asked, in seconds.

    Asked, not arrived: what is decided just before the bound is recorded and sent after it.
    """
    returned = {
        before.revision: after.returned_at for before, after in pairwise([Made(made[0].revision - 1, 0), *made])
    }
    return [seen.asked_at - returned[seen.revision] for seen in answers if seen.revision in returned]


def test_without_its_database_a_process_is_not_ready_and_answers_503_only(pair: Pair) -> None:
    pair.replica(REPLICA).start()
    pair.wait_ready(REPLICA)
    with watched(pair) as watch:
        with AuthzDatabase(pair.databases["authz"]).unreachable():
            cut_at = time.monotonic()
            ready = readiness(pair)
            wait_until(partial(code_since, watch, cut_at, "facts_unavailable"), what="a question without its facts")
            health = httpx.get(f"{pair.urls[REPLICA]}/api/v1/health", trust_env=False)
            until = time.monotonic()
        pair.wait_ready(REPLICA)
        watch.wait_answers(10)
    meanwhile = [seen for seen in watch.seen if cut_at < seen.asked_at and seen.arrived_at < until]
    assert {seen.status for seen in meanwhile} == {503}
    assert (ready.status_code, health.status_code) == (503, 200)
    assert "The database of authz cannot be reached" in ready.json()["detail"]
    assert watch.seen[-1].status == 200


def code_since(watch: Watch, moment: float, code: str) -> bool:
    """Whether a question that was asked after a moment was answered so."""
    return any(seen.code == code and seen.asked_at > moment for seen in watch.seen)
