"""The Same-Space law in the schema: what links rows of a Space links rows of the same Space."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.database.authz_rows import insert, settle

# Table, the link, its value in the row's own Space and in another, and the constraint that refuses the other.
LINKS: list[tuple[str, str, str, str, str]] = [
    ("group", "parent_group_id", "g1", "g2", "group_parent_same_space"),
    ("user_member", "member_id", "m1", "m2", "user_member_same_space"),
    ("role_permission", "role_id", "r1", "r2", "role_permission_same_space"),
    ("member_role", "member_id", "m1", "m2", "member_role_member_same_space"),
    ("member_role", "role_id", "r1", "r2", "member_role_role_same_space"),
    ("member_role", "scope_anchor_group_id", "gg1", "gg2", "member_role_anchor_same_space"),
    ("resource", "group_id", "g1", "g2", "resource_group_same_space"),
    ("resource", "owner_member_id", "m1", "m2", "resource_owner_same_space"),
]
# Links to rows of no Space.
OF_INSTANCE: list[tuple[str, str, str]] = [
    ("user_member", "user_id", "user_member_user_fk"),
    ("role_permission", "permission_id", "role_permission_permission_fk"),
    ("resource_action", "resource_type", "resource_action_type_fk"),
    ("resource", "resource_type", "resource_type_fk"),
    ("permission", "resource_type", "permission_registered"),
    ("permission", "action", "permission_registered"),
]
# What refers to its Space by itself; the others do through what they link.
OF_SPACE = ("group", "member", "role", "resource")
# What else the row needs so that nothing but the link is wrong with it.
BESIDES: dict[str, dict[str, Any]] = {
    "group": {"path": "top1.g"},
}
# Rows of the filled database to be turned away from their Space.
STORED = {
    "group": "gg1",
    "user_member": "um1",
    "role_permission": "rp1",
    "member_role": "mr1",
    "resource": "x1",
}


@pytest.mark.parametrize("table, link, own, foreign, constraint", LINKS)
def test_a_new_row_is_linked_within_its_space_only(graph, table, link, own, foreign, constraint):
    with graph.transaction(force_rollback=True):
        insert(graph, table, **BESIDES.get(table, {}) | {link: own})
        settle(graph)
    with pytest.raises(psycopg.errors.ForeignKeyViolation) as caught:
        insert(graph, table, **BESIDES.get(table, {}) | {link: foreign})
    assert caught.value.diag.constraint_name == constraint


@pytest.mark.parametrize("table, link, foreign, constraint", [(t, link, f, c) for t, link, _, f, c in LINKS])
def test_a_stored_row_is_not_linked_to_another_space(graph, table, link, foreign, constraint):
    with pytest.raises(psycopg.errors.ForeignKeyViolation) as caught:
        graph.execute(f'update authz."{table}" set {link} = %s where id = %s', [foreign, STORED[table]])
    assert caught.value.diag.constraint_name == constraint


@pytest.mark.parametrize("table", [*STORED, "member", "role"])
def test_a_row_that_is_linked_does_not_change_its_space(graph, table):
    id_ = STORED.get(table, f"{table[0]}1")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        graph.execute(f'update authz."{table}" set space_id = %s where id = %s', ["s2", id_])


@pytest.mark.parametrize("table, link, constraint", [(t, link, c) for t, link, *_, c in LINKS])
def test_a_row_is_linked_to_nothing_that_is_not_there(graph, table, link, constraint):
    with pytest.raises(psycopg.errors.ForeignKeyViolation) as caught:
        insert(graph, table, **BESIDES.get(table, {}) | {link: "missing"})
    assert caught.value.diag.constraint_name == constraint


@pytest.mark.parametrize("table", OF_SPACE)
def test_a_row_belongs_to_a_space_that_exists(graph, table):
    with pytest.raises(psycopg.errors.ForeignKeyViolation) as caught:
        insert(graph, table, space_id="s_missing")
    assert caught.value.diag.constraint_name == f"{table}_space_fk"


def test_every_foreign_key_between_tables_of_a_space_carries_the_space(graph):
    """So that a table that comes later cannot forget the law."""
    rows = graph.execute(
        """
        select c.conname, array(select a.attname from unnest(c.conkey) with ordinality k (n, place)
                                join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.n order by k.place)
        from pg_constraint c
        where c.contype = 'f' and c.connamespace = 'authz'::regnamespace
            and exists (select from pg_attribute a where a.attrelid = c.conrelid and a.attname = 'space_id')
            and exists (select from pg_attribute a where a.attrelid = c.confrelid and a.attname = 'space_id')
        """
    ).fetchall()
    assert {name for name, _ in rows} == {constraint for *_, constraint in LINKS}
    assert all(columns[0] == "space_id" for _, columns in rows)


def test_the_links_of_an_instance_wide_kind_lead_to_rows_that_exist(graph):
    for table, link, constraint in OF_INSTANCE:
        with pytest.raises(psycopg.errors.ForeignKeyViolation) as caught, graph.transaction():
            insert(graph, table, **{link: "missing"})
        assert caught.value.diag.constraint_name == constraint
