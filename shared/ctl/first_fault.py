"""What a check of many things tells: the first fault of each kind, how many there are, why it matters, what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec


class FaultReport(msgspec.Struct, frozen=True, kw_only=True):
    """A first fault as a JSON document tells it."""

    code: str
    seen: str
    subject: str
    total: int
    why: str
    next: str


class FirstFault(msgspec.Struct, frozen=True, kw_only=True):
    """The first of `total` faults of a kind: where, and what was seen there.

    `kinds` tells of each code why it matters and what to do next; each check has its own.
    """

    kinds: ClassVar[Mapping[str, tuple[str, str]]] = {}

    code: str
    seen: str
    subject: str
    total: int = 1

    @property
    def why(self) -> str:
        """Why it matters."""
        return self.kinds[self.code][0]

    @property
    def remedy(self) -> str:
        """What to do next."""
        return self.kinds[self.code][1]

    def describe(self) -> FaultReport:
        """Return it for a machine."""
        told = msgspec.structs.asdict(self)
        return FaultReport(**told, why=self.why, next=self.remedy)
