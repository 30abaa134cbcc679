"""What a check is, and what it can say: nothing, findings, or why it has nothing to look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from shared.ctl.doctor.context import Context

Group = Literal["configuration", "connectivity", "migrations", "schema", "runtime"]
Level = Literal["finding", "warning"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One fault: what was seen, why it matters, and the exact command or SQL that mends it.

    `next` that ends with a semicolon is SQL, to be run in the database of the check's service by a role that may.
    """

    seen: str
    why: str
    next: str
    level: Level = "finding"


class NotApplicable(Exception):
    """There is nothing to look at, or it can't be seen from here; the text is a sentence that says why."""


Look = Callable[["Context", str], Iterable[Finding]]


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing that is looked at, of one service or (`service` is empty) of the whole; `proves` is what ✓ means."""

    name: str
    group: Group
    service: str
    proves: str
    look: Look

    @property
    def title(self) -> str:
        """How people tell it apart."""
        return f"{self.service} {self.name}".strip()
