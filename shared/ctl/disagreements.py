"""What a replay of decisions can find: each kind of fault with why it matters and what to do, and a tally of them."""

from __future__ import annotations

from typing import Final

import msgspec

from shared.ctl.first_fault import FirstFault

# code -> (why it matters, what to do next)
FAULTS: Final[dict[str, tuple[str, str]]] = {
    "event_missing": (
        "What isn't in the log can't be shown to have been decided so.",
        "Check the id. authz gives no answer before it is recorded; a recent one may not be delivered yet (/ready of authz).",
    ),
    "unreadable_trace": (
        "What led to the decision can't be told from its record.",
        "If a newer release wrote it, use the plystractl of that release; else the event's bytes were changed in audit.",
    ),
    "trace_disagrees": (
        "The record contradicts itself: its facts give another answer than the one it tells.",
        "Compare the event's bytes with its leaf_hash and a backup of audit; if they are whole, report it as a fault of authz.",
    ),
    "history_disagrees": (
        "The decision isn't what the history of the permission graph makes of it.",
        "Run `plystractl authz verify-projections`: a row changed past its events explains it. Else compare authz.event with "
        "the same events in audit.",
    ),
    "revision_unknown": (
        "authz has lost changes that a decision was taken on; decisions may have been given anew on an older graph.",
        "authz was restored from too old a backup, or the two DSNs aren't of one pair.",
    ),
    "revision_gap": (
        "A change is gone from the history, so what is derived from it may be wrong.",
        "Compare with the audit log, which has the same events by their revision; restore authz from a backup.",
    ),
    "unreadable_change": (
        "The row that this change made is unknown from then on, and decisions on it can't be derived.",
        "If a newer release wrote it, use the plystractl of that release; else compare the event with the audit log.",
    ),
}


class Disagreement(FirstFault, frozen=True, kw_only=True):
    """A way in which a recorded decision and what is derived part."""

    kinds = FAULTS


class Tally:
    """Keeps the first fault of each kind and counts the others."""

    def __init__(self) -> None:
        """Begin with none."""
        self._found: dict[str, Disagreement] = {}

    def add(self, code: str, subject: str, seen: str) -> None:
        """Count one more."""
        first = self._found.get(code) or Disagreement(code=code, seen=seen, subject=subject, total=0)
        self._found[code] = msgspec.structs.replace(first, total=first.total + 1)

    @property
    def found(self) -> list[Disagreement]:
        """The first of each kind, in the order of `FAULTS`."""
        return [self._found[code] for code in FAULTS if code in self._found]
