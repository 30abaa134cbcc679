"""What was true at a revision, told from the event log alone and by brute force: the second half of guarantee 4."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from services.authz.model import (
    ActorFacts,
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
    Trace,
    User,
    UserMember,
    Verdict,
)
from tests.service.authz_service import AuthzDatabase

Row = dict[str, Any]


class History:
    """The events of a database, from which the rows as of any revision are told."""

    def __init__(self, events: Iterable[tuple[int, str, str, str, Row | None, Row]]) -> None:
        self.events = sorted(events, key=lambda event: event[0])

    @classmethod
    def of(cls, database: AuthzDatabase) -> History:
        """Read the log."""
        statement = "select revision, entity_type, entity_id, kind, before, after from authz.event"
        return cls(database.sql(statement))  # type: ignore[arg-type]

    def rows(self, revision: int) -> dict[str, dict[str, Row]]:
        """Every row as the events up to the revision left it, by kind and id, a resource by its type and id."""
        rows: dict[str, dict[str, Row]] = {}
        for number, entity_type, id_, kind, before, after in self.events:
            if number > revision:
                continue
            of_type = rows.setdefault(entity_type, {})
            if kind == "group.moved" and before is not None:
                # One event for the whole subtree: the groups below follow, and have none of their own.
                for below, row in of_type.items():
                    if row["space_id"] == after["space_id"] and row["path"].startswith(before["path"] + "."):
                        path = after["path"] + row["path"].removeprefix(before["path"])
                        of_type[below] = row | {"path": path, "revision": number, "updated_at": after["updated_at"]}
            of_type[f"{after['resource_type']}/{id_}" if entity_type == "resource" else id_] = after
        return rows

    def facts(self, question: Question, revision: int) -> Facts:
        """The facts that bear on a question."""
        return facts_from(self.rows(revision), question)


def facts_from(rows: Mapping[str, Mapping[str, Row]], question: Question) -> Facts:
    """The facts that bear on a question, from all rows by kind and id."""
    ids = question.actor

    def all_of(kind: str) -> Iterable[Row]:
        return rows.get(kind, {}).values()

    def one(fact: Any, kind: str, id_: str | None) -> Any:
        row = rows.get(kind, {}).get(id_ or "")
        return None if row is None else made(fact, row)

    registered = next((t for t in all_of("resource_type") if t["key"] == question.resource_type), None)
    actions = (a for a in all_of("resource_action") if a["resource_type"] == question.resource_type)
    action = next((a for a in actions if a["key"] == question.action), None) if registered else None
    return Facts(
        actor=ActorFacts(
            member=one(Member, "member", ids.member_id),
            space=one(Space, "space", ids.space_id),
            user=one(User, "user", ids.user_id),
            user_member=one(UserMember, "user_member", ids.user_member_id),
        ),
        granted=tuple(
            GrantedPermission(
                anchor=one(Group, "group", grant["scope_anchor_group_id"]),
                grant=made(Grant, grant),
                permission=made(Permission, rows["permission"][holding["permission_id"]]),
                role=one(Role, "role", grant["role_id"]),
            )
            for grant in all_of("member_role")
            if grant["member_id"] == ids.member_id and grant["status"] == "active"
            for holding in all_of("role_permission")
            if holding["role_id"] == grant["role_id"] and holding["status"] == "active"
            if rows["permission"][holding["permission_id"]]["status"] == "active"
        ),
        registry=RegistryFacts(
            action=None if action is None else made(ResourceAction, action),
            resource_type=None if registered is None else made(ResourceType, registered),
        ),
        target=target_from(rows, question.resource_type, question.resource_id),
    )


def target_from(rows: Mapping[str, Mapping[str, Row]], resource_type: str, resource_id: str) -> TargetFacts:
    """What is asked about, from all rows by kind and id."""
    row = rows.get("resource", {}).get(f"{resource_type}/{resource_id}")
    if row is None:
        return TargetFacts(group=None, resource=None)
    group = rows.get("group", {}).get(row["group_id"] or "")
    return TargetFacts(
        group=None if group is None else made(Group, group),
        resource=made(Resource, row | {"type": resource_type}),
    )


def made(fact: Any, row: Row) -> Any:
    """Make a fact of those fields of a row that it has."""
    return msgspec.convert({name: row[name] for name in fact.__struct_fields__}, fact)


def facts_of(trace: Trace) -> Facts:
    """The facts that a trace keeps: its snapshot, and no granted permission but its candidates."""
    return Facts(
        actor=trace.actor,
        granted=tuple(
            GrantedPermission(anchor=c.anchor, grant=c.grant, permission=c.permission, role=c.role)
            for c in trace.candidates
        ),
        registry=trace.registry,
        target=trace.target,
    )


def verdict_of(trace: Trace) -> Verdict:
    """The verdict that a trace tells."""
    return Verdict(**{name: getattr(trace, name) for name in Verdict.__struct_fields__})
