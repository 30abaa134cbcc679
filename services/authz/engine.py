"""The evaluation as one pure function: `decide(facts, question, now) -> Verdict`.

No I/O, no clock, no randomness. Read `decide` first; each step is one small function below it, in the order
in which the steps are taken. The independent evaluator in tests/unit/ shares no line with it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from services.authz.model import (
    ActorFacts,
    Candidate,
    Check,
    Decisive,
    Facts,
    GrantedPermission,
    Group,
    Question,
    RegistryFacts,
    ScopeCheck,
    TargetFacts,
    Verdict,
)

STEPS: Final = (
    "actor_exists",
    "actor_active",
    "action_registered",
    "target_exists",
    "same_space",
    "candidates_found",
    "scope_covered",
)

# The nearest miss first: a denial names the one thing that came closest to allowing.
NEAREST_MISS: Final = (
    "CONDITION_NOT_MET",
    "SCOPE_OUT_OF_BOUNDS",
    "TARGET_GROUP_MISSING",
    "SCOPE_ANCHOR_MISSING",
    "GLOBAL_SCOPE_DISABLED",
)

_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_END: Final = datetime.max.replace(tzinfo=UTC)
_PASSED: Final = tuple(Check(step=step, result="passed") for step in STEPS)
_NOT_REACHED: Final = tuple(Check(step=step, result="not_reached") for step in STEPS)


def decide(facts: Facts, question: Question, now: datetime) -> Verdict:
    """Decide whether the question is allowed by the facts at `now` (timezone-aware), with every reason.

    Every candidate's scope check is computed whatever the steps before it said, so that a denial explains
    everything at once.
    """
    candidates = _candidates(facts, question, now)
    denial = (
        _actor_exists(facts.actor, question)
        or _actor_active(facts.actor, now)
        or _action_registered(facts.registry, question)
        or _target_exists(facts.target, question)
        or _same_space(facts, candidates, question)
        or _candidates_found(candidates, question)
    )
    if denial is not None:
        step, deny_code, reason = denial
        return _denied(step, deny_code, reason, candidates)
    for index, candidate in enumerate(candidates):
        if candidate.scope_check.covered:
            return Verdict(
                candidates=candidates,
                checks=_PASSED,
                decision="allow",
                decisive=Decisive(step="scope_covered", candidate=index),
                deny_code=None,
                reason=f"Role {candidate.role.key} allows {question.action} on {question.resource_type}: "
                f"{candidate.scope_check.reason}",
            )
    nearest = min((c.scope_check for c in candidates), key=_distance)
    assert nearest.deny_code is not None  # a candidate that does not cover names its code
    return _denied(6, nearest.deny_code, nearest.reason, candidates)


def holds_between(facts: Facts, now: datetime) -> tuple[datetime, datetime]:
    """Return two moments around `now`: strictly between them the same facts give the same verdict to any question.

    Time enters a decision only where a validity begins or ends. When one does so exactly at `now`, both are `now`.
    """
    after, before = _BEGINNING, _END
    binding = facts.actor.user_member
    for moment in (
        None if binding is None else binding.expires_at,
        *(moment for granted in facts.granted for moment in (granted.grant.not_before, granted.grant.expires_at)),
    ):
        if moment is None:
            continue
        if moment < now:
            after = max(after, moment)
        elif moment > now:
            before = min(before, moment)
        else:
            return now, now
    return after, before


def _distance(check: ScopeCheck) -> int:
    return -1 if check.deny_code is None else NEAREST_MISS.index(check.deny_code)


def _denied(step: int, deny_code: str, reason: str, candidates: tuple[Candidate, ...]) -> Verdict:
    name = STEPS[step]
    return Verdict(
        candidates=candidates,
        checks=(
            *_PASSED[:step],
            Check(step=name, result="denied", deny_code=deny_code),
            *_NOT_REACHED[step + 1 :],
        ),
        decision="deny",
        decisive=Decisive(step=name),
        deny_code=deny_code,
        reason=reason,
    )


Denial = tuple[int, str, str]


def _actor_exists(actor: ActorFacts, question: Question) -> Denial | None:
    for noun, fact, id_ in (
        ("User", actor.user, question.actor.user_id),
        ("Space", actor.space, question.actor.space_id),
        ("Member", actor.member, question.actor.member_id),
        ("UserMember", actor.user_member, question.actor.user_member_id),
    ):
        if fact is None:
            return 0, "ACTOR_NOT_FOUND", f"{noun} {id_} does not exist."
    return None


def _actor_active(actor: ActorFacts, now: datetime) -> Denial | None:
    user, member, space, binding = actor.user, actor.member, actor.space, actor.user_member
    assert user and member and space and binding  # noqa: PT018  # the step before said so
    if user.status != "active":
        return 1, "ACTOR_USER_INACTIVE", f"User {user.id} is {user.status}."
    if member.status != "active":
        return 1, "ACTOR_MEMBER_INACTIVE", f"Member {member.id} is {member.status}."
    if space.status != "active":
        return 1, "SPACE_INACTIVE", f"Space {space.id} is {space.status}."
    if binding.status != "active":
        return 1, "USER_MEMBER_REVOKED", f"Binding {binding.id} is {binding.status}."
    if binding.expires_at is not None and binding.expires_at < now:
        return 1, "USER_MEMBER_EXPIRED", f"Binding {binding.id} expired at {binding.expires_at.isoformat()}."
    return None


def _action_registered(registry: RegistryFacts, question: Question) -> Denial | None:
    resource_type, action = registry.resource_type, registry.action
    if resource_type is None or resource_type.status != "active":
        return 2, "INVALID_RESOURCE_TYPE", f"Resource type {question.resource_type} is not registered and active."
    if action is None or action.status != "active":
        return (
            2,
            "INVALID_RESOURCE_ACTION",
            f"Action {question.action} is not registered and active for {question.resource_type}.",
        )
    return None


def _target_exists(target: TargetFacts, question: Question) -> Denial | None:
    resource = target.resource
    if resource is None:
        return 3, "RESOURCE_NOT_FOUND", f"Resource {question.resource_type} {question.resource_id} does not exist."
    if resource.status != "active":
        return 3, "RESOURCE_INACTIVE", f"Resource {question.resource_type} {question.resource_id} is {resource.status}."
    return None


def _same_space(facts: Facts, candidates: tuple[Candidate, ...], question: Question) -> Denial | None:
    ids, binding = question.actor, facts.actor.user_member
    member, resource, group = facts.actor.member, facts.target.resource, facts.target.group
    assert binding and member and resource  # noqa: PT018  # the steps before said so
    if (binding.user_id, binding.member_id, binding.space_id) != (ids.user_id, ids.member_id, ids.space_id):
        return _foreign(f"Binding {binding.id} does not join exactly this User, Member and Space.")
    for noun, space_id in (
        ("Member", member.space_id),
        ("target", resource.space_id),
        ("target's group", group.space_id if group else ids.space_id),
    ):
        if space_id != ids.space_id:
            return _foreign(f"The {noun} lies in another Space than the actor.")
    for candidate in candidates:
        if _is_foreign(candidate, question):
            return _foreign(f"A grant of role {candidate.role.key} reaches into another Space.")
    return None


def _is_foreign(candidate: Candidate, question: Question) -> bool:
    ids, anchor = question.actor, candidate.anchor
    return (
        candidate.role.space_id != ids.space_id
        or candidate.grant.space_id != ids.space_id
        or candidate.grant.member_id != ids.member_id
        or (anchor is not None and anchor.space_id != ids.space_id)
    )


def settling_candidates(candidates: tuple[Candidate, ...], question: Question, decisive: Decisive) -> tuple[int, ...]:
    """Return the indexes of the candidates without which the decision would be another one.

    With these alone the same decision, code and step are derived: the one that allowed, the nearest miss, or the first
    that reaches into another Space.
    """
    if decisive.candidate is not None:
        return (decisive.candidate,)
    for index, candidate in enumerate(candidates):
        if _is_foreign(candidate, question):
            return (index,)
    return (min(range(len(candidates)), key=lambda i: _distance(candidates[i].scope_check)),) if candidates else ()


def _foreign(reason: str) -> Denial:
    return 4, "CROSS_SPACE_VIOLATION", reason


def _candidates_found(candidates: tuple[Candidate, ...], question: Question) -> Denial | None:
    if candidates:
        return None
    return (
        5,
        "NO_MATCHING_PERMISSION",
        f"No role granted to Member {question.actor.member_id} has a permission to "
        f"{question.action} on {question.resource_type}.",
    )


def _candidates(facts: Facts, question: Question, now: datetime) -> tuple[Candidate, ...]:
    """Every granted permission that could allow, in the stable order role key, scope, grant id."""
    found = [g for g in facts.granted if _is_candidate(g, question, now)]
    if len(found) > 1:
        found.sort(key=_stable_order)
    return tuple(
        Candidate(
            anchor=g.anchor,
            grant=g.grant,
            permission=g.permission,
            role=g.role,
            scope_check=_scope_check(g, facts.target, question),
        )
        for g in found
    )


def _is_candidate(granted: GrantedPermission, question: Question, now: datetime) -> bool:
    grant, permission = granted.grant, granted.permission
    return (
        permission.resource_type == question.resource_type
        and permission.action == question.action
        and grant.status == "active"
        and granted.role.status == "active"
        and (grant.not_before is None or grant.not_before <= now)
        and (grant.expires_at is None or grant.expires_at >= now)
    )


def _stable_order(granted: GrantedPermission) -> tuple[str, str, str, str, str, bytes]:
    # Permission id and anchor path break the ties that conditions and context mode (no ids) leave; the whole fact
    # breaks the rest (inline grants that differ in a validity or a Space only), so that input order never shows.
    return (
        granted.role.key,
        granted.permission.scope,
        granted.grant.id or "",
        granted.permission.id or "",
        granted.anchor.path if granted.anchor else "",
        msgspec.json.encode(granted),
    )


def _scope_check(granted: GrantedPermission, target: TargetFacts, question: Question) -> ScopeCheck:
    scope = granted.permission.scope
    deny_code, reason = _scope(scope, granted.anchor, target, question)
    if deny_code is None and granted.permission.condition is not None and target.resource is not None:
        unmet = unmet_condition(granted.permission.condition, target.resource.properties)
        if unmet is not None:
            deny_code, reason = (
                "CONDITION_NOT_MET",
                f"The target's property {unmet} is not what the permission demands.",
            )
    return ScopeCheck(covered=deny_code is None, deny_code=deny_code, reason=reason, rule=scope)


def _scope(scope: str, anchor: Group | None, target: TargetFacts, question: Question) -> tuple[str | None, str]:
    """Return the deny code (None when the scope covers the target) and the sentence that says why."""
    resource = target.resource
    if scope == "global":
        return "GLOBAL_SCOPE_DISABLED", "The global scope is reserved and never covers."
    if scope in ("group", "group_tree"):
        if anchor is None or anchor.status != "active":
            return "SCOPE_ANCHOR_MISSING", f"The grant has no active anchor group, which scope {scope} needs."
        group = target.group
        if resource is None or group is None or group.status != "active":
            return "TARGET_GROUP_MISSING", "The target has no active group."
        if group.space_id == anchor.space_id and (
            group.path == anchor.path or (scope == "group_tree" and group.path.startswith(anchor.path + "."))
        ):
            return None, f"the target's group {_named(group)} lies within {_named(anchor)} ({scope})."
        return "SCOPE_OUT_OF_BOUNDS", f"The target's group {_named(group)} lies outside {_named(anchor)} ({scope})."
    if resource is None:
        return "SCOPE_OUT_OF_BOUNDS", "The target does not exist."
    if scope == "self":
        if resource.owner_member_id is not None and resource.owner_member_id == question.actor.member_id:
            return None, "the target is owned by the actor's Member (self)."
        return "SCOPE_OUT_OF_BOUNDS", "The target is not owned by the actor's Member (self)."
    if scope == "space":
        if resource.space_id == question.actor.space_id:
            return None, "the target lies in the actor's Space (space)."
        return "SCOPE_OUT_OF_BOUNDS", "The target lies outside the actor's Space (space)."
    return "SCOPE_OUT_OF_BOUNDS", f"The scope {scope} is unknown and never covers."


def _named(group: Group) -> str:
    # A path may be thousands of characters long; a sentence for a person is not.
    return group.path if len(group.path) <= 100 else f"{group.path[:40]}…{group.path[-40:]}"


def unmet_condition(condition: dict[str, Any], properties: dict[str, Any]) -> str | None:
    """Name the first property (by name) that the condition demands and the target doesn't have; None if met.

    A condition is an object: each key names a property, each value is what it must equal, or a list of the values
    it may equal. Values compare as JSON does: `true` is not `1`. A property that is absent is not met.
    """
    for name in sorted(condition):
        demanded = condition[name]
        if name not in properties:
            return name
        allowed = demanded if isinstance(demanded, list) else [demanded]
        if not any(_json_equal(properties[name], value) for value in allowed):
            return name
    return None


def _json_equal(left: Any, right: Any) -> bool:
    # Python holds 1 == True; JSON does not, at any depth. The canonical bytes decide.
    return msgspec.json.encode(left, order="sorted") == msgspec.json.encode(right, order="sorted")
