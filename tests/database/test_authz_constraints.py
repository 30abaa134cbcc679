"""The laws of single rows and of uniqueness in the schema of authz, each broken by raw SQL as service and as owner."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.database.authz_rows import PROPER, TABLES, insert, settle

THEN = "2026-03-01T12:00:00Z"
LATER = "2026-03-01T12:00:01Z"
DAY = {"revoked_at": THEN}


@pytest.mark.parametrize("table", TABLES)
def test_the_proper_row_of_every_table_is_taken(graph, table):
    insert(graph, table)
    settle(graph)


ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    ("user", {"id": "A-z_0.9:b@c" * 11 + "1234567"}),
    ("user", {"email": "x@y"}),
    ("group", {"parent_group_id": "g2", "space_id": "s2", "key": "other", "path": "top2.other"}),
    ("group", {"parent_group_id": "gg1", "key": "sub", "path": "top1.sub.sub"}),
    ("role", {"space_id": "s2", "key": "reader1"}),
    ("permission", {"scope": "group_tree", "condition": {"a": 1}}),
    ("permission", {"scope": "group_tree", "condition": {}}),
    ("permission", {"action": "write", "scope": "group_tree"}),
    ("member_role", {"scope_anchor_group_id": "gg1"}),
    ("member_role", {"not_before": THEN, "expires_at": THEN}),
    ("member_role", {"status": "revoked"} | DAY),
    ("user_member", {"status": "revoked"} | DAY),
    # The same binding again, as after a revocation, is a row of its own.
    ("user_member", {"id": "um_again"}),
    ("resource", {"properties": {"a": "x" * 16_000}}),
    ("resource", {"id": "x1", "resource_type": "other"}),
]


@pytest.mark.parametrize("table, changes", ACCEPTED)
def test_what_the_laws_allow_is_taken(graph, table, changes):
    insert(graph, "resource_type", id="rt_other", key="other")
    insert(graph, table, **changes)
    settle(graph)


# The id of a row of each table that is there.
STORED = dict(zip(TABLES, ("u1", "s1", "g1", "m1", "um1", "rt1", "ra1", "r1", "p1", "rp1", "mr1", "x1"), strict=True))
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    # Known words.
    *[(t, {"status": "gone"}, f"{t}_status_known") for t in TABLES],
    ("user_member", {"status": "disabled"}, "user_member_status_known"),
    ("member_role", {"status": "disabled"}, "member_role_status_known"),
    ("resource", {"status": "disabled"}, "resource_status_known"),
    ("user", {"status": "archived"}, "user_status_known"),
    ("permission", {"scope": "global"}, "permission_scope_known"),
    ("permission", {"scope": "Group"}, "permission_scope_known"),
    ("resource_action", {"risk_level": "extreme"}, "resource_action_risk_known"),
    # Forms.
    ("user", {"email": "nobody"}, "user_email_form"),
    ("user", {"email": "a@b c"}, "user_email_form"),
    ("user", {"email": "a@" + "b" * 320}, "user_email_form"),
    ("space", {"key": "Acme"}, "space_key_form"),
    ("space", {"key": ""}, "space_key_form"),
    ("group", {"key": "a-b", "path": "a-b"}, "group_key_form"),
    ("group", {"key": "a.b", "path": "a.b"}, "group_key_form"),
    ("group", {"key": "1a", "path": "1a"}, "group_key_form"),
    ("group", {"key": "a\n", "path": "a\n"}, "group_key_form"),
    ("group", {"path": "x" * 16_385}, "group_path_length"),
    ("role", {"key": "A"}, "role_key_form"),
    ("resource_type", {"key": "a b"}, "resource_type_key_form"),
    ("resource_action", {"key": "a b"}, "resource_action_key_form"),
    ("resource", {"external_id": ""}, "resource_external_id_length"),
    ("resource", {"external_id": "x" * 257}, "resource_external_id_length"),
    ("resource", {"properties": {"a": "x" * 16_400}}, "resource_properties_size"),
    ("permission", {"condition": {"a": "x" * 2_000}}, "permission_condition_size"),
    ("permission", {"condition": [1]}, "json_object_form"),
    ("resource", {"properties": []}, "json_object_form"),
    *[(t, {"metadata": []}, "json_object_form") for t in TABLES],
    # What is revoked is dated, and only that.
    ("user_member", {"status": "revoked"}, "user_member_revoked_is_dated"),
    ("user_member", DAY, "user_member_revoked_is_dated"),
    ("member_role", {"status": "revoked"}, "member_role_revoked_is_dated"),
    ("member_role", DAY, "member_role_revoked_is_dated"),
    ("member_role", {"not_before": LATER, "expires_at": THEN}, "member_role_window"),
    # Registered types and actions only.
    ("permission", {"resource_type": "missing"}, "permission_registered"),
    ("permission", {"action": "missing"}, "permission_registered"),
    ("resource", {"resource_type": "missing"}, "resource_type_fk"),
    # One of a kind.
    ("user", {"email": "U1@Example.COM"}, "user_email_key"),
    ("space", {"key": "s1"}, "space_key_key"),
    ("group", {"key": "top1", "path": "elsewhere"}, "group_sibling_key"),
    ("group", {"parent_group_id": "g1", "key": "sub", "path": "elsewhere"}, "group_sibling_key"),
    ("group", {"key": "sub", "path": "top1.sub"}, "group_path_key"),
    ("role", {"key": "reader1"}, "role_key_key"),
    ("resource_type", {"key": "doc"}, "resource_type_key_key"),
    ("resource_action", {"key": "read"}, "resource_action_key_key"),
    ("permission", {"scope": "group_tree"}, "permission_key"),
    ("role_permission", {"permission_id": "p1"}, "role_permission_key"),
    ("member_role", {"scope_anchor_group_id": "g1"}, "member_role_key"),
    *[(table, {"id": id_}, f"{table}_pkey") for table, id_ in STORED.items()],
    # An id belongs to one row in the whole instance, whatever its Space.
    ("group", {"id": "g2"}, "group_pkey"),
    ("member", {"id": "m2"}, "member_pkey"),
    ("role", {"id": "r2"}, "role_pkey"),
]


@pytest.mark.parametrize("table, changes, constraint", REFUSED)
def test_what_breaks_a_law_is_refused_by_the_name_of_the_law(graph, table, changes, constraint):
    with pytest.raises(psycopg.errors.IntegrityError) as caught:
        insert(graph, table, **changes)
    assert caught.value.diag.constraint_name == constraint


@pytest.mark.parametrize(
    "constraint", sorted({constraint for *_, constraint in REFUSED if constraint.endswith("_known")})
)
def test_a_stored_row_is_held_to_the_known_words_too(graph, constraint):
    table = constraint.removesuffix("_known").removesuffix("_status").removesuffix("_scope").removesuffix("_risk")
    column = {"permission_scope_known": "scope", "resource_action_risk_known": "risk_level"}.get(constraint, "status")
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        graph.execute(f'update authz."{table}" set {column} = %s', ["global"])
    assert caught.value.diag.constraint_name == constraint


def test_a_grant_without_an_anchor_can_be_made_once(graph):
    insert(graph, "member_role")
    with pytest.raises(psycopg.errors.UniqueViolation) as caught:
        insert(graph, "member_role", id="mr_again")
    assert caught.value.diag.constraint_name == "member_role_key"


def test_a_permission_under_a_condition_can_be_made_once_however_its_keys_are_ordered(graph):
    insert(graph, "permission", condition={"a": 1, "b": 2})
    with pytest.raises(psycopg.errors.UniqueViolation) as caught:
        insert(graph, "permission", id="p_again", condition={"b": 2, "a": 1})
    assert caught.value.diag.constraint_name == "permission_key"


IDENTIFIERS = [
    (table, column)
    for table, row in PROPER.items()
    for column in row
    if column == "id" or (column.endswith("_id") and column != "external_id")
]


@pytest.mark.parametrize("table, column", IDENTIFIERS)
def test_an_id_has_the_one_form(graph, table, column):
    for text in ("", "x" * 129, "a b", "a\n", "\x01", "a\x1b", "\x7f", "a/b", "é", 'a"b', "a\\b"):
        with pytest.raises(psycopg.errors.CheckViolation) as caught, graph.transaction():
            insert(graph, table, **{column: text})
        assert caught.value.diag.constraint_name == "identifier_form", text


def test_every_column_that_holds_an_id_has_its_type(graph):
    rows = graph.execute(
        "select table_name, column_name, domain_name from information_schema.columns where table_schema = 'authz'"
        " and (column_name = 'id' or column_name like '%%\\_id') and table_name = any(%s)",
        [list(TABLES)],
    ).fetchall()
    assert len(rows) > len(TABLES)
    untyped = {(table, column) for table, column, domain in rows if domain != "identifier"}
    assert untyped == {("resource", "external_id")}


@pytest.mark.parametrize("table", TABLES)
def test_every_row_tells_when_it_was_made_and_by_which_event(graph, table):
    for column in ("created_at", "updated_at", "revision", "status", "metadata"):
        with pytest.raises(psycopg.errors.NotNullViolation), graph.transaction():
            insert(graph, table, **{column: None})
