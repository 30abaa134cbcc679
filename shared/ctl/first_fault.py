"""What a check of many things tells: the first fault of each kind, how many there are, why it matters, what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec


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

    def describe(self) -> dict[str, Any]:
        """Return it for a machine."""
        fields: dict[str, Any] = msgspec.structs.asdict(self)
        return fields | {"why": self.why, "next": self.remedy}
