"""A second evaluator, written from the rules of the evaluation and not from the engine, to check the engine against.

It promises nothing but to be obvious: every step is computed whether or not an earlier one denied, faults are a set of which
the first in the order of the deny codes is named, paths are lists of segments, and only the facts are shared with the engine.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from services.authz.model import Facts, GrantedPermission, Group, Question

FOREVER = datetime.max.replace(tzinfo=UTC)
SINCE_EVER = datetime.min.replace(tzinfo=UTC)

NEAREST_FIRST = (
    "CONDITION_NOT_MET",
    "SCOPE_OUT_OF_BOUNDS",
    "TARGET_GROUP_MISSING",
    "SCOPE_ANCHOR_MISSING",
    "GLOBAL_SCOPE_DISABLED",
)

STEPS_WITHOUT_CANDIDATES = (
    "ACTOR_NOT_FOUND",
    "ACTOR_USER_INACTIVE",
    "ACTOR_MEMBER_INACTIVE",
    "SPACE_INACTIVE",
    "USER_MEMBER_REVOKED",
    "USER_MEMBER_EXPIRED",
    "INVALID_RESOURCE_TYPE",
    "INVALID_RESOURCE_ACTION",
    "RESOURCE_NOT_FOUND",
    "RESOURCE_INACTIVE",
    "CROSS_SPACE_VIOLATION",
    "NO_MATCHING_PERMISSION",
)

EVERY_DENY_CODE = frozenset(STEPS_WITHOUT_CANDIDATES) | frozenset(NEAREST_FIRST)


class Shown(NamedTuple):
    """What the trace must say of one candidate."""

    grant_id: str | None
    permission_id: str | None
    covered: bool
    deny_code: str | None


class Opinion(NamedTuple):
    """What the oracle holds to be right; `counted` also tells apart candidates that carry no ids (context mode)."""

    decision: str
    deny_code: str | None
    shown: frozenset[Shown]
    counted: Counter[Shown]


def consult(facts: Facts, question: Question, now: datetime) -> Opinion:
    """Decide by exhaustion: every fault of every step, then the first one in the order of the deny codes."""
    candidates = [granted for granted in facts.granted if is_candidate(granted, question, now)]
    shown = [show(granted, facts, question) for granted in candidates]
    violated = faults(facts, question, now, candidates)
    if not any(one.covered for one in shown):
        violated |= {one.deny_code for one in shown if one.deny_code is not None}
    deny_code = next((code for code in STEPS_WITHOUT_CANDIDATES + NEAREST_FIRST if code in violated), None)
    return Opinion("deny" if deny_code else "allow", deny_code, frozenset(shown), Counter(shown))


def faults(facts: Facts, question: Question, now: datetime, candidates: list[GrantedPermission]) -> set[str]:
    """All that is wrong in steps 1 to 6, the codes as a set."""
    actor, target, registry = facts.actor, facts.target, facts.registry
    binding, resource = actor.user_member, target.resource
    status = {
        name: fact.status
        for name, fact in {
            "ACTOR_USER_INACTIVE": actor.user,
            "ACTOR_MEMBER_INACTIVE": actor.member,
            "SPACE_INACTIVE": actor.space,
            "USER_MEMBER_REVOKED": binding,
            "RESOURCE_INACTIVE": resource,
        }.items()
        if fact is not None
    }
    found = {code for code, word in status.items() if word != "active"}
    if None in (actor.user, actor.space, actor.member, actor.user_member):
        found.add("ACTOR_NOT_FOUND")
    if binding is not None and (binding.expires_at or FOREVER) < now:
        found.add("USER_MEMBER_EXPIRED")
    if registry.resource_type is None or registry.resource_type.status != "active":
        found.add("INVALID_RESOURCE_TYPE")
    if registry.action is None or registry.action.status != "active":
        found.add("INVALID_RESOURCE_ACTION")
    if resource is None:
        found.add("RESOURCE_NOT_FOUND")
    strangers = {one.grant.member_id for one in candidates} - {question.actor.member_id}
    abroad = spaces_touched(facts, candidates) - {question.actor.space_id}
    if strangers or abroad or not binding_joins(facts, question):
        found.add("CROSS_SPACE_VIOLATION")
    if not candidates:
        found.add("NO_MATCHING_PERMISSION")
    return found


def spaces_touched(facts: Facts, candidates: Iterable[GrantedPermission]) -> set[str]:
    """The Spaces of everything that step 5 names; statuses play no part."""
    rows: list[Any] = [facts.actor.member, facts.actor.user_member, facts.target.resource, facts.target.group]
    for candidate in candidates:
        rows += [candidate.role, candidate.grant, candidate.anchor]
    return {row.space_id for row in rows if row is not None}


def binding_joins(facts: Facts, question: Question) -> bool:
    """Whether the binding, as far as there is one, joins exactly this user, member and space."""
    binding, asked = facts.actor.user_member, question.actor
    if binding is None:
        return True
    joined = (binding.user_id, binding.member_id, binding.space_id)
    return joined == (asked.user_id, asked.member_id, asked.space_id)


def is_candidate(granted: GrantedPermission, question: Question, now: datetime) -> bool:
    """Step 6: an active grant within its window, an active role, exactly this type and action.

    The facts hold the grants of the actor's member; one of somebody else's is a candidate that step 5 refuses.
    """
    grant, permission = granted.grant, granted.permission
    return all(
        {
            grant.status == granted.role.status == "active",
            (grant.not_before or SINCE_EVER) <= now <= (grant.expires_at or FOREVER),
            (permission.resource_type, permission.action) == (question.resource_type, question.action),
        }
    )


def show(granted: GrantedPermission, facts: Facts, question: Question) -> Shown:
    """Step 7 for one candidate: its scope, then its condition."""
    code = scope_fault(granted, facts, question)
    if code is None and not condition_holds(granted, facts):
        code = "CONDITION_NOT_MET"
    return Shown(granted.grant.id, granted.permission.id, code is None, code)


def scope_fault(granted: GrantedPermission, facts: Facts, question: Question) -> str | None:
    """The table of scopes; None when the scope covers the target."""
    resource = facts.target.resource
    anchor, group = present(granted.anchor), present(facts.target.group)
    out_of_bounds = "SCOPE_OUT_OF_BOUNDS"
    match granted.permission.scope:
        case "global":
            return "GLOBAL_SCOPE_DISABLED"
        case "self":
            owners = {resource.owner_member_id} - {None} if resource else set()
            return None if question.actor.member_id in owners else out_of_bounds
        case "space":
            homes = {resource.space_id} if resource else set()
            return None if question.actor.space_id in homes else out_of_bounds
        case "group" | "group_tree" if anchor is None:
            return "SCOPE_ANCHOR_MISSING"
        case "group" | "group_tree" if resource is None or group is None:
            return "TARGET_GROUP_MISSING"
        case "group" if anchor and group:
            return None if lineage(group) == lineage(anchor) else out_of_bounds
        case "group_tree" if anchor and group:
            return None if lineage(group)[: len(lineage(anchor))] == lineage(anchor) else out_of_bounds
        case _:
            return out_of_bounds


def present(group: Group | None) -> Group | None:
    """The group, or nothing when it is not active: such a group counts as absent."""
    return group if group is not None and group.status == "active" else None


def lineage(group: Group) -> list[str]:
    """Where a group stands: its Space, then each key from the root down."""
    return [group.space_id, *group.path.split(".")]


def condition_holds(granted: GrantedPermission, facts: Facts) -> bool:
    """Whether each property named by the condition has the value asked for, or one of those listed."""
    properties = facts.target.resource.properties if facts.target.resource else {}
    return all(
        name in properties
        and spelled(properties[name]) in map(spelled, wanted if isinstance(wanted, list) else [wanted])
        for name, wanted in (granted.permission.condition or {}).items()
    )


def spelled(value: Any) -> str:
    """A value as JSON text: two values are equal exactly when they are spelled the same."""
    return json.dumps(value, sort_keys=True)
