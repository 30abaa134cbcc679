"""Events as producers would send them, for the tests of audit: any field can be set, the rest is ordinary."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any, Final

from shared.canonical import canonical_json
from shared.identifiers import new_uuid7
from shared.recorded import Recorded, read_event
from shared.web.context import RequestContext

EPOCH: Final = 1_760_000_000_000_000
OCCURRED_AT: Final = "2026-01-02T03:04:05.678900Z"
_SEQUENCE: Final = itertools.count()

CONTEXT: Final = RequestContext(
    authorization=None,
    content_type=None,
    credential_id="testcredential00",
    ip="192.0.2.7",
    request_id="req_test",
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    user_agent="pytest",
)


def decision(
    *,
    event_id: str | None = None,
    sequence: int | None = None,
    source: str = "authz@test",
    space_id: str = "space_acme",
    user_id: str = "user_alice",
    member_id: str = "member_reviewer",
    resource_type: str = "invoice",
    resource_id: str = "invoice_001",
    action: str = "approve",
    deny_code: str | None = None,
    request_id: str = "req_1",
    revision: int = 7,
    purpose: str = "live",
    note: str = "",
) -> dict[str, Any]:
    """A decision's event as plain values; with a deny code it is a deny. `note` only makes the bytes differ."""
    return {
        "data": {
            "decision": "allow" if deny_code is None else "deny",
            "deny_code": deny_code,
            "purpose": purpose,
            "question": {
                "action": action,
                "actor": {
                    "member_id": member_id,
                    "space_id": space_id,
                    "user_id": user_id,
                    "user_member_id": f"um_{user_id}",
                },
                "resource_id": resource_id,
                "resource_type": resource_type,
            },
            "reason": f"a sentence for a person {note}",
            "request": {"request_id": request_id, "trace_id": None},
            "revision": revision,
        },
        "epoch": EPOCH,
        "event_id": event_id or new_uuid7(),
        "kind": "decision.made" if purpose == "live" else "decision.as_of",
        "occurred_at": OCCURRED_AT,
        "sequence": next(_SEQUENCE) if sequence is None else sequence,
        "source": source,
        "version": 1,
    }


def change(
    *,
    event_id: str | None = None,
    kind: str = "member_role.granted",
    space_id: str | None = "space_acme",
    entity_type: str = "member_role",
    entity_id: str = "grant_1",
    request_id: str = "req_1",
    source: str = "authz",
) -> dict[str, Any]:
    """An event of any other kind, as plain values."""
    return {
        "data": {
            "actor": {"credential_id": "a" * 16, "type": "credential"},
            "after": {"id": entity_id},
            "before": None,
            "entity": {"id": entity_id, "type": entity_type},
            "reason": None,
            "request": {"ip": None, "request_id": request_id, "trace_id": None, "user_agent": None},
            "revision": 3,
            "space_id": space_id,
        },
        "epoch": EPOCH,
        "event_id": event_id or new_uuid7(),
        "kind": kind,
        "occurred_at": OCCURRED_AT,
        "sequence": next(_SEQUENCE),
        "source": source,
        "version": 1,
    }


def read(*events: dict[str, Any]) -> list[Recorded]:
    """The events as the log takes them."""
    return [read_event(canonical_json(event)) for event in events]


def recorded(count: int, **fields: Any) -> list[Recorded]:
    """Some ordinary decisions."""
    return read(*(decision(**fields) for _ in range(count)))


def at(moment: str) -> datetime:
    """A time of RFC 3339 in UTC."""
    return datetime.fromisoformat(moment).astimezone(UTC)
