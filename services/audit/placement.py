"""Where the events of some batches go: indexes for the new ones, receipts for the known ones, refusal of a contradiction.

Pure: what the log holds already comes in as `known`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from services.audit.model import Conflict, Receipt
from shared.recorded import Recorded


class Stored(msgspec.Struct, frozen=True, gc=False):
    """An event that the log holds, or will hold before the one that is being placed."""

    log_index: int
    leaf_hash: bytes


class Accepted(msgspec.Struct, frozen=True):
    """A batch that is in the log: a receipt for each of its events, in their order."""

    receipts: list[Receipt]


class Refused(msgspec.Struct, frozen=True):
    """A batch that is not: what contradicts the log or itself, at least one."""

    conflicts: list[Conflict]


class Placement(NamedTuple):
    """The rows to append, in order from the size that was given, and what becomes of each batch."""

    rows: list[Recorded]
    outcomes: list[Accepted | Refused]


def place(size: int, batches: Sequence[Sequence[Recorded]], known: Mapping[str, Stored]) -> Placement:
    """Place batches behind a log of `size` entries; a batch with a conflict leaves nothing, the others are unaffected."""
    taken = dict(known)
    rows: list[Recorded] = []
    outcomes: list[Accepted | Refused] = []
    for batch in batches:
        fresh: dict[str, Stored] = {}
        added: list[Recorded] = []
        receipts: list[Receipt] = []
        conflicts: list[Conflict] = []
        for position, event in enumerate(batch):
            event_id = event.event_id
            stored = taken.get(event_id) or fresh.get(event_id)
            if stored is None:
                log_index = size + len(rows) + len(added)
                fresh[event_id] = Stored(log_index, event.leaf_hash)
                added.append(event)
                receipts.append(Receipt(event_id=event_id, log_index=log_index, status="appended"))
            elif stored.leaf_hash == event.leaf_hash:
                receipts.append(Receipt(event_id=event_id, log_index=stored.log_index, status="duplicate"))
            else:
                conflicts.append(_conflict(position, event, stored, in_log=event_id in taken))
        if conflicts:
            outcomes.append(Refused(conflicts))
        else:
            rows += added
            taken |= fresh
            outcomes.append(Accepted(receipts))
    return Placement(rows, outcomes)


def _conflict(position: int, event: Recorded, stored: Stored, *, in_log: bool) -> Conflict:
    return Conflict(
        event_id=event.event_id,
        log_index=stored.log_index if in_log else None,
        position=position,
        refused_hash=event.leaf_hash,
        stored_hash=stored.leaf_hash,
    )
