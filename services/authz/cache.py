"""A bounded memory of facts that knows since when each is true, and what would make it untrue.

Every entry carries the revision of the snapshot it was read from and the tokens of what it depends on, such as
`member:member_x` or `policy:space_y`. A change marks its tokens with its revision; an entry is good as long as none of
its tokens was marked after the entry's own revision. A load that raced with a change needs no lock to be found out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

import msgspec

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Entry(msgspec.Struct, Generic[V], gc=False):
    """A cached value, the revision that it is as of, and the tokens that it depends on."""

    value: V
    revision: int
    tokens: tuple[str, ...]
    # The count of changes at which it was last found good: as long as nothing at all has changed, it still is.
    found_good_at: int = -1


class Changes:
    """Remembers the revision at which each token was last marked; bounded by forgetting all at once."""

    def __init__(self, limit: int = 200_000) -> None:
        self._marked: dict[str, int] = {}
        self._limit = limit
        # Entries read before this revision may have missed marks that were forgotten, so they are good no more.
        self._floor = 0
        self._count = 0

    def mark(self, tokens: Iterable[str], revision: int) -> None:
        """Note that what the tokens stand for changed at `revision`."""
        self._count += 1
        if len(self._marked) >= self._limit:
            self._marked.clear()
            self._floor = revision
        for token in tokens:
            self._marked[token] = revision

    def is_good(self, entry: Entry[V]) -> bool:
        """Tell whether nothing that the entry depends on has changed since it was read."""
        if entry.found_good_at == self._count:
            return True
        revision = entry.revision
        if revision < self._floor:
            return False
        marked = self._marked
        for token in entry.tokens:  # a generator would cost more than all the look-ups
            if marked.get(token, 0) > revision:
                return False
        entry.found_good_at = self._count
        return True


class Cache(Generic[K, V]):
    """The most recently used entries, at most `limit`."""

    def __init__(self, changes: Changes, limit: int) -> None:
        self._changes = changes
        self._limit = limit
        self._entries: OrderedDict[K, Entry[V]] = OrderedDict()
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> Entry[V] | None:
        """Return the good entry under the key, or None."""
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        if not self._changes.is_good(entry):
            del self._entries[key]
            self.misses += 1
            return None
        self._entries.move_to_end(key)
        self.hits += 1
        return entry

    def put(self, key: K, entry: Entry[V]) -> None:
        """Keep an entry, dropping the least recently used ones beyond the limit."""
        self._entries[key] = entry
        self._entries.move_to_end(key)
        while len(self._entries) > self._limit:
            self._entries.popitem(last=False)
