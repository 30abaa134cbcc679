"""What the log keeps of an event: its exact bytes, their hash, and the columns that are derived from them.

Audit derives at the door, verification derives again and compares; so both import this and nothing of each other.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Raw

from shared.envelope import (
    DECISION_AS_OF,
    DECISION_MADE,
    EVENT_ID_FORM,
    ID_FORM,
    KIND_FORM,
    MAX_LEAF_BYTES,
    REQUEST_ID_FORM,
    ChangeData,
    Count,
    DenyCode,
    Text,
    TraceId,
)


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """An event as the log takes it: columns derived from its bytes, their hash, the bytes.

    The fields are the columns of `audit.entry` in their order, after the two that the log itself assigns.
    """

    occurred_at: datetime
    epoch: int
    sequence: int
    revision: int
    event_id: str
    kind: str
    source: str
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
    trace_id: str | None
    entity_type: str | None
    entity_id: str | None
    leaf_hash: bytes
    leaf: bytes


class EventRefused(ValueError):
    """Bytes that are no event; `pointer` (RFC 6901, within the event) says where, `detail` what is wrong."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(f"{pointer or 'the event'}: {detail}")
        self.pointer = pointer
        self.detail = detail


def read_event(leaf: bytes) -> Recorded:
    """Check an event's bytes against the contract and derive its columns, or raise `EventRefused`."""
    if len(leaf) > MAX_LEAF_BYTES:
        raise EventRefused("", f"has {len(leaf)} bytes; at most {MAX_LEAF_BYTES}")
    try:
        str(leaf, "utf-8")
        envelope = _read_envelope(leaf)
        if _ENCODER.encode(envelope) != leaf:
            raise _not_canonical(leaf)
        if envelope.occurred_at.tzinfo is not UTC:
            raise EventRefused("/occurred_at", "is not in UTC; write it as …Z")
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _refused(error, "") from error
    try:
        if envelope.kind in (DECISION_MADE, DECISION_AS_OF):
            return _decision(envelope, _read_decision(envelope.data), leaf)
        texts = (envelope.event_id, envelope.kind, envelope.source)
        if _ENVELOPE_FORM.fullmatch("\n".join(texts)) is None:
            raise _misformed(_ENVELOPE_FORMS, texts)
        return _change(envelope, _read_change(envelope.data), leaf)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _refused(error, "/data") from error


def hash_leaf(leaf: bytes) -> bytes:
    """Return the hash of a leaf as RFC 9162 §2.1.1 defines it: SHA-256 of a zero byte and the leaf."""
    return hashlib.sha256(b"\x00" + leaf).digest()


_ENCODER: Final = msgspec.json.Encoder()


# No event can be part of a cycle, so the collector need not look at one (`gc=False`).
class _Envelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    data: Raw
    epoch: Count
    event_id: str
    kind: str
    occurred_at: Annotated[datetime, Meta(tz=True)]
    sequence: Count
    source: str
    version: Literal[1]


# Of a trace, only what the log is searched by is read; the rest is authz's own affair.
class _Actor(msgspec.Struct, gc=False):
    member_id: str
    space_id: str
    user_id: str
    user_member_id: str


class _Question(msgspec.Struct, gc=False):
    action: str
    actor: _Actor
    resource_id: Text
    resource_type: str


class _Request(msgspec.Struct, gc=False):
    request_id: str
    trace_id: TraceId | None


class _Decision(msgspec.Struct, gc=False):
    decision: Literal["allow", "deny"]
    deny_code: DenyCode | None
    question: _Question
    request: _Request
    revision: Count
    purpose: Literal["as_of", "live"] = "live"


_read_envelope: Final = msgspec.json.Decoder(_Envelope).decode
_read_decision: Final = msgspec.json.Decoder(_Decision).decode
_read_change: Final = msgspec.json.Decoder(ChangeData).decode

