"""Events as authz sends them: decisions (20,000 members of 50 Spaces, 200,000 resources, one in five denied) and changes."""

from __future__ import annotations

import random
import time
from datetime import datetime
from typing import Any, Final, Literal, get_args

import msgspec

from shared.clock import utc_now
from shared.envelope import MAX_BATCH_BYTES, MAX_BATCH_EVENTS, encode_event
from shared.identifiers import new_uuid7

# A change, a decision without its candidates and checks, and one with all that the worked example has.
Shape = Literal["change", "short decision", "decision"]
SHAPES: Final[tuple[Shape, ...]] = get_args(Shape)


def trace_of(chance: random.Random, event_id: str, now: datetime, *, whole: bool) -> dict[str, Any]:
    """A decision's trace as authz writes it; cut down, it lacks the registry and most checks."""
    member, space = f"member_{chance.randrange(20_000):06}", f"space_{chance.randrange(50):03}"
    user, resource = f"user_{chance.randrange(20_000):06}", f"invoice_{chance.randrange(200_000):06}"
    action, deny = chance.choice(["approve", "create", "delete", "read", "reject", "update"]), chance.random() < 0.2
    deny_code = chance.choice(["SCOPE_OUT_OF_BOUNDS", "NO_MATCHING_PERMISSION"]) if deny else None
    group = {"id": f"group_{member}", "path": "finance.apac", "space_id": space, "status": "active"}
    steps = "actor_exists actor_active action_registered target_exists same_space candidates_found scope_covered"
    candidate = {
        "anchor": group,
        "grant": {
            "expires_at": None,
            "id": f"grant_{member}",
            "member_id": member,
            "not_before": None,
            "space_id": space,
            "status": "active",
        },
        "permission": {
            "action": action,
            "condition": None,
            "id": f"permission_{action}",
            "resource_type": "invoice",
            "scope": "group_tree",
        },
        "role": {"id": f"role_{space}", "key": "finance_approver", "space_id": space, "status": "active"},
        "scope_check": {
            "covered": not deny,
            "deny_code": deny_code,
            "reason": "the target's group finance.apac lies within finance",
            "rule": "group_tree",
        },
    }
    return {
        "actor": {
            "member": {"display_name": "Finance Reviewer", "id": member, "space_id": space, "status": "active"},
            "space": {"id": space, "name": "Acme", "status": "active"},
            "user": {"email": f"{user}@example.com", "id": user, "status": "active"},
            "user_member": {
                "expires_at": None,
                "id": f"um_{member}",
                "member_id": member,
                "relation_type": "assigned",
                "space_id": space,
                "status": "active",
                "user_id": user,
            },
        },
        "candidates": [candidate] if whole else [],
        "checks": [{"result": "passed", "step": step} for step in steps.split()] if whole else [],
        "decided_at": now,
        "decision": "deny" if deny else "allow",
        "decision_id": event_id,
        "decisive": {"candidate": 0, "step": "scope_covered"},
        "deny_code": deny_code,
        "inline": [],
        "omitted_candidates": 0,
        "question": {
            "action": action,
            "actor": {"member_id": member, "space_id": space, "user_id": user, "user_member_id": f"um_{member}"},
            "resource_id": resource,
            "resource_type": "invoice",
        },
        "reason": f"Role finance_approver allows {action} on invoice: finance.apac lies within finance",
        "request": {
            "credential_id": "a" * 16,
            "inline": False,
            "ip": "127.0.0.1",
            "request_id": f"req_{new_uuid7().replace('-', '')}",
            "span_id": "00f067aa0ba902b7",
            "trace_id": event_id.replace("-", ""),
            "user_agent": "python-httpx/0.28",
        },
        "revision": 42,
        "target": {
            "group": group,
            "resource": {
                "external_id": None,
                "group_id": group["id"],
                "id": resource,
                "owner_member_id": member,
                "properties": {},
                "space_id": space,
                "status": "active",
                "type": "invoice",
            },
        },
        "trace_version": 1,
    }


def change_of(chance: random.Random, event_id: str, now: datetime) -> dict[str, Any]:
    """The data of a change: a resource is made, as an import makes many."""
    number, space = chance.randrange(10_000_000), f"space_{chance.randrange(50):03}"
    after = {
        "created_at": now,
        "display_name": f"Invoice {number}",
        "external_id": None,
        "group_id": f"group_{number % 1_000}",
        "id": f"invoice_{number}",
        "metadata": {},
        "owner_member_id": f"member_{number % 20_000:06}",
        "properties": {},
        "resource_type": "invoice",
        "revision": number,
        "space_id": space,
        "status": "active",
        "updated_at": now,
    }
    return {
        "actor": {"credential_id": "a" * 16, "type": "credential"},
        "after": after,
        "before": None,
        "entity": {"id": after["id"], "type": "resource"},
        "reason": None,
        "request": {
            "ip": "127.0.0.1",
            "request_id": f"req_{event_id.replace('-', '')}",
            "trace_id": None,
            "user_agent": "python-httpx/0.28",
        },
        "revision": number,
        "space_id": space,
    }


def data_of(shape: Shape, chance: random.Random, event_id: str, now: datetime) -> dict[str, Any]:
    """The data of one event."""
    if shape == "change":
        return change_of(chance, event_id, now)
    return trace_of(chance, event_id, now, whole=shape == "decision")


def make_events(count: int, shape: Shape, *, seed: int) -> list[bytes]:
    """Events of one producer, as canonical bytes."""
    chance, now, epoch = random.Random(seed), utc_now(), time.time_ns() // 1000
    encoder = msgspec.json.Encoder(order="sorted")
    events = []
    for sequence in range(count):
        event_id = new_uuid7()
        data = msgspec.Raw(encoder.encode(data_of(shape, chance, event_id, now)))
        events.append(
            encode_event(
                data=data,
                epoch=epoch,
                event_id=event_id,
                kind="resource.created" if shape == "change" else "decision.made",
                occurred_at=now,
                sequence=sequence,
                source="benchmark",
            )
        )
    return events


def in_batches(events: list[bytes]) -> list[list[bytes]]:
    """Cut a stream into batches as large as audit takes them."""
    per_batch = min(MAX_BATCH_EVENTS, (MAX_BATCH_BYTES - 1_024) // (max(map(len, events)) + 1))
    return [events[i : i + per_batch] for i in range(0, len(events), per_batch)]
