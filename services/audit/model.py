"""What audit shows of the log: rows of a search, one entry in full, and the receipts of what was appended."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec


class DecisionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A decision as found by a search."""

    event_id: str
    log_index: int
    kind: str
    occurred_at: datetime
    recorded_at: datetime
    space_id: str | None
    user_id: str | None
    member_id: str | None
    user_member_id: str | None
    resource_type: str | None
    resource_id: str | None
    action: str | None
    decision: str | None
    deny_code: str | None
    request_id: str | None
    revision: int
    source: str


class EventRow(DecisionRow, frozen=True, kw_only=True):
    """An event of any kind as found by a search; a decision has no entity, a change no decision."""

    entity_type: str | None
    entity_id: str | None


class StoredEvent(EventRow, frozen=True, kw_only=True):
    """One entry of the log with its bytes (`leaf`) and SHA-256 of a zero byte and them (`leaf_hash`)."""

    leaf_hash: bytes
    leaf: bytes


class Receipt(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where one event of a batch is in the log, and whether this batch brought it there."""

    event_id: str
    log_index: int
    status: Literal["appended", "duplicate"]


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """An event that was refused because the log has its id with other bytes; `position` is its place in the batch.

    `log_index` is that of the stored one; None when the batch itself holds both.
    """

    event_id: str
    log_index: int | None
    position: int
    refused_hash: bytes
    stored_hash: bytes
