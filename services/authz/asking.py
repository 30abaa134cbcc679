"""What a caller sends to `check` and `explain`, and how it becomes a question and, in context mode, facts."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from services.authz.facts import STORED, InlineFacts
from services.authz.model import (
    ActorFacts,
    ActorIds,
    Grant,
    GrantedPermission,
    Group,
    Member,
    Permission,
    Question,
    Resource,
    Role,
    Space,
    TargetFacts,
    User,
    UserMember,
)
from shared.canonical import MAX_INTEGER, NotCanonical, canonical_json
from shared.identifiers import Id
from shared.problems import Problem, problem_at
from shared.web.strict import decode_strict

MAX_GRANTS: Final = 1_000
MAX_PROPERTIES_BYTES: Final = 16_384

Text = Annotated[str, Meta(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*\Z")]
Word = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*\Z")]
GroupPath = Annotated[str, Meta(max_length=16_384, pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*\Z")]
Moment = Annotated[datetime, Meta(tz=True)]


_AT_LEAST: Final = (
    "The facts are of this revision, such as the one that a write was answered with, or of a later one; "
    "503 `revision_not_reached` when it doesn't come within two seconds."
)
_AS_OF: Final = (
    "Asks what the answer was as of a revision (1 or later) or a time (RFC 3339, past): on the facts that the log of "
    "changes tells, evaluated at the time of the revision's change or the one that is given. The answer has the purpose "
    "`as_of` and is recorded under the kind `decision.as_of`; it is nothing to act upon now. Not together with "
    "`at_least_revision`, nor with facts in the request."
)


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of a request; unknown fields are refused."""


class ActorInput(Body, frozen=True, kw_only=True):
    """The four ids that name the actor; with any other field the whole actor comes from the request (context mode)."""

    user_id: Id
    member_id: Id
    user_member_id: Id
    space_id: Id
    user_email: Text | UnsetType | None = UNSET
    user_status: Word | UnsetType = UNSET
    member_display_name: Text | UnsetType | None = UNSET
    member_status: Word | UnsetType = UNSET
    space_name: Text | UnsetType | None = UNSET
    space_status: Word | UnsetType = UNSET
    binding_status: Word | UnsetType = UNSET
    binding_relation_type: Text | UnsetType | None = UNSET
    binding_expires_at: Moment | UnsetType | None = UNSET


class ResourceInput(Body, frozen=True, kw_only=True):
    """A target that replaces the stored one (context mode); give `id`, `external_id` or both."""

    type: Id
    id: Id | None = None
    external_id: Text | None = None
    space_id: Id
    group_path: GroupPath | None = None
    owner_member_id: Id | None = None
    status: Word = "active"
    properties: dict[str, Any] = {}


class GrantInput(Body, frozen=True, kw_only=True):
    """A grant that, with the others of the request, replaces the stored ones (context mode)."""

    role_key: Id
    resource_type: Id
    action: Id
    scope: Word
    space_id: Id
    scope_anchor_group_path: GroupPath | None = None
    expires_at: Moment | None = None


class CheckRequest(Body, frozen=True, kw_only=True):
    """May this actor do this action on this resource? Name the resource by type and id, or send it whole."""

    actor: ActorInput
    action: Id
    as_of: Annotated[Annotated[int, Meta(ge=1, le=MAX_INTEGER)] | Moment | UnsetType, Meta(description=_AS_OF)] = UNSET
    at_least_revision: Annotated[int, Meta(ge=0, le=MAX_INTEGER, description=_AT_LEAST)] = 0
    resource_type: Id | None = None
    resource_id: Id | None = None
    resource: ResourceInput | None = None
    grants: Annotated[tuple[GrantInput, ...], Meta(max_length=MAX_GRANTS)] | None = None


class Asked(NamedTuple):
    """What a request asks, the facts that it brings itself, how new the others must be at least, or of when exactly."""

    question: Question
    inline: InlineFacts = STORED
    at_least_revision: int = 0
    as_of: int | datetime | None = None


class _PlainActor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user_id: str
    member_id: str
    user_member_id: str
    space_id: str


