"""The worked example of README.md, Finance Reviewer, loaded through the command path."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final, Literal

from services.authz.commands import Commands
from services.authz.directory import Place
from services.authz.journal import Author
from services.authz.nouns import NOUNS
from services.authz.rows import (
    GroupRow,
    MemberRoleRow,
    MemberRow,
    PermissionRow,
    ResourceActionRow,
    ResourceRow,
    ResourceTypeRow,
    RolePermissionRow,
    RoleRow,
    Row,
    SpaceRow,
    UserMemberRow,
    UserRow,
)
from services.authz.store import SQL
from shared.clock import utc_now
from shared.db import create_pool
from shared.identifiers import new_id, new_uuid7

SPACE: Final = "space_acme"
REVIEWER: Final = "member_finance_reviewer"
CREATOR: Final = "member_invoice_creator"
REVOKED: Final = "um_alice_finance_reviewer_revoked"
_RISKS: Final[tuple[tuple[str, Literal["low", "normal", "high", "critical"]], ...]] = (
    ("read", "low"),
    ("create", "normal"),
    ("update", "normal"),
    ("approve", "high"),
    ("reject", "high"),
    ("delete", "critical"),
)
_APPROVER_MAY: Final = ("approve", "read", "create", "update", "delete")


def finance_reviewer() -> list[Row]:
    """Return the example's rows in an order in which they can be made; the revoked binding is revoked afterwards."""
    return [
        SpaceRow(id=SPACE, key="acme", name="Acme"),
        UserRow(id="user_alice", email="alice@acme.example", display_name="Alice"),
        UserRow(id="user_bob", email="bob@acme.example", display_name="Bob"),
        _group("finance", "Finance", None),
        _group("apac", "Finance APAC", "finance"),
        _group("emea", "Finance EMEA", "finance"),
        _group("legal", "Legal", None),
        _group("emea", "Legal EMEA", "legal"),
        MemberRow(id=REVIEWER, space_id=SPACE, display_name="Finance Reviewer"),
        MemberRow(id=CREATOR, space_id=SPACE, display_name="Invoice Creator"),
        _binding("um_alice_finance_reviewer", "user_alice"),
        _binding("um_bob_finance_reviewer", "user_bob"),
        _binding(REVOKED, "user_alice"),
        _binding("um_alice_finance_reviewer_expired", "user_alice", datetime(2020, 1, 1, tzinfo=UTC)),
        ResourceTypeRow(id="rt_invoice", key="invoice", display_name="Invoice"),
        *(
            ResourceActionRow(
                id=f"ra_invoice_{key}",
                resource_type="invoice",
                key=key,
                display_name=key.capitalize(),
                risk_level=risk,
            )
            for key, risk in _RISKS
        ),
        RoleRow(id="role_finance_approver", space_id=SPACE, key="finance_approver", name="Finance Approver"),
        *(
            PermissionRow(
                id=f"perm_invoice_{action}_group_tree", resource_type="invoice", action=action, scope="group_tree"
            )
            for action in _APPROVER_MAY
        ),
        *(
            RolePermissionRow(
                id=f"rp_finance_approver_{action}",
                space_id=SPACE,
                role_id="role_finance_approver",
                permission_id=f"perm_invoice_{action}_group_tree",
            )
            for action in _APPROVER_MAY
        ),
        MemberRoleRow(
            id="mr_reviewer_finance_approver",
            space_id=SPACE,
            member_id=REVIEWER,
            role_id="role_finance_approver",
            scope_anchor_group_id="group_finance",
        ),
        _invoice("invoice_001", "group_finance_apac"),
        _invoice("invoice_002", "group_legal_emea"),
    ]


async def load_example(dsn: str, example: str) -> str:
    """Load an example unless its Space is there; returns a sentence that says what was done."""
    async with create_pool(dsn, "plystra-authz seed", max_size=1) as pool:
        if await pool.fetchval(SQL["space_exists"], SPACE):
            return f"{example}: {SPACE} is there already; nothing was changed."
        commands = Commands(pool, clock=utc_now, new_event_id=new_uuid7)
        author = Author(credential_id=None, request_id=new_id("seed"))
        rows = finance_reviewer()
        await commands.create(author, rows)
        revoked = Place(NOUNS["user_member"], REVOKED, SPACE)
        revision = (await commands.end(author, revoked, reason="the example's revoked binding")).revision
    return f"{example}: made {len(rows)} rows and revoked one binding; the permission graph is at revision {revision}."


def _group(key: str, name: str, parent: str | None) -> GroupRow:
    path = key if parent is None else f"{parent}.{key}"
    return GroupRow(
        id=f"group_{path.replace('.', '_')}",
        space_id=SPACE,
        parent_group_id=None if parent is None else f"group_{parent}",
        key=key,
        name=name,
        path=path,
    )


def _binding(id_: str, user_id: str, expires_at: datetime | None = None) -> UserMemberRow:
    return UserMemberRow(id=id_, space_id=SPACE, user_id=user_id, member_id=REVIEWER, expires_at=expires_at)


def _invoice(id_: str, group_id: str) -> ResourceRow:
    return ResourceRow(
        id=id_,
        resource_type="invoice",
        space_id=SPACE,
        group_id=group_id,
        owner_member_id=CREATOR,
        display_name=id_.replace("_", " ").capitalize(),
    )
