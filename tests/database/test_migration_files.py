"""Migration files are read strictly: what isn't as it should be is named, and nothing in the folder is executed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.migrations.files import LOCK_FILE, read_folder
from shared.migrations.lockfile import number_gaps, read_lock, render_lock, required_migrations
from shared.migrations.statements import forbidden_statements, split_statements
from shared.migrations.verify import compare_files


def codes(scratch) -> list[tuple[str, str]]:
    return [(fault.code, fault.subject) for fault in scratch.read().faults]


def test_a_proper_folder_has_no_faults(two_tables):
    folder = two_tables.read()
    assert folder.faults == ()
    assert [migration.id for migration in folder.migrations] == ["0001.first", "0002.second"]
    assert folder.migrations[0].depends == ()
    assert folder.migrations[1].depends == ("0001.first",)


@pytest.mark.parametrize(
    "found, written, said",
    [
        ("-- purpose: a test\n", "", "These keys are missing: purpose."),
        ("-- purpose:", "-- porpoise:", "`porpoise` isn't a key"),
        ("-- depends:", "-- Depends:", "`Depends` isn't a key"),
        ("-- depends:", "-- depend:", "`depend` isn't a key"),
        ("-- purpose: a test", "-- purpose: a test\n-- purpose: two", "there twice"),
        ("-- purpose: a test", "-- purpose:", "has no value"),
        ("-- kind: schema", "-- kind: table", "isn't one of data, schema"),
        ("-- phase: expand", "-- phase: extend", "isn't one of contract, expand, migrate"),
        ("-- transactional: true", "-- transactional: yes", "isn't one of false, true"),
        ("-- depends: none", "-- depends: 0002.later", "doesn't name an earlier migration"),
        ("-- depends: none", "-- depends: 0001.first", "doesn't name an earlier migration"),
        ("-- depends: none", "-- depends: nothing", "doesn't name an earlier migration"),
        ("\n\nselect", "\n\n-- transactional: false\nselect", "stands below the header"),
    ],
)
def test_a_fault_in_the_header_is_named(scratch, found, written, said):
    file = scratch.add("0001.first", "select 1;")
    file.write_text(file.read_text().replace(found, written, 1))
    faults = scratch.read().faults
    assert {fault.code for fault in faults} == {"bad_header"}
    assert any(said in fault.seen for fault in faults), [fault.seen for fault in faults]


def test_a_comment_for_people_in_the_header_is_none_of_our_business(scratch):
    file = scratch.add("0001.first", "select 1;")
    file.write_text(file.read_text().replace("\n\nselect", "\n-- (why it is so: because)\n\nselect"))
    assert codes(scratch) == []


@pytest.mark.parametrize(
    "name",
    [
        "0001.late.py",
        "notes.md",
        "1.first.sql",
        "0003.Upper.sql",
        "0003_slug.sql",
        "0003.a.rollback.rollback.sql",
        ".x",
    ],
)
def test_a_stray_file_is_refused(two_tables, name):
    (two_tables.path / name).write_text("raise SystemExit('executed')")
    assert codes(two_tables) == [("stray_file", name)]


def test_a_folder_a_link_and_a_lone_rollback_are_stray(two_tables):
    (two_tables.path / "0003.folder.sql").mkdir()
    (two_tables.path / "0004.link.sql").symlink_to(two_tables.path / "0001.first.sql")
    (two_tables.path / "0005.lone.rollback.sql").write_text("select 1;\n")
    stray = {"0003.folder.sql", "0004.link.sql", "0005.lone.rollback.sql"}
    assert set(codes(two_tables)) == {("stray_file", name) for name in stray}


@pytest.mark.parametrize(
    "content", [b"select 1;\r\n", b"\xef\xbb\xbfselect 1;\n", b"select '\xe4';\n", b"select 1;\0\n"]
)
def test_another_encoding_is_refused(two_tables, content):
    (two_tables.path / "0002.second.rollback.sql").write_bytes(content)
    assert ("bad_encoding", "0002.second.rollback.sql") in codes(two_tables)


def test_a_migration_without_its_rollback_and_a_number_used_twice_are_refused(two_tables):
    (two_tables.path / "0001.first.rollback.sql").unlink()
    two_tables.add("0002.twin", "select 1;")
    assert set(codes(two_tables)) == {
        ("rollback_missing", "0001.first.rollback.sql"),
        ("duplicate_number", "0002.twin.sql"),
    }


@pytest.mark.parametrize(
    "statement",
    [
        "commit",
        "BEGIN",
        "/* so */ Rollback",
        "end",
        "start transaction",
        "savepoint a",
        "set role postgres",
        "set local role x",
        "reset role",
        "set session authorization x",
        "prepare transaction 'a'",
        "discard all",
    ],
)
def test_a_statement_that_parts_the_transaction_is_refused(scratch, statement):
    scratch.add("0001.first", f"create table t (a int); {statement};")
    assert codes(scratch) == [("forbidden_statement", "0001.first.sql")]


def test_outside_of_a_transaction_a_file_is_one_statement(scratch):
    scratch.add("0001.first", "create index concurrently a on t (a); create index b on t (b);", transactional="false")
    scratch.add("0002.second", "create index concurrently a on t (a); -- once;", transactional="false")
    assert codes(scratch) == [("several_statements", "0001.first.sql")]


@pytest.mark.parametrize(
    "text",
    [
        "create function f() returns int language plpgsql as $$ begin; commit; end; $$",
        "create function f() returns int language plpgsql as $a$ select $$; commit; $$; $a$",
        "do $body$ begin null; commit; end $body$",
        "create function f(a int) returns int begin atomic; select case when a > 0 then 1 else 2 end; select 3; end",
        "select 'a; commit; b', E'it\\'s; commit;', \"a;commit\"",
        "select 1 /* ; commit; /* nested; commit; */ ; commit; */ -- ; commit;",
        "create table t (begin int, a$b$c int, d$b$e int)",
        "select $1$ || $$; commit;$$",
    ],
)
def test_quotes_comments_and_bodies_are_one_statement(text):
    assert len(split_statements(text)) == 1
    assert forbidden_statements(f"select 0; {text};") == []
    assert forbidden_statements(f"{text}\n; commit;") == ["commit"]


PIECES = ["select 1", "select ';'", "select $x$;$x$", 'select ";"', "/*;*/ select E'\\';'", "select 1 -- ;\n"]


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=8), st.sampled_from([";", " ;\n", ";; ", ";/*;/*;*/*/"]))
def test_joined_statements_come_apart_again(pieces, separator):
    assert len(split_statements(separator.join(pieces))) == len(pieces)


def test_the_lock_file_reads_back_and_gaps_are_named(two_tables):
    folder = two_tables.read()
    lock = read_lock("authz", two_tables.path)
    assert lock is not None
    assert lock.broken is None
    assert lock.ids == ("0001.first", "0002.second")
    ids = ["0001.first", "0002.second"]
    assert list(lock.hashes) == [f"{id}.{suffix}" for id in ids for suffix in ("sql", "rollback.sql")]
    assert number_gaps(folder) == []
    two_tables.add("0004.fourth", "select 1;")
    assert [gap.subject for gap in number_gaps(two_tables.read())] == ["0003"]


def test_any_change_of_the_lock_file_is_found(two_tables):
    file = two_tables.path / LOCK_FILE
    text = file.read_text()
    for position, character in enumerate(text[:-1]):
        changed = "0" if character != "0" else "1"
        file.write_text(text[:position] + changed + text[position + 1 :])
        assert compare_files(two_tables.read(), read_lock("authz", two_tables.path)), position
    lines = text.splitlines(keepends=True)
    for changed_lines in (lines[:-1], lines[1:], lines[::-1], [*lines, lines[-1]]):
        file.write_text("".join(changed_lines))
        assert compare_files(two_tables.read(), read_lock("authz", two_tables.path))


def test_a_lock_file_of_the_other_service_is_none_of_this(two_tables):
    assert compare_files(two_tables.read(), read_lock("audit", two_tables.path))[0].code == "chain_broken"


@pytest.mark.parametrize("service", ["authz", "audit"])
def test_the_migrations_in_the_repository_are_clean_and_locked(service):
    folder = read_folder(service)
    assert compare_files(folder, read_lock(service, folder.path)) == []
    assert (folder.path / LOCK_FILE).read_text() == render_lock(folder)
    assert required_migrations(service) == tuple(migration.id for migration in folder.migrations)
    assert required_migrations(service)