class _PlainCheck(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request on stored facts alone, as nearly all are: the same fields, their form looked at in one go."""

    actor: _PlainActor
    action: str
    resource_type: str
    resource_id: str


_PLAIN: Final = msgspec.json.Decoder(_PlainCheck)
_FULL: Final = msgspec.json.Decoder(CheckRequest)
_SEVEN_IDS: Final = re.compile(r"[A-Za-z0-9_.:@-]{1,128}(?:\n[A-Za-z0-9_.:@-]{1,128}){6}")
# Eight keys and seven values: a body with more quotes gives some key twice, since no id can hold a quote.
_PLAIN_QUOTES: Final = 2 * (8 + 7)
_INLINE_ACTOR: Final = tuple(f for f in ActorInput.__struct_fields__ if not f.endswith("_id"))


def parse_check(body: bytes) -> Asked:
    """Read the body of a check strictly; raises a 400 problem that names what is wrong.

    A plain request is read the short way. Whatever is not plain, or not right, is read again the full way, which alone
    knows context mode and tells faults.
    """
    try:
        plain = _PLAIN.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        plain = None
    if plain is not None and body.count(b'"') == _PLAIN_QUOTES:
        actor = plain.actor
        ids = (
            actor.user_id,
            actor.member_id,
            actor.user_member_id,
            actor.space_id,
            plain.action,
            plain.resource_type,
            plain.resource_id,
        )
        if _SEVEN_IDS.fullmatch("\n".join(ids)):
            return Asked(
                Question(
                    action=plain.action,
                    actor=ActorIds(
                        member_id=actor.member_id,
                        space_id=actor.space_id,
                        user_id=actor.user_id,
                        user_member_id=actor.user_member_id,
                    ),
                    resource_id=plain.resource_id,
                    resource_type=plain.resource_type,
                )
            )
    return asked_of(decode_strict(body, _FULL))


def asked_of(body: CheckRequest) -> Asked:
    """Return what a request asks, or raise a 400 problem that names what is wrong."""
    question, inline = _question(body), _inline_facts(body)
    return Asked(question, inline, body.at_least_revision, _as_of(body, inline))


def _question(body: CheckRequest) -> Question:
    actor, resource = body.actor, body.resource
    resource_type, resource_id = body.resource_type, body.resource_id
    if resource is not None:
        inline_id = resource.id if resource.id is not None else resource.external_id
        if not inline_id:
            raise invalid("/resource", "give id or external_id")
        if resource_type not in (None, resource.type):
            raise invalid("/resource_type", "differs from /resource/type; leave it out")
        if resource_id not in (None, inline_id):
            raise invalid("/resource_id", "differs from the id in /resource; leave it out")
        resource_type, resource_id = resource.type, inline_id
    if resource_type is None:
        raise invalid("/resource_type", "required field is missing")
    if resource_id is None:
        raise invalid("/resource_id", "required field is missing")
    return Question(
        action=body.action,
        actor=ActorIds(
            member_id=actor.member_id,
            space_id=actor.space_id,
            user_id=actor.user_id,
            user_member_id=actor.user_member_id,
        ),
        resource_id=resource_id,
        resource_type=resource_type,
    )


def _as_of(body: CheckRequest, inline: InlineFacts) -> int | datetime | None:
    if body.as_of is UNSET:
        return None
    if inline is not STORED:
        raise invalid("/as_of", "what was true is told by the log of changes alone; leave out the facts or this")
    if body.at_least_revision:
        raise invalid("/as_of", "contradicts /at_least_revision, which asks for newer facts; leave one of them out")
    return body.as_of if isinstance(body.as_of, int) else _in_utc(body.as_of, "/as_of")


def _inline_facts(body: CheckRequest) -> InlineFacts:
    actor = body.actor
    is_inline = any(getattr(actor, field) is not UNSET for field in _INLINE_ACTOR)
    if not is_inline and body.resource is None and body.grants is None:
        return STORED
    return InlineFacts(
        actor=_actor(actor) if is_inline else None,
        granted=None
        if body.grants is None
        else tuple(_granted(i, grant, actor) for i, grant in enumerate(body.grants)),
        target=None if body.resource is None else _target(body.resource),
    )


def _actor(actor: ActorInput) -> ActorFacts:
    return ActorFacts(
        member=Member(
            display_name=_or(actor.member_display_name, None),
            id=actor.member_id,
            space_id=actor.space_id,
            status=_or(actor.member_status, "active"),
        ),
        space=Space(id=actor.space_id, name=_or(actor.space_name, None), status=_or(actor.space_status, "active")),
        user=User(email=_or(actor.user_email, None), id=actor.user_id, status=_or(actor.user_status, "active")),
        user_member=UserMember(
            expires_at=_in_utc(_or(actor.binding_expires_at, None), "/actor/binding_expires_at"),
            id=actor.user_member_id,
            member_id=actor.member_id,
            relation_type=_or(actor.binding_relation_type, None),
            space_id=actor.space_id,
            status=_or(actor.binding_status, "active"),
            user_id=actor.user_id,
        ),
    )


def _target(resource: ResourceInput) -> TargetFacts:
    try:
        size = len(canonical_json(resource.properties))
    except NotCanonical as error:
        raise invalid(f"/resource/properties{error.pointer}", error.detail) from error
    if size > MAX_PROPERTIES_BYTES:
        raise invalid("/resource/properties", f"is {size} bytes as JSON; at most {MAX_PROPERTIES_BYTES}")
    return TargetFacts(
        group=_group(resource.group_path, resource.space_id),
        resource=Resource(
            external_id=resource.external_id,
            group_id=None,
            id=resource.id,
            owner_member_id=resource.owner_member_id,
            properties=resource.properties,
            space_id=resource.space_id,
            status=resource.status,
            type=resource.type,
        ),
    )


def _granted(index: int, grant: GrantInput, actor: ActorInput) -> GrantedPermission:
    return GrantedPermission(
        anchor=_group(grant.scope_anchor_group_path, grant.space_id),
        grant=Grant(
            expires_at=_in_utc(grant.expires_at, f"/grants/{index}/expires_at"),
            id=None,
            member_id=actor.member_id,
            not_before=None,
            space_id=grant.space_id,
            status="active",
        ),
        permission=Permission(
            action=grant.action, condition=None, id=None, resource_type=grant.resource_type, scope=grant.scope
        ),
        role=Role(id=None, key=grant.role_key, space_id=grant.space_id, status="active"),
    )


def _group(path: str | None, space_id: str) -> Group | None:
    return None if path is None else Group(id=None, path=path, space_id=space_id, status="active")


def _in_utc(moment: datetime | None, pointer: str) -> datetime | None:
    # Events hold every time in UTC, so that equal moments have equal bytes.
    try:
        return None if moment is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise invalid(pointer, "lies outside the years 1 to 9999") from error


def _or(value: Any, default: Any) -> Any:
    return default if value is UNSET else value


def invalid(pointer: str, detail: str) -> Problem:
    """Make the 400 problem of one field."""
    return problem_at("validation_failed", pointer, detail)
