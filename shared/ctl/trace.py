"""A decision's trace as an operator's check reads it: the question, the facts it was taken on, and the verdict told.

Read anew from the description of the event, with nothing of authz's code, so that a fault there isn't repeated here. Fields
that this version doesn't know are passed over; sentences for people (`reason`) aren't read, since they may be reworded.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from shared.envelope import Count, Text
from shared.identifiers import Id

Moment = Annotated[datetime, Meta(tz=True)]

TRACE_VERSION: Final = 1


class User(Struct, frozen=True, kw_only=True, gc=False):
    """The login account that asked."""

    email: str | None
    id: str
    status: str


class Space(Struct, frozen=True, kw_only=True, gc=False):
    """The Space acted in."""

    id: str
    name: str | None
    status: str


class Member(Struct, frozen=True, kw_only=True, gc=False):
    """The identity acted as."""

    display_name: str | None
    id: str
    space_id: str
    status: str


class UserMember(Struct, frozen=True, kw_only=True, gc=False):
    """The binding of the User to the Member."""

    expires_at: Moment | None
    id: str
    member_id: str
    relation_type: str | None
    space_id: str
    status: str
    user_id: str


class Group(Struct, frozen=True, kw_only=True, gc=False):
    """A group, as an anchor or as the target's; without an id when it came with the request."""

    id: str | None
    path: str
    space_id: str
    status: str


class Resource(Struct, frozen=True, kw_only=True, gc=False):
    """What was asked about."""

    external_id: str | None
    group_id: str | None
    id: str | None
    owner_member_id: str | None
    properties: dict[str, Any]
    space_id: str
    status: str
    type: str


class ResourceType(Struct, frozen=True, kw_only=True, gc=False):
    """A registered kind of resource."""

    key: str
    status: str


class ResourceAction(Struct, frozen=True, kw_only=True, gc=False):
    """A registered action."""

    key: str
    risk_level: str
    status: str


class Role(Struct, frozen=True, kw_only=True, gc=False):
    """The role of a grant."""

    id: str | None
    key: str
    space_id: str
    status: str


class Permission(Struct, frozen=True, kw_only=True, gc=False):
    """A permission of a role."""

    action: str
    condition: dict[str, Any] | None
    id: str | None
    resource_type: str
    scope: str


class Grant(Struct, frozen=True, kw_only=True, gc=False):
    """A role given to a member, within its validity."""

    expires_at: Moment | None
    id: str | None
    member_id: str
    not_before: Moment | None
    space_id: str
    status: str


class Granted(Struct, frozen=True, kw_only=True, gc=False):
    """One permission that a member holds: by which grant, of which role, anchored where."""

    anchor: Group | None
    grant: Grant
    permission: Permission
    role: Role


class ScopeCheck(Struct, frozen=True, kw_only=True, gc=False):
    """Whether a candidate covers the target, by which rule, and if not why not."""

    covered: bool
    deny_code: str | None
    rule: str


class Candidate(Struct, frozen=True, kw_only=True, gc=False):
    """A granted permission that was reasoned with, and what came of it."""

    anchor: Group | None
    grant: Grant
    permission: Permission
    role: Role
    scope_check: ScopeCheck


class ActorFacts(Struct, frozen=True, kw_only=True, gc=False):
    """Who asked, as far as it exists."""

    member: Member | None
    space: Space | None
    user: User | None
    user_member: UserMember | None


class TargetFacts(Struct, frozen=True, kw_only=True, gc=False):
    """What was asked about, as far as it exists."""

    group: Group | None
    resource: Resource | None


class RegistryFacts(Struct, frozen=True, kw_only=True, gc=False):
    """What the Resource Registry knows of type and action."""

    action: ResourceAction | None
    resource_type: ResourceType | None


class Facts(Struct, frozen=True, kw_only=True, gc=False):
    """All that a decision depends on; `granted` in any order."""

    actor: ActorFacts
    granted: tuple[Granted, ...]
    registry: RegistryFacts
    target: TargetFacts


class ActorIds(Struct, frozen=True, kw_only=True, gc=False):
    """The four ids that name an actor."""

    member_id: Id
    space_id: Id
    user_id: Id
    user_member_id: Id


class Question(Struct, frozen=True, kw_only=True, gc=False):
    """Whether this actor may do this action on this resource."""

    action: Id
    actor: ActorIds
    resource_id: Text
    resource_type: Id


class Check(Struct, frozen=True, kw_only=True, gc=False):
    """One step of the evaluation and its result."""

    deny_code: str | None = None
    result: str
    step: str


class Decisive(Struct, frozen=True, kw_only=True, gc=False):
    """What settled the decision: the index of the first covering candidate, or the step that denied."""

    candidate: int | None = None
    step: str


class Verdict(Struct, frozen=True, kw_only=True, gc=False):
    """An answer with what led to it."""

    candidates: tuple[Candidate, ...]
    checks: tuple[Check, ...]
    decision: str
    decisive: Decisive
    deny_code: str | None


class Trace(Struct, frozen=True, kw_only=True, gc=False):
    """The snapshot of a decision; `inline` names the parts of its facts that came with the request."""

    actor: ActorFacts
    candidates: tuple[Candidate, ...]
    checks: tuple[Check, ...]
    decided_at: Moment
    decision: str
    decision_id: str
    decisive: Decisive
    deny_code: str | None
    inline: tuple[Literal["actor", "grants", "resource"], ...]
    omitted_candidates: Count
    question: Question
    registry: RegistryFacts
    revision: Count
    target: TargetFacts
    trace_version: int

    @property
    def facts(self) -> Facts:
        """The facts as far as they are kept: of what was granted, the candidates shown."""
        granted = tuple(
            Granted(anchor=one.anchor, grant=one.grant, permission=one.permission, role=one.role)
            for one in self.candidates
        )
        return Facts(actor=self.actor, granted=granted, registry=self.registry, target=self.target)

    @property
    def verdict(self) -> Verdict:
        """The verdict that was recorded."""
        return Verdict(
            candidates=self.candidates,
            checks=self.checks,
            decision=self.decision,
            decisive=self.decisive,
            deny_code=self.deny_code,
        )


class _Event(Struct, frozen=True, gc=False):
    data: Trace


_DECODER: Final = msgspec.json.Decoder(_Event)


class UnreadableTrace(ValueError):
    """Bytes in which no trace can be read; its text says why."""


def read_trace(leaf: bytes) -> Trace:
    """Read the trace within a decision's event, or raise `UnreadableTrace`."""
    try:
        trace = _DECODER.decode(leaf).data
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise UnreadableTrace(str(error)) from error
    if trace.trace_version != TRACE_VERSION:
        raise UnreadableTrace(f"its trace_version is {trace.trace_version}; this plystractl reads {TRACE_VERSION}")
    return trace
