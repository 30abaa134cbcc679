"""Worlds to decide in: one plain world that allows, small edits of it, and the worked example of README.md.

The plain world: Alice acts as a reviewer whose role, anchored at `finance`, may approve invoices in the whole subtree;
the invoice lies in `finance.apac`. A test changes one thing with `put` and looks at what comes of it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from services.authz.model import (
    ActorFacts,
    ActorIds,
    Facts,
    Grant,
    GrantedPermission,
    Group,
    Member,
    Permission,
    Question,
    RegistryFacts,
    Resource,
    ResourceAction,
    ResourceType,
    Role,
    Space,
    TargetFacts,
    User,
    UserMember,
    Verdict,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TICK = timedelta(microseconds=1)

HOME = "space_home"
ABROAD = "space_abroad"


def group(path: str, *, space_id: str = HOME, status: str = "active") -> Group:
    """A group whose id follows from its Space and path, as in a stored tree."""
    return Group(id=f"group_{space_id}_{path}", path=path, space_id=space_id, status=status)


def granted(
    scope: str = "group_tree",
    anchor: Group | str | None = "finance",
    *,
    condition: dict[str, Any] | None = None,
    role: str = "reviewer",
    grant_id: str | None = "grant_1",
    permission_id: str | None = "permission_1",
    action: str = "approve",
    resource_type: str = "invoice",
    not_before: datetime | None = None,
    expires_at: datetime | None = None,
) -> GrantedPermission:
    """A granted permission of the plain world's member; an anchor may be given by its path."""
    return GrantedPermission(
        anchor=group(anchor) if isinstance(anchor, str) else anchor,
        grant=Grant(
            expires_at=expires_at,
            id=grant_id,
            member_id="member_reviewer",
            not_before=not_before,
            space_id=HOME,
            status="active",
        ),
        permission=Permission(
            action=action, condition=condition, id=permission_id, resource_type=resource_type, scope=scope
        ),
        role=Role(id=f"role_{role}", key=role, space_id=HOME, status="active"),
    )


QUESTION = Question(
    action="approve",
    actor=ActorIds(
        member_id="member_reviewer", space_id=HOME, user_id="user_alice", user_member_id="um_alice_reviewer"
    ),
    resource_id="invoice_001",
    resource_type="invoice",
)

PLAIN = Facts(
    actor=ActorFacts(
        member=Member(display_name="Reviewer", id="member_reviewer", space_id=HOME, status="active"),
        space=Space(id=HOME, name="Home", status="active"),
        user=User(email="alice@example.com", id="user_alice", status="active"),
        user_member=UserMember(
            expires_at=None,
            id="um_alice_reviewer",
            member_id="member_reviewer",
            relation_type="employee",
            space_id=HOME,
            status="active",
            user_id="user_alice",
        ),
    ),
    granted=(granted(),),
    registry=RegistryFacts(
        action=ResourceAction(key="approve", risk_level="high", status="active"),
        resource_type=ResourceType(key="invoice", status="active"),
    ),
    target=TargetFacts(
        group=group("finance.apac"),
        resource=Resource(
            external_id=None,
            group_id=group("finance.apac").id,
            id="invoice_001",
            owner_member_id="member_creator",
            properties={},
            space_id=HOME,
            status="active",
            type="invoice",
        ),
    ),
)


def put(fact: Any, where: str, value: Any) -> Any:
    """The same fact with the field at the dotted path `where` set to `value`; what is absent stays absent."""
    if fact is None:
        return None
    if isinstance(fact, tuple):
        return tuple(put(one, where, value) for one in fact)
    field, _, rest = where.partition(".")
    return replace(fact, **{field: put(getattr(fact, field), rest, value) if rest else value})


def holding(*grants: GrantedPermission, facts: Facts = PLAIN) -> Facts:
    """The same world with exactly these granted permissions."""
    return replace(facts, granted=grants)


def retold(facts: Facts, verdict: Verdict) -> Facts:
    """The world as a trace keeps it: the same snapshot, and no granted permission but the verdict's candidates."""
    return holding(
        *(
            GrantedPermission(anchor=one.anchor, grant=one.grant, permission=one.permission, role=one.role)
            for one in verdict.candidates
        ),
        facts=facts,
    )


ACME = "space_acme"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

_RISKS = {
    "read": "low",
    "create": "normal",
    "update": "normal",
    "approve": "high",
    "reject": "high",
    "delete": "critical",
}
_BINDINGS = {
    "um_alice_finance_reviewer": ("user_alice", "active", None),
    "um_bob_finance_reviewer": ("user_bob", "active", None),
    "um_alice_finance_reviewer_revoked": ("user_alice", "revoked", None),
    "um_alice_finance_reviewer_expired": ("user_alice", "active", LONG_AGO),
}
_INVOICES = {"invoice_001": "finance.apac", "invoice_002": "legal.emea"}


def finance_question(binding_id: str, action: str, invoice_id: str) -> Question:
    """One of the worked example's questions: whose binding, which action, which invoice."""
    return Question(
        action=action,
        actor=ActorIds(
            member_id="member_finance_reviewer",
            space_id=ACME,
            user_id=_BINDINGS[binding_id][0],
            user_member_id=binding_id,
        ),
        resource_id=invoice_id,
        resource_type="invoice",
    )


def finance_facts(question: Question) -> Facts:
    """What a store of the worked example knows that bears on the question."""
    user_id, binding_status, binding_expires_at = _BINDINGS[question.actor.user_member_id]
    invoice_group = _acme_group(_INVOICES[question.resource_id])
    return Facts(
        actor=ActorFacts(
            member=Member(
                display_name="Finance Reviewer", id="member_finance_reviewer", space_id=ACME, status="active"
            ),
            space=Space(id=ACME, name="Acme", status="active"),
            user=User(email=f"{user_id.removeprefix('user_')}@acme.example", id=user_id, status="active"),
            user_member=UserMember(
                expires_at=binding_expires_at,
                id=question.actor.user_member_id,
                member_id="member_finance_reviewer",
                relation_type="employee",
                space_id=ACME,
                status=binding_status,
                user_id=user_id,
            ),
        ),
        granted=tuple(
            GrantedPermission(
                anchor=_acme_group("finance"),
                grant=Grant(
                    expires_at=None,
                    id="mr_finance_reviewer_approver",
                    member_id="member_finance_reviewer",
                    not_before=None,
                    space_id=ACME,
                    status="active",
                ),
                permission=Permission(
                    action=action,
                    condition=None,
                    id=f"perm_invoice_{action}_group_tree",
                    resource_type="invoice",
                    scope="group_tree",
                ),
                role=Role(id="role_finance_approver", key="finance_approver", space_id=ACME, status="active"),
            )
            for action in ("approve", "read", "create", "update", "delete")
        ),
        registry=RegistryFacts(
            action=ResourceAction(key=question.action, risk_level=_RISKS[question.action], status="active"),
            resource_type=ResourceType(key="invoice", status="active"),
        ),
        target=TargetFacts(
            group=invoice_group,
            resource=Resource(
                external_id=None,
                group_id=invoice_group.id,
                id=question.resource_id,
                owner_member_id="member_invoice_creator",
                properties={},
                space_id=ACME,
                status="active",
                type="invoice",
            ),
        ),
    )


def _acme_group(path: str) -> Group:
    return Group(id=f"group_{path.replace('.', '_')}", path=path, space_id=ACME, status="active")
