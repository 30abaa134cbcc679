"""The facts a decision is made from, the question asked, and the verdict given.

Everything here is an immutable value. The facts are at the same time the snapshot kept in the trace, so a
decision can be derived again from its trace alone. Fields are declared in alphabetical order: the encoder
writes them in that order, which is what makes an event canonical (RFC 8785) at no cost.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

import msgspec

TRACE_VERSION: Final = 1


class Fact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """A value of the decision's world; equal values are interchangeable.

    Facts are trees, so the cycle collector need not look at them (`gc=False`): with a million in memory, its pauses would
    be what callers notice.
    """


class User(Fact, frozen=True, kw_only=True):
    """The login account that asks."""

    email: str | None
    id: str
    status: str


class Space(Fact, frozen=True, kw_only=True):
    """The tenant boundary that the actor acts in."""

    id: str
    name: str | None
    status: str


class Member(Fact, frozen=True, kw_only=True):
    """The business identity that roles attach to."""

    display_name: str | None
    id: str
    space_id: str
    status: str


class UserMember(Fact, frozen=True, kw_only=True):
    """The binding: this User may act as this Member."""

    expires_at: datetime | None
    id: str
    member_id: str
    relation_type: str | None
    space_id: str
    status: str
    user_id: str


class Group(Fact, frozen=True, kw_only=True):
    """A node of a Space's tree; `id` is None when the group is known by its path alone (context mode)."""

    id: str | None
    path: str
    space_id: str
    status: str


class Resource(Fact, frozen=True, kw_only=True):
    """The mirror of an object that a calling service owns; `id` may be None in context mode."""

    external_id: str | None
    group_id: str | None
    id: str | None
    owner_member_id: str | None
    properties: dict[str, Any]
    space_id: str
    status: str
    type: str


class ResourceType(Fact, frozen=True, kw_only=True):
    """A registered kind of resource."""

    key: str
    status: str


class ResourceAction(Fact, frozen=True, kw_only=True):
    """An action registered for a resource type."""

    key: str
    risk_level: str
    status: str


class Role(Fact, frozen=True, kw_only=True):
    """A named set of permissions in one Space; `id` is None in context mode."""

    id: str | None
    key: str
    space_id: str
    status: str


class Permission(Fact, frozen=True, kw_only=True):
    """What a role allows: one action on one resource type within one scope, perhaps under a condition."""

    action: str
    condition: dict[str, Any] | None
    id: str | None
    resource_type: str
    scope: str


class Grant(Fact, frozen=True, kw_only=True):
    """A MemberRole: this member holds this role, within a validity window (both ends included)."""

    expires_at: datetime | None
    id: str | None
    member_id: str
    not_before: datetime | None
    space_id: str
    status: str


class GrantedPermission(Fact, frozen=True, kw_only=True):
    """One way a member could be allowed: a grant, its role, one permission of the role, and the grant's anchor."""

    anchor: Group | None
    grant: Grant
    permission: Permission
    role: Role


class ActorFacts(Fact, frozen=True, kw_only=True):
    """Who asks, as far as it exists."""

    member: Member | None
    space: Space | None
    user: User | None
    user_member: UserMember | None


class TargetFacts(Fact, frozen=True, kw_only=True):
    """What is asked about, as far as it exists; `group` is the resource's group whatever its status."""

    group: Group | None
    resource: Resource | None


class RegistryFacts(Fact, frozen=True, kw_only=True):
    """What the Resource Registry knows of the type and the action."""

    action: ResourceAction | None
    resource_type: ResourceType | None


class Facts(Fact, frozen=True, kw_only=True):
    """All that a decision may depend on; `granted` is every permission the member holds, in any order."""

    actor: ActorFacts
    granted: tuple[GrantedPermission, ...]
    registry: RegistryFacts
    target: TargetFacts


class ActorIds(Fact, frozen=True, kw_only=True):
    """The four ids that name the actor."""

    member_id: str
    space_id: str
    user_id: str
    user_member_id: str


class Question(Fact, frozen=True, kw_only=True):
    """Whether this actor may do this action on this resource."""

    action: str
    actor: ActorIds
    resource_id: str
    resource_type: str


class ScopeCheck(Fact, frozen=True, kw_only=True):
    """Whether one candidate covers the target, by which rule, and if not why not."""

    covered: bool
    deny_code: str | None
    reason: str
    rule: str


class Candidate(Fact, frozen=True, kw_only=True):
    """A granted permission that was reasoned with, and what came of it."""

    anchor: Group | None
    grant: Grant
    permission: Permission
    role: Role
    scope_check: ScopeCheck


# Whether a decision was asked for to act upon it, or to learn what it would have been.
Purpose = Literal["as_of", "live"]
StepResult = Literal["passed", "denied", "not_reached"]


class Check(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """One step of the evaluation and its result."""

    deny_code: str | None = None
    result: StepResult
    step: str


class Decisive(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """What settled the decision: the index of the first covering candidate, or the step that denied."""

    candidate: int | None = None
    step: str


class Verdict(Fact, frozen=True, kw_only=True):
    """The engine's answer with all its reasons; `deny_code` is None exactly when the decision is allow."""

    candidates: tuple[Candidate, ...]
    checks: tuple[Check, ...]
    decision: Literal["allow", "deny"]
    decisive: Decisive
    deny_code: str | None
    reason: str


class RequestOrigin(Fact, frozen=True, kw_only=True):
    """Where the question came from; filled by the service, never by the caller's body."""

    credential_id: str
    inline: bool
    ip: str | None
    request_id: str
    span_id: str | None
    trace_id: str | None
    user_agent: str | None


class Trace(Fact, frozen=True, kw_only=True):
    """The snapshot of a decision: enough to explain and to derive the decision again."""

    actor: ActorFacts
    candidates: tuple[Candidate, ...]
    checks: tuple[Check, ...]
    decided_at: datetime
    decision: Literal["allow", "deny"]
    decision_id: str
    decisive: Decisive
    deny_code: str | None
    inline: tuple[str, ...]
    omitted_candidates: int
    purpose: Purpose = "live"  # what was recorded before there was another has none
    question: Question
    reason: str
    registry: RegistryFacts
    request: RequestOrigin
    revision: int
    target: TargetFacts
    trace_version: int
