"""The law of group paths: a path is the parent's path, a dot and the own key, for every row at every commit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from tests.conftest import ServiceDatabase
from tests.database.authz_rows import Connection, fill, insert, settle
from tests.database.conftest import owner_of

LAW = "group_path_of_parent"


def is_refused(connection: Connection) -> bool:
    """Whether a commit would be refused by the law now."""
    try:
        with connection.transaction():
            settle(connection)
    except psycopg.errors.CheckViolation as error:
        return error.diag.constraint_name == LAW
    return False


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "other"},
        {"path": "top1.g"},
        {"path": ""},
        {"path": "g."},
        {"parent_group_id": "g1", "path": "g"},
        {"parent_group_id": "g1", "path": "top1.gg"},
        {"parent_group_id": "g1", "path": "top1g"},
        {"parent_group_id": "g1", "path": "top2.g"},
        {"parent_group_id": "gg1", "path": "top1.g"},
    ],
)
def test_a_new_group_with_any_other_path_is_refused(graph, changes):
    insert(graph, "group", **changes)
    assert is_refused(graph)


@pytest.mark.parametrize("changes", [{"path": "g"}, {"parent_group_id": "ggg1", "path": "top1.sub.leaf.g"}])
def test_a_new_group_with_its_parents_path_and_its_own_key_is_taken(graph, changes):
    insert(graph, "group", **changes)
    assert not is_refused(graph)


def test_a_tree_may_be_made_children_first_in_one_transaction(graph):
    graph.execute("set constraints all deferred")
    insert(graph, "group", id="parent", key="parent", path="parent")
    insert(graph, "group", id="child", key="child", path="moved.child", parent_group_id="parent")
    graph.execute("update authz.group set key = 'moved', path = 'moved' where id = 'parent'")
    assert not is_refused(graph)


@pytest.mark.parametrize(
    "change",
    [
        "path = 'top1.other'",
        "key = 'other'",
        "parent_group_id = null",
        "parent_group_id = 'ggg1'",
        "path = 'top1.sub.x', key = 'x'",
    ],
)
def test_a_stored_group_keeps_to_the_law(graph, change):
    graph.execute(f"update authz.group set {change} where id = 'gg1'")
    assert is_refused(graph)


@pytest.mark.parametrize(
    "move",
    [
        # To the root, below another group, under another key.
        "update authz.group set parent_group_id = null, path = 'sub' where id = 'gg1'",
        "update authz.group set parent_group_id = 'h1', path = 'h.sub' where id = 'gg1'",
        "update authz.group set key = 'x', path = 'top1.x' where id = 'gg1'",
        "update authz.group set key = 'x', path = 'x' where id = 'g1'",
    ],
)
def test_a_group_that_moves_without_its_subtree_is_refused(graph, move):
    insert(graph, "group", id="h1", key="h", path="h")
    graph.execute(move)
    assert is_refused(graph)


def test_a_subtree_that_moves_as_a_whole_is_taken(graph):
    insert(graph, "group", id="h1", key="h", path="h")
    settle(graph)
    graph.execute("set constraints all deferred")
    graph.execute("update authz.group set parent_group_id = 'h1', path = 'h.sub' where id = 'gg1'")
    assert is_refused(graph)
    graph.execute("update authz.group set path = 'h.sub.leaf' where id = 'ggg1'")
    assert not is_refused(graph)


def test_two_groups_may_swap_their_keys_in_one_transaction(graph):
    insert(graph, "group", id="a", key="a", path="a")
    insert(graph, "group", id="b", key="b", path="b")
    graph.execute("update authz.group set key = 'swap', path = 'swap' where id = 'a'")
    graph.execute("update authz.group set key = 'a', path = 'a' where id = 'b'")
    graph.execute("update authz.group set key = 'b', path = 'b' where id = 'a'")
    assert not is_refused(graph)


@pytest.mark.parametrize(
    "changes",
    [
        {"g1": "parent_group_id = 'g1'"},
        {"g1": "parent_group_id = 'g1', path = 'top1.top1'"},
        {"g1": "parent_group_id = 'ggg1', path = 'top1.sub.leaf.top1'"},
        {
            "g1": "parent_group_id = 'ggg1', path = 'x.sub.leaf.top1'",
            "gg1": "path = 'x.sub.leaf.top1.sub'",
            "ggg1": "path = 'x.sub.leaf.top1.sub.leaf'",
        },
    ],
)
def test_a_cycle_is_refused_whatever_paths_it_claims(graph, changes):
    for id_, change in changes.items():
        graph.execute(f"update authz.group set {change} where id = %s", [id_])
    assert is_refused(graph)


def test_a_change_that_is_not_of_the_tree_is_not_looked_at(graph):
    graph.execute("update authz.group set name = 'New', status = 'disabled' where id = 'gg1'")
    assert not is_refused(graph)


def test_a_tree_of_depth_one_thousand_is_taken_and_moved(graph):
    graph.execute(
        """
        insert into authz.group (id, space_id, parent_group_id, key, name, path, created_at, updated_at, revision)
        select 'deep' || n, 's1', case when n > 1 then 'deep' || n - 1 end, 'd', 'D', repeat('d.', n - 1) || 'd',
            now(), now(), 1
        from generate_series(1, 1000) n
        """
    )
    assert not is_refused(graph)
    graph.execute("set constraints all deferred")
    graph.execute("update authz.group set parent_group_id = 'g1' where id = 'deep1'")
    graph.execute("update authz.group set path = 'top1.' || path where id like 'deep%'")
    assert not is_refused(graph)


@pytest.mark.parametrize("is_app", [True, False])
def test_the_law_holds_at_the_commit_itself(authz_database: ServiceDatabase, is_app):
    with owner_of(authz_database) as owner:
        fill(owner)
    connection = psycopg.connect(authz_database.app_dsn) if is_app else owner_of(authz_database)
    connection.execute("update authz.group set path = 'elsewhere' where id = 'ggg1'")
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        connection.commit()
    assert caught.value.diag.constraint_name == LAW
    connection.close()


# A grandchild's parent changes nothing but its path in such a move, which no foreign key waits for.
RENAME = [
    "update authz.group set key = 'x', path = 'x' where id = 'g1'",
    "update authz.group set path = 'x.sub' where id = 'gg1'",
    "update authz.group set path = 'x.sub.leaf' where id = 'ggg1'",
]


def test_a_group_that_is_made_while_its_ancestor_moves_waits_and_is_refused(authz_database: ServiceDatabase):
    with owner_of(authz_database) as owner:
        fill(owner)
    with ThreadPoolExecutor(1) as pool, connected(authz_database) as mover, connected(authz_database) as maker:
        for statement in RENAME:
            mover.execute(statement)
        insert(maker, "group", id="late", key="late", path="top1.sub.late", parent_group_id="gg1")
        made = pool.submit(maker.commit)
        with psycopg.connect(authz_database.superuser_dsn, autocommit=True) as watcher:
            deadline = time.monotonic() + 10
            while not watcher.execute("select pg_blocking_pids(%s) <> '{}'", [maker.info.backend_pid]).fetchall()[0][0]:
                assert time.monotonic() < deadline
                assert not made.done()
        mover.commit()
        with pytest.raises(psycopg.errors.CheckViolation) as caught:
            made.result(10)
        assert caught.value.diag.constraint_name == LAW


def test_a_move_that_missed_a_group_made_meanwhile_is_refused(authz_database: ServiceDatabase):
    with owner_of(authz_database) as owner:
        fill(owner)
    with connected(authz_database) as mover, connected(authz_database) as maker:
        mover.execute(RENAME[0])
        insert(maker, "group", id="late", key="late", path="top1.sub.late", parent_group_id="gg1")
        maker.commit()
        for statement in RENAME[1:]:
            mover.execute(statement)
        with pytest.raises(psycopg.errors.CheckViolation) as caught:
            mover.commit()
        assert caught.value.diag.constraint_name == LAW


@contextmanager
def connected(database: ServiceDatabase) -> Iterator[Connection]:
    """A transaction of the service that gives up whatever waits for it, should the test fail."""
    connection = psycopg.connect(database.app_dsn, options="-c lock_timeout=20s")
    try:
        yield connection
    finally:
        connection.close()
