"""The event contract, which is all that joins authz and audit: one canonical JSON document per event.

The profile of RFC 8785: sorted ASCII keys, no whitespace, no floats, integers within 2^53-1, times in UTC as `…Z` with
six digits of fraction or none. Producers write with `encode_event`; `shared/recorded.py` takes nothing else.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw

from shared.canonical import MAX_INTEGER
from shared.identifiers import Id

ENVELOPE_VERSION: Final = 1
MAX_LEAF_BYTES: Final = 65_535
# A batch is one JSON document of at most so many events and bytes, however small it is on its way.
MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
MAX_BATCH_EVENTS: Final = 1_000
DECISION_MADE: Final = "decision.made"
# An answer about the past: recorded like a decision, and never one that was acted upon.
DECISION_AS_OF: Final = "decision.as_of"

# The forms of an event's texts, each a regular expression of the whole text.
DENY_CODE_FORM: Final = r"[A-Z][A-Z_]{0,63}"
EVENT_ID_FORM: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
ID_FORM: Final = r"[A-Za-z0-9_.:@-]{1,128}"
KIND_FORM: Final = r"[a-z][a-z0-9_]{0,31}\.[a-z][a-z0-9_]{0,31}"
REQUEST_ID_FORM: Final = r"[\x21\x23-\x5b\x5d-\x7e]{1,128}"
TEXT_FORM: Final = r"[^\x00-\x1f\x7f]{1,256}"
TRACE_ID_FORM: Final = r"[0-9a-f]{32}"


def whole(form: str) -> str:
    """Return the pattern for a reader that searches; a plain `$` would let a line break pass at the end."""
    return rf"^{form}\Z"


Count = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
DenyCode = Annotated[str, Meta(pattern=whole(DENY_CODE_FORM))]
RequestId = Annotated[str, Meta(pattern=whole(REQUEST_ID_FORM))]
Text = Annotated[str, Meta(pattern=whole(TEXT_FORM))]
TraceId = Annotated[str, Meta(pattern=whole(TRACE_ID_FORM))]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event as its producer writes it; `sequence` is gap-free per (source, epoch) from 0.

    Fields stand in alphabetical order, here and in whatever is given as `data`: the encoder keeps it, and so the bytes
    are canonical at no cost.
    """

    data: Any
    epoch: int
    event_id: str
    kind: str
    occurred_at: datetime
    sequence: int
    source: str
    version: int = ENVELOPE_VERSION


# Structs keep the order of their fields; the keys of free objects (properties, conditions) are sorted.
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


def encode_event(
    *, data: Any, epoch: int, event_id: str, kind: str, occurred_at: datetime, sequence: int, source: str
) -> bytes:
    """Write an event as canonical bytes; `data` is a Struct with alphabetical fields, or canonical already (`Raw`)."""
    return _ENCODER.encode(
        Event(
            data=data,
            epoch=epoch,
            event_id=event_id,
            kind=kind,
            occurred_at=occurred_at,
            sequence=sequence,
            source=source,
        )
    )


def encode_data(value: Any) -> bytes:
    """Write a part of an event as canonical bytes, by the same rules as the whole."""
    return _ENCODER.encode(value)


class ChangeActor(msgspec.Struct, frozen=True, kw_only=True):
    """Who made a change: the holder of an API key, an operator, or the service itself."""

    credential_id: Id | None
    type: Id


class ChangeEntity(msgspec.Struct, frozen=True, kw_only=True):
    """What was changed."""

    id: Id
    type: Id


class ChangeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The HTTP request that a change came with."""

    ip: str | None
    request_id: RequestId | None
    trace_id: TraceId | None
    user_agent: str | None


class ChangeData(msgspec.Struct, frozen=True, kw_only=True):
    """The `data` of every kind of event but a decision; `after` and `before` are objects or null."""

    actor: ChangeActor
    after: Raw
    before: Raw
    entity: ChangeEntity
    reason: str | None
    request: ChangeRequest | None
    revision: Count
    space_id: Id | None
