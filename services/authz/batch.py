"""Concurrent misses share one statement: keys asked for while a load runs go together into the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_KEYS: Final = 500


class BatchLoader(Generic[K, V]):
    """Loads values by key, each key at most once at a time, many keys per statement."""

    def __init__(self, load: Callable[[Sequence[K]], Awaitable[dict[K, V]]]) -> None:
        self._load = load
        self._waiting: dict[K, asyncio.Future[V | None]] = {}
        self._task: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V | None:
        """Return the value under the key, None when it doesn't exist; raises what the load raised."""
        future = self._waiting.get(key)
        if future is None:
            future = self._waiting[key] = asyncio.get_running_loop().create_future()
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._run())
        return await asyncio.shield(future)

    async def _run(self) -> None:
        while self._waiting:
            # From here on a new request for one of these keys starts a load of its own: it must not be answered
            # with what was read before it asked.
            taken = dict(list(self._waiting.items())[:MAX_KEYS])
            for key in taken:
                del self._waiting[key]
            try:
                values = await self._load(list(taken))
            except Exception as error:  # noqa: BLE001  # whoever waits gets it, whatever it is
                for future in taken.values():
                    if not future.done():
                        future.set_exception(error)
                        future.exception()  # a caller that went away must not leave a warning behind
            else:
                for key, future in taken.items():
                    if not future.done():
                        future.set_result(values.get(key))
