"""Checks in a large world beside the same in a small one: loading, latency, memory, and the depth of the group tree."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks import load
from benchmarks.figures import machine, spread
from benchmarks.load import Measured
from benchmarks.loading import load_world
from benchmarks.pair import Pair, running_pair_on, temporary_home
from benchmarks.worlds import DEEP, SHALLOW, Estate, Question, World
from shared.ctl.projections import compare_projections

SEED: Final = 1
ROUNDS: Final = 5
COLD: Final = 200
WARM: Final = 1_000
CHAIN_COLD: Final = 100
# The warm questions that are asked again are so many, and those that never were are about so many members and resources.
REPEATED: Final = 64
CROSSED: Final = 100
CONNECTIONS: Final = 64


class Size(NamedTuple):
    """How large the large world is, and how many distinct checks memory is looked at after."""

    spaces: int
    members: int
    resources: int
    distinct: int


DEFAULT: Final = Size(spaces=1_000, members=100, resources=1_000, distinct=200_000)
FULL: Final = Size(spaces=1_000, members=1_000, resources=10_000, distinct=1_000_000)
SMALL: Final = Size(spaces=1, members=2_000, resources=2_000, distinct=0)


class Side(NamedTuple):
    """A world and the pair that it is loaded into."""

    name: str
    world: World
    pair: Pair

    def ask(self, bodies: Sequence[str]) -> Measured:
        """Ask each question once, one after the other; an answer that isn't 200 ends the benchmark."""
        measured = load.ask_one_by_one(self.url, self.pair.admin_key, bodies)
        if measured.errors:
            raise RuntimeError(f"{measured.errors} of {measured.requests} answers were not 200: {self.pair.home}/logs")
        return measured

    @property
    def url(self) -> str:
        """Where checks are asked."""
        return f"{self.pair.authz}/api/v1/authz/check"


def measure(*, full: bool = False) -> None:
    """Print the figures; with `full`, of the largest world, which takes over half an hour and 18 GB of disk."""
    size = FULL if full else DEFAULT
    print(f"Checks at scale · {machine()}")
    with temporary_home() as large, temporary_home() as small:
        prepare(large, made(size))
        prepare(small, made(SMALL))
        compare(large, small, size)


def made(size: Size) -> World:
    """Make the world of a size; each member has one grant."""
    return World.made(SEED, spaces=size.spaces, members=size.members, grants=1, resources=size.resources)


def prepare(home: Path, world: World) -> None:
    """Load a world into a new pair, which is stopped then: what is measured begins with nothing in memory."""
    main = world.main
    print(
        f"\nloading {main.spaces:,} Spaces of {main.members:,} members and {main.resources:,} resources each,"
        f" {main.spaces * main.members:,} grants; past the command path, authz held still",
        flush=True,
    )
    with running_pair_on(home) as pair, pair.authz_held():
        dsn = pair.environment["PLYSTRA_AUTHZ_DSN"]
        loaded = load_world(dsn, world, say=lambda line: print(line, flush=True))
        print(f"  {loaded.rows:,} rows and as many events in {loaded.seconds:,.0f} s", flush=True)
        if loaded.rows < 2_000_000:
            found = compare_projections(dsn).differences
            print(f"  verify-projections finds {len(found)} differences", flush=True)


def compare(large_home: Path, small_home: Path, size: Size) -> None:
    """Start both pairs anew and take the figures of both, in turn."""
    with ExitStack() as stack:
        sides = [
            Side(name, world, stack.enter_context(running_pair_on(home)))
            for name, world, home in (("large", made(size), large_home), ("small", made(SMALL), small_home))
        ]
        print(
            f"\nlatency: one connection, {ROUNDS} rounds, the worlds in turn, delivery at work; median [range] of the rounds"
        )
        print("what | world | p50 ms | p99 ms")
        mains = [(side.name, side, side.world.main) for side in sides]
        _tell_rounds(f"cold: {COLD} new actors and resources", _cold(mains, COLD, allowed=False))
        _tell_rounds(f"warm: {REPEATED} questions again and again", _repeated(mains))
        _tell_rounds("warm: facts in memory, each question new", _crossed(mains))
        large = sides[0]
        chains = [(f"depth {SHALLOW:,}", large, large.world.shallow), (f"depth {DEEP:,}", large, large.world.deep)]
        print("\ndepth: in the large world, group_tree from the top of a chain of groups to its end, allowed")
        _tell_rounds(f"cold: {CHAIN_COLD} new actors and resources", _cold(chains, CHAIN_COLD, allowed=True))
        _tell_rounds(f"warm: {REPEATED} questions again and again", _repeated(chains))
        _tell_rounds("warm: facts in memory, each question new", _crossed(chains))
        _tell_memory(large, size.distinct)