_ENVELOPE_FORMS: Final = {"/event_id": EVENT_ID_FORM, "/kind": KIND_FORM, "/source": ID_FORM}
_DECISION_FORMS: Final = _ENVELOPE_FORMS | {
    "/data/question/actor/space_id": ID_FORM,
    "/data/question/actor/user_id": ID_FORM,
    "/data/question/actor/member_id": ID_FORM,
    "/data/question/actor/user_member_id": ID_FORM,
    "/data/question/resource_type": ID_FORM,
    "/data/question/action": ID_FORM,
    "/data/request/request_id": REQUEST_ID_FORM,
}
# A pattern for each field would cost as much as all the rest of reading an event: one matches them all.
_ENVELOPE_FORM: Final = re.compile("\n".join(_ENVELOPE_FORMS.values()))
_DECISION_FORM: Final = re.compile("\n".join(_DECISION_FORMS.values()))


def _decision(envelope: _Envelope, decision: _Decision, leaf: bytes) -> Recorded:
    question, request = decision.question, decision.request
    actor = question.actor
    texts = (
        envelope.event_id,
        envelope.kind,
        envelope.source,
        actor.space_id,
        actor.user_id,
        actor.member_id,
        actor.user_member_id,
        question.resource_type,
        question.action,
        request.request_id,
    )
    if _DECISION_FORM.fullmatch("\n".join(texts)) is None:
        raise _misformed(_DECISION_FORMS, texts)
    if (decision.decision == "deny") != (decision.deny_code is not None):
        raise EventRefused("/data/deny_code", "is given exactly when the decision is deny")
    if (decision.purpose == "as_of") != (envelope.kind == DECISION_AS_OF):
        raise EventRefused("/data/purpose", f"is as_of exactly when the kind is {DECISION_AS_OF}")
    return Recorded(
        envelope.occurred_at,
        envelope.epoch,
        envelope.sequence,
        decision.revision,
        envelope.event_id,
        envelope.kind,
        envelope.source,
        actor.space_id,
        actor.user_id,
        actor.member_id,
        actor.user_member_id,
        question.resource_type,
        question.resource_id,
        question.action,
        decision.decision,
        decision.deny_code,
        request.request_id,
        request.trace_id,
        None,
        None,
        hash_leaf(leaf),
        leaf,
    )


def _change(envelope: _Envelope, change: ChangeData, leaf: bytes) -> Recorded:
    for name, image in (("after", change.after), ("before", change.before)):
        if bytes(image)[:1] not in (b"{", b"n"):
            raise EventRefused(f"/data/{name}", "is an object or null")
    return Recorded(
        occurred_at=envelope.occurred_at,
        epoch=envelope.epoch,
        sequence=envelope.sequence,
        revision=change.revision,
        event_id=envelope.event_id,
        kind=envelope.kind,
        source=envelope.source,
        space_id=change.space_id,
        user_id=None,
        member_id=None,
        user_member_id=None,
        resource_type=None,
        resource_id=None,
        action=None,
        decision=None,
        deny_code=None,
        request_id=None if change.request is None else change.request.request_id,
        trace_id=None if change.request is None else change.request.trace_id,
        entity_type=change.entity.type,
        entity_id=change.entity.id,
        leaf_hash=hash_leaf(leaf),
        leaf=leaf,
    )


def _misformed(forms: dict[str, str], texts: tuple[str, ...]) -> EventRefused:
    for (pointer, form), text in zip(forms.items(), texts, strict=True):
        if re.fullmatch(form, text) is None:
            return EventRefused(pointer, f"{text[:140]!r} does not have the form {form}")
    raise AssertionError("a text that fails together with others fails alone: no form admits a line break")


def _not_canonical(leaf: bytes) -> EventRefused:
    given = msgspec.json.decode(leaf, type=dict[str, Raw])
    written = msgspec.json.decode(_ENCODER.encode(_read_envelope(leaf)), type=dict[str, Raw])
    for name, raw in given.items():
        if bytes(raw) != bytes(written[name]):
            return EventRefused(f"/{name}", f"is {bytes(raw)[:80]!r}, in canonical form {bytes(written[name])[:80]!r}")
    return EventRefused("", "is not in canonical form: keys sorted and once each, no whitespace (RFC 8785)")


def _refused(error: Exception, root: str) -> EventRefused:
    if not isinstance(error, msgspec.ValidationError):
        return EventRefused(root, "is not JSON in UTF-8, or nested too deeply")
    what, _, path = str(error).partition(" - at `$")
    return EventRefused(root + path.rstrip("`").replace(".", "/"), what)
