"""Concurrent misses share one load, and nobody is answered with what was read before he asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from services.authz.batch import MAX_KEYS, BatchLoader


class Source:
    """A table that a test may stop in the middle of a load."""

    def __init__(self, **table: int) -> None:
        self.table = table
        self.loads: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.failure: Exception | None = None
        self.loader: BatchLoader[str, int] = BatchLoader(self.load)

    async def load(self, keys: Sequence[str]) -> dict[str, int]:
        self.loads.append(list(keys))
        self.begun.set()
        read = {key: self.table[key] for key in keys if key in self.table}
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return read


async def test_keys_asked_for_together_are_loaded_together_and_each_once():
    source = Source(a=1, b=2)
    values = await asyncio.gather(*(source.loader.get(key) for key in "abab"))
    assert values == [1, 2, 1, 2]
    assert source.loads == [["a", "b"]]


async def test_what_does_not_exist_is_none():
    assert await Source(a=1).loader.get("z") is None


async def test_a_load_under_way_is_not_joined_by_who_asks_later():
    source = Source(a=1)
    source.gate.clear()
    earlier = asyncio.create_task(source.loader.get("a"))
    await source.begun.wait()
    source.table["a"] = 2
    later = asyncio.create_task(source.loader.get("a"))
    await asyncio.sleep(0)
    source.gate.set()
    assert (await earlier, await later) == (1, 2)


async def test_keys_asked_for_during_a_load_go_together_into_the_next():
    source = Source(a=1, b=2, c=3)
    source.gate.clear()
    first = asyncio.create_task(source.loader.get("a"))
    await source.begun.wait()
    others = [asyncio.create_task(source.loader.get(key)) for key in "bcb"]
    await asyncio.sleep(0)
    source.gate.set()
    assert [await first, *await asyncio.gather(*others)] == [1, 2, 3, 2]
    assert source.loads == [["a"], ["b", "c"]]


async def test_many_keys_are_cut_into_loads_of_bounded_size():
    source = Source(**{f"k{n}": n for n in range(MAX_KEYS * 2 + 1)})
    values = await asyncio.gather(*(source.loader.get(key) for key in source.table))
    assert values == list(range(MAX_KEYS * 2 + 1))
    assert [len(keys) for keys in source.loads] == [MAX_KEYS, MAX_KEYS, 1]


async def test_a_failure_reaches_all_who_wait_and_the_next_load_is_tried():
    source = Source(a=1, b=2)
    source.failure = OSError("the database is away")
    outcomes = await asyncio.gather(source.loader.get("a"), source.loader.get("b"), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["the database is away"] * 2
    source.failure = None
    assert await source.loader.get("a") == 1


async def test_one_who_goes_away_takes_nothing_from_the_others():
    source = Source(a=1)
    source.gate.clear()
    leaving, staying = (asyncio.create_task(source.loader.get("a")) for _ in range(2))
    await source.begun.wait()
    leaving.cancel()
    source.gate.set()
    assert await staying == 1
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_a_failure_that_nobody_waits_for_leaves_no_warning(caplog):
    source = Source()
    source.gate.clear()
    source.failure = OSError("away")
    task = asyncio.create_task(source.loader.get("a"))
    await source.begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    source.gate.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert "never retrieved" not in caplog.text
