"""`schema.lock.json`: the catalogue at each point, what each migration did, and a text that says the same each time."""

from __future__ import annotations

import msgspec
import pytest

from shared.catalogue.compare import differences
from shared.catalogue.expressions import even_out
from shared.catalogue.model import digest
from shared.catalogue.schema_lock import SCHEMA_LOCK_FILE, UnknownPoint, line_of, read_schema_lock, render_schema_lock
from shared.catalogue.snapshot import snapshot
from shared.migrations.files import default_folder
from shared.migrations.replay import replay
from shared.migrations.runner import migrate_up
from tests.conftest import connect, fresh_database
from tests.database.conftest import ScratchFolder

MADE = "create schema authz; create table authz.a (id integer primary key, note text);"


@pytest.fixture
def folder(tmp_path):
    made = ScratchFolder(tmp_path)
    made.add("0001.made", MADE)
    made.add(
        "0002.changed",
        "alter table authz.a alter column note set default 'x'; create table authz.b ();",
        depends="0001.made",
    )
    made.add("0003.dropped", "drop table authz.b; drop table authz.a;", depends="0002.changed")
    made.lock()
    return made


@pytest.fixture
def lock(server, folder):
    with fresh_database(server, "authz") as database:
        return replay("authz", database.owner_dsn, folder.path)


def test_a_migration_adds_changes_and_removes_what_its_effect_says(lock):
    assert {"schema authz", "table authz.a", "column authz.a.note"} <= set(lock.effect("0001.made").added)
    assert list(lock.effect("0002.changed").added) == ["table authz.b"]
    [(key, (before, after))] = lock.effect("0002.changed").changed.items()
    assert (key, before.get("default"), after["default"]) == ("column authz.a.note", None, "'x'::text")
    assert {"table authz.b", "table authz.a"} <= set(lock.effect("0003.dropped").removed)


def test_the_catalogue_at_each_point_is_that_of_a_database_migrated_so_far(server, folder, lock):
    with fresh_database(server, "authz") as database, connect(database.owner_dsn) as connection:
        migrate_up("authz", database.owner_dsn, folder.path)
        assert differences(lock.at(lock.ids), snapshot(connection, "authz")) == []
    assert "table authz.b" in lock.at(("0001.made", "0002.changed")).objects
    assert "table authz.a" in lock.at(("0001.made",)).objects
    assert "default" not in lock.at(("0001.made",)).objects["column authz.a.note"]
    assert not [key for key in lock.at(()).objects if "authz.a" in key]


def test_each_digest_in_the_history_is_that_of_the_catalogue_at_its_point(lock):
    for place, step in enumerate(lock.history, 1):
        assert step.digest == digest(lock.at(lock.ids[:place]))


@pytest.mark.parametrize("applied", [("0002.changed",), ("0001.made", "0003.dropped"), ("0001.made", "0009.unknown")])
def test_a_point_that_is_not_on_the_way_is_unknown(lock, applied):
    with pytest.raises(UnknownPoint):
        lock.at(applied)


def test_the_text_is_read_as_what_was_written_and_is_written_the_same(lock, tmp_path):
    text = render_schema_lock(lock)
    (tmp_path / SCHEMA_LOCK_FILE).write_text(text, encoding="utf-8")
    assert read_schema_lock(tmp_path) == lock
    assert render_schema_lock(read_schema_lock(tmp_path)) == text
    line = text.splitlines()[line_of(tmp_path, "schema public") - 1]
    assert line.startswith('"schema public": ')


def test_a_lock_file_of_another_format_is_refused(lock, tmp_path):
    (tmp_path / SCHEMA_LOCK_FILE).write_text(
        render_schema_lock(lock).replace('"format": 1', '"format": 2'), encoding="utf-8"
    )
    with pytest.raises(msgspec.ValidationError, match="format 2"):
        read_schema_lock(tmp_path)


def test_partitions_made_by_data_leave_the_digest_as_it_is(audit_database):
    lock = read_schema_lock(default_folder("audit"))
    with connect(audit_database.superuser_dsn) as connection:
        for number in (3, 1):
            connection.execute("select audit.ensure_partition(%s)", [number << 20])
        assert digest(snapshot(connection, "audit")) == lock.history[-1].digest


@pytest.mark.parametrize(
    ("written", "evened"),
    [
        ("(((a >= 1) AND (a <= 9)) AND (b))", "((a >= 1) AND (a <= 9) AND (b))"),
        ("((a OR b) AND (c))", "((a OR b) AND (c))"),
        ("(((a) OR (b)) OR (c))", "((a) OR (b) OR (c))"),
        ("(NOT ((a) AND (b)))", "(NOT ((a) AND (b)))"),
        ("f(((a) AND (b))) AND (c)", "f(((a) AND (b))) AND (c)"),
        ("((x = ' AND (' ) AND (b))", "((x = ' AND (' ) AND (b))"),
    ],
)
def test_chains_of_and_and_of_or_stand_on_one_level(written, evened):
    assert even_out(written) == evened
