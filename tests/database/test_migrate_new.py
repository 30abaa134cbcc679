"""`migrate new`: both files with every key of the header; what isn't filled in can't be locked, planned or applied."""

from __future__ import annotations

import json

import pytest

from shared.migrations import files
from shared.migrations.errors import UsageError
from shared.migrations.files import KEYS, read_folder
from shared.migrations.runner import migrate_up
from shared.migrations.scaffold import scaffold


def fill_in(folder, id):
    for name in (f"{id}.sql", f"{id}.rollback.sql"):
        file = folder.path / name
        lines = [f"{line} none" if line.endswith(":") else line for line in file.read_text().splitlines()]
        file.write_text("\n".join([*lines, "select 1;"]) + "\n")


def test_it_is_complete_but_for_the_values_that_only_people_know(two_tables, empty_database):
    assert scaffold(two_tables.read(), "third_table", "schema", "expand") == [
        "0003.third_table.sql",
        "0003.third_table.rollback.sql",
    ]
    folder = two_tables.read()
    header = folder.migrations[-1].header
    assert tuple(header) == KEYS
    assert {key: value for key, value in header.items() if value} == {
        "depends": "0002.second",
        "transactional": "true",
        "kind": "schema",
        "phase": "expand",
    }
    empty = {key for key, value in header.items() if not value}
    assert {fault.seen.split("`")[1] for fault in folder.faults} == empty
    assert {fault.code for fault in folder.faults} == {"bad_header"}
    fill_in(two_tables, "0003.third_table")
    assert two_tables.read().faults == ()
    two_tables.lock()
    assert migrate_up("authz", empty_database.owner_dsn, two_tables.path)[-1] == "0003.third_table"


def test_the_first_of_a_folder_depends_on_none(scratch):
    scaffold(scratch.read(), "log", "data", "migrate")
    (migration,) = scratch.read().migrations
    assert (migration.id, migration.depends, migration.transactional) == ("0001.log", (), False)
    assert (migration.header["kind"], migration.header["phase"]) == ("data", "migrate")


@pytest.mark.parametrize("slug", ["Third", "third-table", "", "a b", "third_", "../third", "0003.third"])
def test_what_is_no_slug_is_refused(two_tables, slug):
    before = sorted(two_tables.path.iterdir())
    with pytest.raises(UsageError, match="isn't a slug"):
        scaffold(two_tables.read(), slug, "schema", "expand")
    assert sorted(two_tables.path.iterdir()) == before


def test_a_slug_that_is_taken_is_refused(two_tables):
    with pytest.raises(UsageError, match=r"0002\.second\.sql has this slug already"):
        scaffold(two_tables.read(), "second", "schema", "expand")


def test_the_command_says_what_comes_next(operate, two_tables, monkeypatch):
    monkeypatch.setattr(files, "default_folder", lambda _: two_tables.path)
    code, text = operate("migrate", "new", "third", "--service", "authz", "--format", "json")
    assert (code, json.loads(text)["files"]) == (0, ["0003.third.sql", "0003.third.rollback.sql"])
    code, text = operate("migrate", "new", "fourth", "--service", "authz")
    assert code == 1
    assert "`purpose` has no value" in text
    fill_in(two_tables, "0003.third")
    code, text = operate("migrate", "new", "fourth", "--service", "authz", "--kind", "data", "--phase", "migrate")
    assert code == 0
    assert "plystractl migrate lock --service authz" in text
    assert read_folder("authz", two_tables.path).migrations[-1].id == "0004.fourth"
