"""One copy of each text among the facts in memory: their ids, paths and statuses repeat each other many times over.

An actor's Space alone is named seven times among its facts, and again by each of its neighbours. As it is decoded, each time
is a string of its own of 60 bytes or more: that was two fifths of what facts in memory took.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec.structs import force_setattr

S = TypeVar("S", bound=msgspec.Struct)


class Texts:
    """The texts met lately, at most `limit`; bounded by forgetting all at once, which costs only copies.

    `sys.intern` won't do: some Pythons (3.12) keep what was interned for ever.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self._known: dict[str, str] = {}
        self._limit = limit

    def one(self, text: str) -> str:
        """Return the copy of a text that others have, or this one from now on."""
        if len(self._known) >= self._limit:
            self._known.clear()
        return self._known.setdefault(text, text)

    def share(self, fact: S) -> S:
        """Let a fact and all within it have the copies that others have; it stays equal to what it was."""
        for name in fact.__struct_fields__:
            value = getattr(fact, name)
            if type(value) is str:
                force_setattr(fact, name, self.one(value))
            elif isinstance(value, msgspec.Struct):
                self.share(value)
            elif type(value) is tuple:
                for each in value:
                    self.share(each)
        return fact
