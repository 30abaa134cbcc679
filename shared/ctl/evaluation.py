"""The evaluation a second time: `evaluate(facts, question, now) -> Verdict`, to hold recorded decisions against.

Written from the rules (docs/architecture.md, the path of a question) and not from authz's engine, with which it shares no
line; a fault in one of them shows as a disagreement. Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import msgspec

from shared.ctl.trace import (
    ActorIds,
    Candidate,
    Check,
    Decisive,
    Facts,
    Granted,
    Group,
    Question,
    ScopeCheck,
    TargetFacts,
    Verdict,
)

# The steps in their order; the first that denies names the code.
STEPS: Final = (
    "actor_exists",
    "actor_active",
    "action_registered",
    "target_exists",
    "same_space",
    "candidates_found",
    "scope_covered",
)
_NEAREST_MISS: Final = (
    "CONDITION_NOT_MET",
    "SCOPE_OUT_OF_BOUNDS",
    "TARGET_GROUP_MISSING",
    "SCOPE_ANCHOR_MISSING",
    "GLOBAL_SCOPE_DISABLED",
)


def evaluate(facts: Facts, question: Question, now: datetime) -> Verdict:
    """Answer the question on these facts at `now`, with every candidate's check whatever the answer."""
    held = sorted((one for one in facts.granted if _applies(one, question, now)), key=_order)
    candidates = tuple(_weigh(one, facts.target, question.actor) for one in held)
    step, deny_code = next(_faults(facts, question, now, candidates), ("scope_covered", None))
    decisive = Decisive(step=step)
    if deny_code is None:
        decisive = Decisive(step=step, candidate=next(i for i, c in enumerate(candidates) if c.scope_check.covered))
    return Verdict(
        candidates=candidates,
        checks=tuple(_checks(step, deny_code)),
        decision="allow" if deny_code is None else "deny",
        decisive=decisive,
        deny_code=deny_code,
    )


def _faults(
    facts: Facts, question: Question, now: datetime, candidates: tuple[Candidate, ...]
) -> Iterator[tuple[str, str]]:
    """Tell what is wrong, in the order of the steps; only the first is asked for, since what follows relies on it."""
    ids, actor, resource = question.actor, facts.actor, facts.target.resource
    user, member, space, binding = actor.user, actor.member, actor.space, actor.user_member
    if user is None or member is None or space is None or binding is None:
        yield "actor_exists", "ACTOR_NOT_FOUND"
        return
    for fact, code in (
        (user, "ACTOR_USER_INACTIVE"),
        (member, "ACTOR_MEMBER_INACTIVE"),
        (space, "SPACE_INACTIVE"),
        (binding, "USER_MEMBER_REVOKED"),
    ):
        if fact.status != "active":
            yield "actor_active", code
    if binding.expires_at is not None and now > binding.expires_at:
        yield "actor_active", "USER_MEMBER_EXPIRED"
    for entry, code in (
        (facts.registry.resource_type, "INVALID_RESOURCE_TYPE"),
        (facts.registry.action, "INVALID_RESOURCE_ACTION"),
    ):
        if entry is None or entry.status != "active":
            yield "action_registered", code
    if resource is None:
        yield "target_exists", "RESOURCE_NOT_FOUND"
        return
    if resource.status != "active":
        yield "target_exists", "RESOURCE_INACTIVE"
    group = facts.target.group
    spaces = {binding.space_id, member.space_id, resource.space_id, *([group.space_id] if group else [])}
    holders = {binding.member_id}
    for candidate in candidates:
        spaces |= {candidate.role.space_id, candidate.grant.space_id}
        spaces |= {candidate.anchor.space_id} if candidate.anchor else set()
        holders.add(candidate.grant.member_id)
    if (spaces, holders, binding.user_id) != ({ids.space_id}, {ids.member_id}, ids.user_id):
        yield "same_space", "CROSS_SPACE_VIOLATION"
    if not candidates:
        yield "candidates_found", "NO_MATCHING_PERMISSION"
    missed = {candidate.scope_check.deny_code for candidate in candidates}
    if None not in missed:
        yield "scope_covered", next(code for code in _NEAREST_MISS if code in missed)


def _checks(last: str, deny_code: str | None) -> Iterator[Check]:
    reached = STEPS.index(last)
    for place, step in enumerate(STEPS):
        if place < reached or deny_code is None:
            yield Check(step=step, result="passed")
        elif place == reached:
            yield Check(step=step, result="denied", deny_code=deny_code)
        else:
            yield Check(step=step, result="not_reached")


def _applies(one: Granted, question: Question, now: datetime) -> bool:
    begins, ends = one.grant.not_before, one.grant.expires_at
    return (
        (one.permission.resource_type, one.permission.action) == (question.resource_type, question.action)
        and one.grant.status == one.role.status == "active"
        and not (begins is not None and now < begins)
        and not (ends is not None and now > ends)
    )


def _order(one: Granted) -> tuple[str, ...]:
    # Role key, scope and grant id are the rule; what follows breaks the ties of conditions and of facts without ids.
    return (
        one.role.key,
        one.permission.scope,
        one.grant.id or "",
        one.permission.id or "",
        one.anchor.path if one.anchor else "",
        msgspec.json.encode(one).decode(),
    )


def _weigh(one: Granted, target: TargetFacts, actor: ActorIds) -> Candidate:
    deny_code = _missed_scope(one, target, actor)
    if deny_code is None and not _meets(one.permission.condition, target):
        deny_code = "CONDITION_NOT_MET"
    check = ScopeCheck(covered=deny_code is None, deny_code=deny_code, rule=one.permission.scope)
    return Candidate(anchor=one.anchor, grant=one.grant, permission=one.permission, role=one.role, scope_check=check)


def _missed_scope(one: Granted, target: TargetFacts, actor: ActorIds) -> str | None:
    """Name why the scope doesn't cover the target; None when it does."""
    resource, covered = target.resource, False
    match one.permission.scope:
        case "global":
            return "GLOBAL_SCOPE_DISABLED"
        case "self":
            covered = resource is not None and resource.owner_member_id == actor.member_id
        case "space":
            covered = resource is not None and resource.space_id == actor.space_id
        case "group" | "group_tree" as scope:
            anchor, group = _present(one.anchor), _present(target.group)
            if anchor is None:
                return "SCOPE_ANCHOR_MISSING"
            if resource is None or group is None:
                return "TARGET_GROUP_MISSING"
            covered = group.space_id == anchor.space_id and (
                is_within(group.path, anchor.path) if scope == "group_tree" else group.path == anchor.path
            )
        case _:
            pass  # an unknown scope never covers
    return None if covered else "SCOPE_OUT_OF_BOUNDS"


def _present(group: Group | None) -> Group | None:
    """Return the group, or None for one that isn't active: it counts as absent."""
    return group if group is not None and group.status == "active" else None


def is_within(path: str, root: str) -> bool:
    """Tell whether a path is the root or lies below it; `financeops` doesn't lie below `finance`."""
    return f"{path}.".startswith(f"{root}.")


def _meets(condition: dict[str, Any] | None, target: TargetFacts) -> bool:
    properties = target.resource.properties if target.resource else {}
    return all(
        name in properties
        and written(properties[name]) in {written(one) for one in (wanted if isinstance(wanted, list) else [wanted])}
        for name, wanted in (condition or {}).items()
    )


def written(value: Any) -> bytes:
    """Return the value's JSON with sorted keys: Python takes `True` for 1, the bytes don't."""
    return msgspec.json.encode(value, order="sorted")
