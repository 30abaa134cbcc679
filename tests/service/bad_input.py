"""Requests of administration with one thing wrong each, and how each is refused; `test_bad_input.py` sends them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from services.authz.nouns import NOUNS, creation_form, patch_form
from shared.canonical import MAX_DEPTH
from tests.service.admin import ACME, API
from tests.service.authz_service import bearer

OTHER: Final = f"{API}/spaces/space_other"
NOWHERE: Final = f"{API}/spaces/space_nowhere"
PAST: Final = "2020-01-01T00:00:00Z"
LATE, LATER = "2120-01-01T00:00:00Z", "2121-01-01T00:00:00Z"
# Of each noun: its rows' place, a row that could be made as it stands, and the place of one that is there.
ROWS: Final[dict[str, tuple[str, dict[str, Any], str]]] = {
    "user": (f"{API}/users", {"email": "eve@x.example"}, "user_bob"),
    "space": (f"{API}/spaces", {"key": "globex", "name": "Globex"}, "space_acme"),
    "group": (f"{ACME}/groups", {"key": "sox", "name": "SOX"}, "group_finance"),
    "member": (f"{ACME}/members", {"display_name": "Bot"}, "member_invoice_creator"),
    "user_member": (
        f"{ACME}/user-members",
        {"user_id": "user_bob", "member_id": "member_invoice_creator"},
        "um_bob_finance_reviewer",
    ),
    "resource_type": (f"{API}/resource-types", {"key": "order", "display_name": "Order"}, "rt_invoice"),
    "resource_action": (
        f"{API}/resource-actions",
        {"resource_type": "invoice", "key": "print", "display_name": "Print", "risk_level": "low"},
        "ra_invoice_read",
    ),
    "role": (f"{ACME}/roles", {"key": "clerk", "name": "Clerk"}, "role_finance_approver"),
    "permission": (
        f"{API}/permissions",
        {"resource_type": "invoice", "action": "reject", "scope": "space"},
        "perm_invoice_read_group_tree",
    ),
    "role_permission": (
        f"{ACME}/role-permissions",
        {"role_id": "role_finance_approver", "permission_id": "perm_spare"},
        "rp_finance_approver_read",
    ),
    "member_role": (
        f"{ACME}/member-roles",
        {"member_id": "member_invoice_creator", "role_id": "role_finance_approver"},
        "mr_reviewer_finance_approver",
    ),
    "resource": (f"{ACME}/resources", {"resource_type": "invoice"}, "invoice/invoice_001"),
}
# Of each noun: a stored row once more, by all that makes it one of its kind; and the field that is named.
TAKEN: Final[list[tuple[str, dict[str, Any], str]]] = [
    ("user", {"email": "BOB@acme.example"}, "email"),
    ("space", {"key": "acme"}, "key"),
    ("group", {"key": "finance"}, "key"),
    ("group", {"key": "apac", "parent_group_id": "group_finance"}, "key"),
    ("resource_type", {"key": "invoice"}, "key"),
    ("resource_action", {"key": "read"}, "key"),
    ("role", {"key": "finance_approver"}, "key"),
    ("permission", {"action": "read", "scope": "group_tree"}, "scope"),
    ("role_permission", {"permission_id": "perm_invoice_read_group_tree"}, "permission_id"),
    ("member_role", {"member_id": "member_finance_reviewer", "scope_anchor_group_id": "group_finance"}, "role_id"),
]
# Every reference, and a row of another Space that it could name if it were allowed.
REFERENCES: Final[list[tuple[str, str, str | None]]] = [
    ("group", "parent_group_id", "group_other"),
    ("user_member", "user_id", None),
    ("user_member", "member_id", "member_other"),
    ("role_permission", "role_id", "role_other"),
    ("role_permission", "permission_id", None),
    ("member_role", "member_id", "member_other"),
    ("member_role", "role_id", "role_other"),
    ("member_role", "scope_anchor_group_id", "group_other"),
    ("resource", "group_id", "group_other"),
    ("resource", "owner_member_id", "member_other"),
]
BAD_IDS: Final = ("", "x" * 129, "a b", "a\n", "\x00", "\x1b[0m", "é", "a/b")
BAD_SEGMENTS: Final = ("x" * 129, "a%20b", "a%0A", "%00", "%1B", "%C3%A9", "a,b")
NO_TEXTS: Final = ("", "x" * 257, "a\nb", "a\x00", "a\x7f", 7, True, [], {})
# Every text of a noun that is not an id, and what it must not be.
TEXTS: Final[dict[str, tuple[Any, ...]]] = {
    "email": ("", "nobody", "a@b c", "a@b\n", "a@\x00", "a@" + "b" * 320, None, 7),
    "key": ("", "Upper", "1a", "a b", "a\n", "a\x00", "a" * 64, None, 7),
    "name": (*NO_TEXTS, None),
    "display_name": NO_TEXTS,
    "member_type": ("", "x" * 65, "a\n", None, 7),
    "relation_type": (*NO_TEXTS, None),
    "description": ("x" * 2_001, "a\x00", 7),
    "external_id": NO_TEXTS,
    "resource_type": ("", "a b", "a\n", "x" * 64, None, 7),
    "action": ("", "a b", "a\n", "x" * 64, None, 7),
    "risk_level": ("", "extreme", None, 7),
    "scope": ("x" * 65, "group\x00", None, 7),
    "reason": ("x" * 2_001, "a\x00", 7),
    "is_primary": (None, 0, "true"),
    "expires_at": ("", "tomorrow", "2120-01-01", "2120-01-01T00:00:00", "10000-01-01T00:00:00Z", 7),
    "not_before": ("", "tomorrow", "2120-01-01T00:00:00", "0001-01-01T00:00:00+14:00", 7),
}
NO_DOCUMENTS: Final[list[tuple[Any, str]]] = [
    (None, ""),
    ([], ""),
    ("text", ""),
    ({"a": 1.5}, "/a"),
    ({"a": [0, {"b/c~d": 1e300}]}, "/a/1/b~1c~0d"),
    ({"a": 2**53}, "/a"),
    ({"a": "\x00"}, "/a"),
    ({"é": 1}, ""),
    ({"a": "x" * 16_400}, ""),
]
STORED_ONLY: Final = ("status", "created_at", "updated_at", "revision", "space_id", "nothing_of_ours")


class Fault(NamedTuple):
    """A request with one thing wrong: the code that it is refused with, and the pointer or parameter that is named.

    A body of text is sent as it is.
    """

    code: str
    place: str | None
    method: str
    path: str
    body: Any = None
    headers: dict[str, str] = {}  # noqa: RUF012  # never changed


def _create(code: str, field: str, noun: str, **changes: Any) -> Fault:
    path, body, _ = ROWS[noun]
    return Fault(code, field, "POST", path, body | changes)


def _row(noun: str) -> str:
    return f"{ROWS[noun][0]}/{ROWS[noun][2]}"


def _patch(code: str, field: str, noun: str, **changes: Any) -> Fault:
    return Fault(code, field, "PATCH", _row(noun), changes)


def _move(code: str, field: str, group: str, **body: Any) -> Fault:
    return Fault(code, field, "POST", f"{ACME}/groups/{group}/move", body)


def _fields(noun: str) -> tuple[str, ...]:
    return creation_form(NOUNS[noun]).__struct_fields__


def _changeable(noun: str) -> tuple[str, ...]:
    return patch_form(NOUNS[noun]).__struct_fields__


def _nested(depth: int) -> dict[str, Any]:
    return {} if depth == 0 else {"a": _nested(depth - 1)}


def _of_references() -> Iterator[Fault]:
    for noun, field, foreign in REFERENCES:
        for code, value in (("reference_unknown", "nobody_has_this"), ("foreign_space", foreign)):
            if value is None:
                continue
            yield _create(code, f"/{field}", noun, **{field: value})
            if field in _changeable(noun):
                yield _patch(code, f"/{field}", noun, **{field: value})
    yield _move("reference_unknown", "/parent_group_id", "group_finance", parent_group_id="nobody_has_this")
    yield _move("foreign_space", "/parent_group_id", "group_finance", parent_group_id="group_other")
    for noun in (noun for noun in NOUNS.values() if noun.in_space):
        body = ROWS[noun.name][1]
        yield Fault("not_found", "space_id", "POST", f"{NOWHERE}/{noun.path}", body)
        own = f"{noun.path}/{ROWS[noun.name][2]}"
        for space in (NOWHERE, OTHER):
            yield Fault("not_found", f"{noun.name}_id", "PATCH", f"{space}/{own}", {"metadata": {}})
            yield Fault(
                "not_found", f"{noun.name}_id", "POST", f"{space}/{own}/{noun.ending.command}", {"reason": "no"}
            )
    yield Fault("not_found", "user_id", "PATCH", f"{API}/users/nobody", {"metadata": {}})


def _of_registry() -> Iterator[Fault]:
    yield _create("resource_type_unknown", "/resource_type", "resource", resource_type="unheard_of")
    yield _create("resource_type_unknown", "/resource_type", "resource_action", resource_type="unheard_of")
    yield _create("resource_type_unknown", "/resource_type", "permission", resource_type="unheard_of")
    yield _create("resource_action_unknown", "/action", "permission", action="unheard_of")
    for scope in ("global", "GROUP", "everything", ""):
        yield _create("scope_refused", "/scope", "permission", scope=scope)


def _of_uniqueness() -> Iterator[Fault]:
    for noun, changes, field in TAKEN:
        yield _create("duplicate_key", f"/{field}", noun, **changes)
    yield _patch("duplicate_key", "/email", "user", email="Alice@Acme.Example")
    for noun in NOUNS:
        yield _create("duplicate_id", "/id", noun, id=ROWS[noun][2].rpartition("/")[2])
    # An id is taken whatever the Space.
    for noun in ("group", "member", "role"):
        yield _create("duplicate_id", "/id", noun, id=f"{noun}_other")
    yield _create("duplicate_id", "/id", "resource", id="invoice_other")


def _of_moves() -> Iterator[Fault]:
    for parent in ("group_finance", "group_finance_apac", "group_deep"):
        yield _move("group_cycle", "/parent_group_id", "group_finance", parent_group_id=parent)
    yield _move("duplicate_key", "/key", "group_finance", parent_group_id=None, key="legal")
    yield _move("duplicate_key", "/parent_group_id", "group_finance_emea", parent_group_id="group_legal")
    yield _move("group_too_deep", "/parent_group_id", "group_finance", parent_group_id="group_bottom")
    yield _create("group_too_deep", "/parent_group_id", "group", parent_group_id="group_bottom", key="x" * 63)
    yield _move("validation_failed", "/parent_group_id", "group_finance")
    yield _move("validation_failed", "/key", "group_finance", parent_group_id=None, key=None)
    yield _move("invalid_id", "/parent_group_id", "group_finance", parent_group_id="a\n")
    for field in ("path", "name", "space_id"):
        yield _move("validation_failed", f"/{field}", "group_finance", **{"parent_group_id": None, field: "x"})


def _of_validity() -> Iterator[Fault]:
    for noun in ("user_member", "member_role"):
        for make in (_create, _patch):
            yield make("expires_in_the_past", "/expires_at", noun, expires_at=PAST)
            yield make("expires_in_the_past", "/expires_at", noun, expires_at="0001-01-01T00:00:00+14:00")
    for make in (_create, _patch):
        yield make("validity_window_empty", "/expires_at", "member_role", not_before=LATER, expires_at=LATE)
    yield Fault(
        "validity_window_empty", "/not_before", "PATCH", f"{ACME}/member-roles/mr_until_late", {"not_before": LATER}
    )
    yield Fault(
        "validity_window_empty", "/expires_at", "PATCH", f"{ACME}/member-roles/mr_from_later", {"expires_at": LATE}
    )


def _of_ids() -> Iterator[Fault]:
    for noun in NOUNS:
        for field in _fields(noun):
            if field == "id" or (field.endswith("_id") and field != "external_id"):
                for value in BAD_IDS:
                    yield _create("invalid_id", f"/{field}", noun, **{field: value})
                yield _create("validation_failed", f"/{field}", noun, **{field: 7})
    for field in ("group_id", "owner_member_id"):
        yield _patch("invalid_id", f"/{field}", "resource", **{field: "a\n"})
    for noun in NOUNS.values():
        path, body, stored = ROWS[noun.name]
        within, _, own = f"/{stored}".rpartition("/")
        for bad in BAD_SEGMENTS:
            yield Fault("invalid_id", f"{noun.name}_id", "PATCH", f"{path}{within}/{bad}", {"metadata": {}})
            if noun.in_space:
                elsewhere = f"{API}/spaces/{bad}/{noun.path}"
                yield Fault("invalid_id", "space_id", "POST", elsewhere, body)
                yield Fault("invalid_id", "space_id", "PATCH", f"{elsewhere}{within}/{own}", {"metadata": {}})
        # Without an id it is the path of the list.
        yield Fault("method_not_allowed", None, "PATCH", f"{path}/", {"metadata": {}})
    yield Fault("invalid_id", "resource_type", "PATCH", f"{ACME}/resources/a%0A/invoice_001", {"metadata": {}})


def _of_texts() -> Iterator[Fault]:
    for noun in NOUNS:
        for make, fields in ((_create, _fields(noun)), (_patch, _changeable(noun))):
            for field in set(fields) & set(TEXTS):
                for value in TEXTS[field]:
                    yield make("validation_failed", f"/{field}", noun, **{field: value})
            for field in {"metadata", "properties", "condition"} & set(fields):
                for value, place in NO_DOCUMENTS:
                    if value is not None or field != "condition":
                        yield make("validation_failed", f"/{field}{place}", noun, **{field: value})
                too_deep = f"/{field}" + "/a" * MAX_DEPTH
                yield make("validation_failed", too_deep, noun, **{field: _nested(MAX_DEPTH)})
        command = f"{_row(noun)}/{NOUNS[noun].ending.command}"
        for value in ("x" * 2_001, "a\x00", 7):
            yield Fault("validation_failed", "/reason", "POST", command, {"reason": value})
    for noun in ("user_member", "member_role"):
        for body in ({}, {"reason": None}, {"reason": ""}):
            yield Fault("validation_failed", "/reason", "POST", f"{_row(noun)}/revoke", body)


def _of_forms() -> Iterator[Fault]:
    for noun, (path, body, _) in ROWS.items():
        kept = {"group": ["path"], "user_member": ["revoked_at"], "member_role": ["revoked_reason"]}.get(noun, [])
        fixed = [name for name in NOUNS[noun].row.__struct_fields__ if name not in _changeable(noun)]
        for field in (*STORED_ONLY, *kept):
            yield _create("validation_failed", f"/{field}", noun, **{field: "x"})
        for field in {*STORED_ONLY, *kept, *fixed}:
            yield _patch("validation_failed", f"/{field}", noun, **{field: "x"})
        for field in body:
            without = {name: value for name, value in body.items() if name != field}
            yield Fault("validation_failed", f"/{field}", "POST", path, without)
        command = f"{_row(noun)}/{NOUNS[noun].ending.command}"
        for method, place, proper in (
            ("POST", path, body),
            ("PATCH", _row(noun), {"metadata": {"a": 1}}),
            ("POST", command, {"reason": "x"}),
        ):
            text = json.dumps(proper)
            yield Fault("validation_failed", "/reason", method, place, text[:-1] + ',"reason":"a","reason":"b"}')
            for malformed in ("{", "", text[:-1], text + text, text.replace('"', "'"), text + "\x00"):
                yield Fault("malformed_json", None, method, place, malformed)
            for other in ("[]", "null", "7", f"[{text}]"):
                yield Fault("validation_failed", "", method, place, other)
            yield Fault("unsupported_media_type", None, method, place, text, {"content-type": "text/plain"})
            if method == "PATCH" or place == command:
                yield Fault("etag_mismatch", "If-Match", method, place, proper, {"if-match": '"0"'})
        yield Fault("malformed_json", None, "PATCH", _row(noun), '{"metadata":' + '{"a":' * 5_000 + "1" + "}" * 5_001)
    yield Fault(
        "validation_failed",
        "/metadata/a/b~1c",
        "POST",
        f"{API}/users",
        '{"email":"a@b","metadata":{"a":{"b/c":1,"b/c":2}}}',
    )
    yield _move("etag_mismatch", "If-Match", "group_finance", parent_group_id="group_legal")._replace(
        headers={"if-match": '"0"'}
    )


def _of_requests() -> Iterator[Fault]:
    users, body = ROWS["user"][:2]
    yield Fault("body_too_large", None, "POST", users, " " * 1_048_577)
    yield Fault("credential_missing", None, "POST", users, body, {"authorization": ""})
    yield Fault("credential_invalid", None, "POST", users, body, {"authorization": "Bearer ply_nobody.nothing"})
    yield Fault("permission_denied", None, "POST", users, body, bearer("caller"))
    yield Fault("method_not_allowed", None, "DELETE", f"{users}/user_bob")
    yield Fault("not_found", None, "POST", f"{API}/nothing", body)
    yield Fault("unknown_parameter", "force", "POST", f"{users}?force=1", body)
    yield Fault("validation_failed", "Idempotency-Key", "POST", users, body, {"idempotency-key": "a b"})
    yield Fault("idempotency_key_reused", "Idempotency-Key", "POST", users, body, {"idempotency-key": "used"})
    yield Fault("status_conflict", None, "POST", f"{users}/user_bob/restore", {})
    for noun in NOUNS.values():
        path = ROWS[noun.name][0]
        for name in (*noun.filters, "status"):
            for bad in ("", "x" * 321, "%00"):
                yield Fault("validation_failed", name, "GET", f"{path}?{name}={bad}")
        yield Fault("invalid_cursor", "cursor", "GET", f"{path}?cursor=x")
        yield Fault("validation_failed", "limit", "GET", f"{path}?limit=0")
        yield Fault("unknown_parameter", "nobody", "GET", f"{path}?nobody=x")


FAULTS: Final = {
    "references": list(_of_references()),
    "registry": list(_of_registry()),
    "uniqueness": list(_of_uniqueness()),
    "moves": list(_of_moves()),
    "validity": list(_of_validity()),
    "ids": list(_of_ids()),
    "texts": list(_of_texts()),
    "forms": list(_of_forms()),
    "requests": list(_of_requests()),
}