Asked = tuple[str, Side, Estate]
Rounds = dict[str, list[Measured]]


def _cold(asked: Sequence[Asked], count: int, *, allowed: bool) -> Rounds:
    """Ask each estate's questions from the beginning, each of which names an actor and a resource for the first time."""
    streams = {name: _bodies(estate.questions(), allowed=allowed) for name, _, estate in asked}
    for name, side, _ in asked:  # connections, plans and the registry are not what is cold here
        side.ask(list(itertools.islice(streams[name], 20)))
    return _in_turn(asked, lambda name: list(itertools.islice(streams[name], count)))


def _repeated(asked: Sequence[Asked]) -> Rounds:
    """Ask a few questions that were asked before."""
    few = {name: list(itertools.islice(_bodies(estate.questions()), REPEATED)) for name, _, estate in asked}
    for name, side, _ in asked:
        side.ask(few[name])
    return _in_turn(asked, lambda name: list(itertools.islice(itertools.cycle(few[name]), WARM)))


def _crossed(asked: Sequence[Asked]) -> Rounds:
    """Ask questions that never were, about members and resources that were asked about before."""
    streams = {name: _bodies(estate.crossed(CROSSED)) for name, _, estate in asked}
    for name, side, _ in asked:
        side.ask(list(itertools.islice(streams[name], CROSSED)))
    return _in_turn(asked, lambda name: list(itertools.islice(streams[name], WARM)))


def _in_turn(asked: Sequence[Asked], questions: Callable[[str], list[str]]) -> Rounds:
    rounds: Rounds = {name: [] for name, _, _ in asked}
    for _ in range(ROUNDS):
        for name, side, _estate in asked:
            rounds[name].append(side.ask(questions(name)))
    return rounds


def _bodies(questions: Iterator[Question], *, allowed: bool = False) -> Iterator[str]:
    """Pass the bodies of questions, all of them or those that are allowed."""
    return (question.body for question in questions if question.allowed or not allowed)


def _tell_rounds(what: str, rounds: Rounds) -> None:
    for name, measured in rounds.items():
        cells = (f"{what:42}", f"{name:11}", spread([m.p50 for m in measured], 2), spread([m.p99 for m in measured], 2))
        print(" | ".join(cells), flush=True)


def _tell_memory(side: Side, distinct: int) -> None:
    """Ask a number of distinct questions and tell what memory the process that answered them takes."""
    pair, main = side.pair, side.world.main
    print(
        f"\nmemory of authz: {distinct:,} distinct checks over {CONNECTIONS} connections, delivery at work, by default settings"
    )
    print(f"before | {_memory(pair.authz_pid)}", flush=True)
    first = 2 * ROUNDS * COLD  # past those that were asked already
    bodies = (question.body for question in itertools.islice(main.questions(first), distinct))
    measured = load.ask_each(side.url, pair.admin_key, bodies, connections=CONNECTIONS)
    print(f"after  | {_memory(pair.authz_pid)}")
    print(
        f"{measured.requests:,} answers, {measured.errors} errors, {measured.rate:,.0f}/s, p50 {measured.p50:.1f} ms,"
        f" p99 {measured.p99:.1f} ms; {pair.waiting():,} events waited for delivery at the end",
        flush=True,
    )


def _memory(pid: int) -> str:
    """Write what a process keeps in memory, and its share of it, in MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    kib = {words[0]: int(words[1]) for words in map(str.split, lines[1:])}
    return f"RSS {kib['Rss:'] / 1024:,.0f} MiB, Pss {kib['Pss:'] / 1024:,.0f} MiB"
