"""What the database's laws mean to whoever broke one: each constraint's problem code, field and sentence.

The database states the law and this says it in words. What a reference breaks (nothing there, or there in another Space)
is looked up after the fact, when the transaction is over.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from services.authz.journal import Change, Violation
from services.authz.nouns import NOUNS
from services.authz.store import SQL
from shared.db import Session
from shared.problems import Problem, ProblemError


class Law(NamedTuple):
    """What a constraint demands: the problem's code, the field it is about (empty: the whole row), and the sentence.

    `refers_to` is the noun that the field must name; `besides` the field that is to blame when this one didn't change.
    """

    code: str
    field: str
    says: str
    refers_to: str = ""
    besides: str = ""


def _unique(field: str, says: str) -> Law:
    return Law("duplicate_key", field, says)


def _reference(field: str, noun: str) -> Law:
    return Law("reference_unknown", field, f"names no {NOUNS[noun].words}", noun)


_PLACE_TAKEN: Final = Law("duplicate_key", "key", "leads to a path that another group has", besides="parent_group_id")

LAWS: Final[dict[str, Law]] = {
    **{
        f"{noun}_pkey": Law(
            "duplicate_id", "id", "is taken; leave it out to have one made, or change the row that has it"
        )
        for noun in NOUNS
    },
    "row_is_not_there": Law("not_found", "id", "is of nothing that is stored"),
    "identifier_form": Law("invalid_id", "", "holds an id that is not 1–128 of A–Z a–z 0–9 _ . : @ -"),
    "user_email_key": _unique("email", "belongs to another user, whatever the case of its letters"),
    "space_key_key": _unique("key", "belongs to another space"),
    "group_sibling_key": _PLACE_TAKEN,
    "group_path_key": _PLACE_TAKEN,
    "resource_type_key_key": _unique("key", "is registered already"),
    "resource_action_key_key": _unique("key", "is registered for this resource type already"),
    "role_key_key": _unique("key", "belongs to another role of this space"),
    "permission_key": _unique("scope", "makes the same permission as one that there is"),
    "role_permission_key": _unique("permission_id", "is held by this role already"),
    "member_role_key": _unique("role_id", "is granted to this member with this anchor already"),
    "group_parent_same_space": _reference("parent_group_id", "group"),
    "user_member_user_fk": _reference("user_id", "user"),
    "user_member_same_space": _reference("member_id", "member"),
    "role_permission_permission_fk": _reference("permission_id", "permission"),
    "role_permission_same_space": _reference("role_id", "role"),
    "member_role_member_same_space": _reference("member_id", "member"),
    "member_role_role_same_space": _reference("role_id", "role"),
    "member_role_anchor_same_space": _reference("scope_anchor_group_id", "group"),
    "resource_group_same_space": _reference("group_id", "group"),
    "resource_owner_same_space": _reference("owner_member_id", "member"),
    **{f"{noun}_space_fk": _reference("space_id", "space") for noun in ("group", "member", "role", "resource")},
    "resource_type_fk": Law("resource_type_unknown", "resource_type", "is not registered"),
    "resource_action_type_fk": Law("resource_type_unknown", "resource_type", "is not registered"),
    "permission_registered": Law("resource_action_unknown", "action", "is not registered for this resource type"),
    "resource_action_risk_known": Law("validation_failed", "risk_level", "is not one of low, normal, high, critical"),
    "permission_scope_known": Law("scope_refused", "scope", "is not one of self, group, group_tree, space"),
    "group_path_of_parent": Law("group_cycle", "parent_group_id", "lies at or below the group itself"),
    "group_path_length": Law("group_too_deep", "parent_group_id", "makes a path longer than 16,384 characters"),
    "member_role_window": Law(
        "validity_window_empty", "expires_at", "makes a validity that ends before it begins", besides="not_before"
    ),
    # What no command of ours breaks, and an import by hand may.
    **{f"{noun}_same_space_key": Law("duplicate_id", "id", "is taken") for noun in ("group", "member", "role")},
    **{
        f"{noun}_revoked_is_dated": Law("status_conflict", "revoked_at", "is given exactly when the row is revoked")
        for noun in ("member_role", "user_member")
    },
    "json_object_form": Law("validation_failed", "", "holds a document that is no JSON object"),
}
# What is left has its field in its name: user_display_name_length, resource_properties_size, member_times_representable.
_FORM: Final = re.compile(r"(?P<field>\w+?)_(?P<what>form|length|size|known|representable)")
_SAYS: Final = {
    "form": "does not have the form that is asked for",
    "length": "is too long",
    "size": "is too large",
    "known": "is not one of the words that it may be",
    "representable": "lie outside the years 1 to 9999",
}


def law_of(constraint: str, noun: str) -> Law:
    """Return what a constraint of a noun's table demands."""
    if constraint in LAWS:
        return LAWS[constraint]
    match = _FORM.fullmatch(constraint.removeprefix(f"{noun}_"))
    if match is None:
        return Law("conflict", "", f"breaks the rule {constraint}")
    fields = NOUNS[noun].row.__struct_fields__
    # The column that a member type is in repeats the noun, its constraint doesn't.
    field = next((f for f in (match["field"], f"{noun}_{match['field']}") if f in fields), "")
    return Law("validation_failed", field, _SAYS[match["what"]])


async def problem_of(connection: Session, violation: Violation) -> Problem:
    """Tell a violation as a problem; the connection is outside the transaction that is lost."""
    change = violation.changes[0]
    law = law_of(violation.constraint, change.entity_type)
    if law.besides and change.before is not None and change.before[law.field] == change.after[law.field]:
        law = law._replace(field=law.besides)
    value = change.after.get(law.field) if law.field else None
    code, says = law.code, law.says
    if law.refers_to and value is not None and await _stands_elsewhere(connection, law.refers_to, value):
        code, says = "foreign_space", f"is a {NOUNS[law.refers_to].words} of another space"
    if code == "resource_action_unknown" and not await _is_registered(connection, change):
        code, says = "resource_type_unknown", "is not registered"
        law = law._replace(field="resource_type")
        value = change.after["resource_type"]
    shown = "" if value is None or isinstance(value, dict) else f" {str(value)[:140]!r}"
    where = f"/{law.field}" if law.field else ""
    subject = f"{change.noun.words} {change.after['id']}"
    detail = f"{where or 'The row'}:{shown} {says} ({subject}; rule {violation.constraint})."
    return Problem(code, detail, errors=[ProblemError(pointer=where, detail=says)])


async def _stands_elsewhere(connection: Session, noun: str, id_: Any) -> bool:
    if not NOUNS[noun].in_space:
        return False
    return bool(await connection.fetchval(SQL["row_was_made"], noun, str(id_)))


async def _is_registered(connection: Session, change: Change) -> bool:
    return bool(await connection.fetchval(SQL["resource_type_exists"], change.after["resource_type"]))
