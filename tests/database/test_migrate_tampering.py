"""Whatever is changed in files, lock file, ledger or yoyo's table, `verify` names it once, by its root cause."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable, Iterator
from typing import Final

import psycopg
import pytest

from shared.embedded.server import EmbeddedPostgres
from shared.migrations.files import LOCK_FILE, default_folder, read_folder
from shared.migrations.lockfile import read_lock
from shared.migrations.runner import migrate_up
from shared.migrations.verify import compare_files, verify
from tests.conftest import ServiceDatabase, fresh_database
from tests.database.conftest import ScratchFolder

IDS: Final = ("0001.first", "0002.second", "0003.index", "0004.rows")
FORWARD: Final = tuple(f"{id}.sql" for id in IDS)
BACKWARD: Final = tuple(f"{id}.rollback.sql" for id in IDS)
ALL: Final = FORWARD + BACKWARD


@pytest.fixture
def folder(scratch: ScratchFolder) -> ScratchFolder:
    """Four migrations, one of which can't run in a transaction."""
    first, second, third, fourth = IDS
    scratch.add(first, "create schema authz; create table authz.first (id int primary key); -- of ours", "select 11;")
    scratch.add(second, "create table authz.second (id int primary key); -- of ours", "select 12;", depends=first)
    index = "create index concurrently second_id_idx on authz.second (id); -- of ours"
    third_header = {"depends": second, "transactional": "false", "indexes": "+authz.second_id_idx"}
    scratch.add(third, index, "select 13;", **third_header)
    scratch.add(fourth, "insert into authz.first values (1); -- of ours", "select 14;", depends=third, kind="data")
    scratch.lock()
    return scratch


@pytest.fixture(scope="module")
def applied(server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceDatabase]:
    """A database with the four migrations, for those tests that only change files."""
    scratch = ScratchFolder(tmp_path_factory.mktemp("migrations"))
    folder.__wrapped__(scratch)  # type: ignore[attr-defined]
    with fresh_database(server, "authz") as database:
        migrate_up("authz", database.owner_dsn, scratch.path)
        yield database


def found(database: ServiceDatabase, folder: ScratchFolder, dsn: str | None = None) -> list[tuple[str, str]]:
    return [(each.code, each.subject) for each in verify("authz", dsn or database.owner_dsn, folder.path)]


Edit = Callable[[ScratchFolder, str], None]


def rewritten(change: Callable[[bytes], bytes]) -> Edit:
    def edit(folder: ScratchFolder, name: str) -> None:
        file = folder.path / name
        before = file.read_bytes()
        after = change(before)
        assert after != before
        file.write_bytes(after)

    return edit


def flip_in_sql(content: bytes) -> bytes:
    """Flip the lowest bit of a letter of the first statement."""
    place = re.search(rb"^(create|insert|select)", content, re.MULTILINE)
    assert place is not None
    at = place.start() + 1
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def header(key: str, value: str) -> Edit:
    return rewritten(lambda content: re.sub(rf"-- {key}: .*".encode(), f"-- {key}: {value}".encode(), content))


EDITS: Final[dict[str, tuple[str, Edit, tuple[str, ...]]]] = {
    "a byte of the SQL": ("modified", rewritten(flip_in_sql), ALL),
    "a statement more": ("modified", rewritten(lambda content: content + b"select 1;\n"), ALL),
    "a statement less": ("modified", rewritten(lambda content: content[: content.rindex(b";")] + b"1;\n"), ALL),
    "a statement that is forbidden": ("modified", rewritten(lambda content: content + b"commit;\n"), ALL),
    "a comment": ("cosmetic_edit", rewritten(lambda content: content.replace(b"of ours", b"of theirs")), FORWARD),
    "a comment more": ("cosmetic_edit", rewritten(lambda content: content + b"/* why */\n"), ALL),
    "spaces": ("cosmetic_edit", rewritten(lambda content: content.replace(b";", b"  ;\n", 1)), ALL),
    "a header value for people": ("cosmetic_edit", header("purpose", "another"), FORWARD),
    "a header value that isn't one": ("cosmetic_edit", header("phase", "later"), FORWARD),
    "a header key that isn't one": (
        "cosmetic_edit",
        rewritten(lambda content: content.replace(b"-- phase", b"-- phrase")),
        FORWARD,
    ),
    "what it depends on": ("modified", header("depends", "0000.other"), FORWARD),
    "the header's transactional": ("modified", header("transactional", "maybe"), FORWARD),
    "carriage returns": ("bad_encoding", rewritten(lambda content: content.replace(b"\n", b"\r\n")), ALL),
    "a byte order mark": ("bad_encoding", rewritten(lambda content: b"\xef\xbb\xbf" + content), ALL),
    "a byte that is no UTF-8": ("bad_encoding", rewritten(lambda content: content + b"-- \xff\n"), ALL),
    "no content": ("modified", rewritten(lambda _: b""), ALL),
    "the file itself": ("missing", lambda folder, name: (folder.path / name).unlink(), ALL),
    "its name": (
        "renamed",
        lambda folder, name: (folder.path / name).rename(folder.path / re.sub(r"\.[a-z]+", ".other", name, count=1)),
        ALL,
    ),
    "its name to no migration's": (
        "renamed",
        lambda folder, name: (folder.path / name).rename(folder.path / f"{name}.orig"),
        ALL,
    ),
}
EDITS_OF_FILES: Final = [
    pytest.param(code, edit, name, id=f"{what} of {name}")
    for what, (code, edit, names) in EDITS.items()
    for name in names
]


@pytest.mark.parametrize("code, edit, name", EDITS_OF_FILES)
def test_a_change_of_any_file_is_one_finding(applied, folder, code, edit, name):
    edit(folder, name)
    assert found(applied, folder) == [(code, name)]


def delete_both(folder: ScratchFolder, id: str) -> None:
    for suffix in ("sql", "rollback.sql"):
        (folder.path / f"{id}.{suffix}").unlink()


def rename_both(folder: ScratchFolder, id: str) -> None:
    for suffix in ("sql", "rollback.sql"):
        (folder.path / f"{id}.{suffix}").rename(folder.path / f"{id[:5]}other.{suffix}")


def duplicate(folder: ScratchFolder, id: str) -> None:
    folder.add(f"{id[:5]}twin", "select 1;")


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize(
    "change, code, subject",
    [
        (delete_both, "missing", "{id}.sql"),
        (rename_both, "renamed", "{id}.sql"),
        (duplicate, "duplicate_number", "{number}.twin.sql"),
    ],
)
def test_a_change_of_a_migration_with_its_rollback_is_one_finding(applied, folder, id, change, code, subject):
    change(folder, id)
    assert found(applied, folder) == [(code, subject.format(id=id, number=id[:4]))]


@pytest.mark.parametrize(
    "name, code",
    [
        ("0000.early", "out_of_order"),
        ("0002.aardvark", "duplicate_number"),
        ("0005.late", "unlocked"),
        ("0009.gap", "unlocked"),
    ],
)
def test_an_inserted_file_is_one_finding(applied, folder, name, code):
    folder.add(name, "select 1;")
    assert found(applied, folder) == [(code, f"{name}.sql")]


@pytest.mark.parametrize("name", ["README", "5.sql", "0005.Late.sql", "0005.late.py", "0005.late.rollback.sql"])
def test_a_file_that_is_no_migration_is_one_finding(applied, folder, name):
    (folder.path / name).write_text("select 1;\n")
    assert found(applied, folder) == [("stray_file", name)]


def test_what_the_lock_file_follows_is_still_compared_with_what_was_applied(applied, folder):
    rewritten(flip_in_sql)(folder, FORWARD[1])
    folder.lock()
    assert found(applied, folder) == [("modified", IDS[1])]


@pytest.mark.parametrize("id", IDS)
def test_an_applied_migration_under_another_name_is_one_finding_when_the_lock_file_follows(applied, folder, id):
    rename_both(folder, id)
    folder.lock()
    assert found(applied, folder) == [("renamed", f"{id[:5]}other")]


def test_another_migration_under_an_applied_number_is_one_finding(applied, folder):
    delete_both(folder, IDS[3])
    folder.add("0004.other", "select 1;", depends=IDS[2])
    folder.lock()
    assert found(applied, folder) == [("ahead_of_code", IDS[3])]


def test_a_migration_below_the_head_is_one_finding_when_the_lock_file_follows(applied, folder):
    folder.add("0000.early", "select 1;")
    folder.lock()
    assert found(applied, folder) == [("out_of_order", "0000.early")]


def each_lock_change(lines: list[bytes]) -> Iterator[list[bytes]]:
    for place, line in enumerate(lines):
        name, sha256, meaning, chain = line.split(b" ")
        flipped = [bytes([word[0] ^ 1]) + word[1:] for word in (name, sha256, meaning, chain)]
        for column in range(4):
            words = [name, sha256, meaning, chain]
            words[column] = flipped[column]
            yield [*lines[:place], b" ".join(words), *lines[place + 1 :]]
        yield [*lines[:place], line, *lines[place:]]
        if place < len(lines) - 1:
            yield lines[:place] + lines[place + 1 :]
            yield [*lines[:place], lines[place + 1], line, *lines[place + 2 :]]
        yield [*lines[:place], line[:-20]]
        yield [*lines[:place], line.replace(b"\n", b"\r\n"), *lines[place + 1 :]]
        yield [*lines[:place], b"\xff" + line, *lines[place + 1 :]]
    yield []


def test_any_change_of_the_lock_file_is_one_finding(applied, folder):
    file = folder.path / LOCK_FILE
    lines = file.read_bytes().splitlines(keepends=True)
    changes = list(each_lock_change(lines))
    for changed in changes:
        file.write_bytes(b"".join(changed))
        findings = compare_files(folder.read(), read_lock("authz", folder.path))
        assert [(each.code, each.subject) for each in findings] == [("chain_broken", LOCK_FILE)], changed
    file.write_bytes(b"".join(changes[0]))
    assert found(applied, folder) == [("chain_broken", LOCK_FILE)]
    file.write_bytes(
        b"".join(lines[:-2])
    )  # whole lines less at the end: to the tool, a migration that isn't locked yet
    assert found(applied, folder) == [("unlocked", FORWARD[-1])]
    file.unlink()
    assert found(applied, folder) == [("lock_missing", LOCK_FILE)]


@dataclasses.dataclass(frozen=True)
class Tampering:
    """A statement that changes the bookkeeping of the migration {id}, and what it is called."""

    statement: str
    code: str
    subject: str = "{id}"


LEDGER: Final = "update public._migration_ledger set {} where id = '{{id}}'"
TAMPERINGS: Final = {
    "id": Tampering(LEDGER.format("id = '{number}.other'"), "ledger_altered"),
    "ordinal": Tampering(LEDGER.format("ordinal = 77"), "ledger_altered"),
    "sha256": Tampering(LEDGER.format("sha256 = repeat('0', 64)"), "modified"),
    "state": Tampering(LEDGER.format("state = 'started', applied_at = null"), "interrupted"),
    "started_at": Tampering(LEDGER.format("started_at = applied_at + interval '1 day'"), "ledger_altered"),
    "applied_at": Tampering(LEDGER.format("applied_at = started_at - interval '1 day'"), "ledger_altered"),
    "a row less": Tampering("delete from public._migration_ledger where id = '{id}'", "unrecorded"),
    "a mark less": Tampering("delete from public._yoyo_migration where migration_id = '{id}'", "unmarked"),
    "a mark more": Tampering(
        "insert into public._yoyo_migration values ('{number}', '{number}.more', now())", "unrecorded", "{number}.more"
    ),
}


@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS)
def test_a_change_of_the_bookkeeping_is_one_finding(applied, folder, tampering):
    for id in IDS:
        words = {"id": id, "number": id[:4]}
        with psycopg.connect(applied.superuser_dsn) as connection:
            changed = connection.execute(tampering.statement.format(**words))
            assert changed.rowcount == 1
            findings = findings_within(connection, folder)
            connection.rollback()
        assert findings == [(tampering.code, tampering.subject.format(**words))]


def findings_within(connection: psycopg.Connection, folder: ScratchFolder) -> list[tuple[str, str]]:
    """Return what is found by a transaction that has changed something and will be rolled back."""
    from shared.migrations.ledger import QUERIES, Bookkeeping, LedgerRow
    from shared.migrations.verify import compare_database

    with connection.cursor(row_factory=psycopg.rows.class_row(LedgerRow)) as cursor:
        ledger = {row.id: row for row in cursor.execute(QUERIES["load_ledger"])}
    marks = frozenset(id for (id,) in connection.execute(QUERIES["load_marks"]))
    files, lock = folder.read(), read_lock("authz", folder.path)
    findings = [*compare_files(files, lock), *compare_database(files, lock, Bookkeeping(ledger=ledger, marks=marks))]
    return [(each.code, each.subject) for each in findings]


@pytest.mark.parametrize(
    "marked, expected", [(True, ("ahead_of_code", "0005.more")), (False, ("ledger_altered", "0005.more"))]
)
def test_a_ledger_row_more_is_one_finding(applied, folder, marked, expected):
    columns = "id, ordinal, sha256, state, started_at, applied_at, applied_by, tool_version"
    row = "'0005.more', 5, sha256, state, started_at, applied_at, applied_by, tool_version"
    with psycopg.connect(applied.superuser_dsn) as connection:
        connection.execute(
            f"insert into public._migration_ledger ({columns}) select {row} from public._migration_ledger limit 1"
        )
        if marked:
            connection.execute("insert into public._yoyo_migration values ('5', '0005.more', now())")
        assert findings_within(connection, folder) == [expected]
        connection.rollback()


REAL: Final = [(service, name) for service in ("authz", "audit") for name in sorted(read_folder(service).contents)]


@pytest.mark.parametrize("service, name", REAL)
def test_a_flipped_byte_of_any_file_in_the_repository_is_one_finding(tmp_path, service, name):
    path = tmp_path / service
    shutil.copytree(default_folder(service), path)
    lock = read_lock(service, path)
    content = (path / name).read_bytes()
    sample = range(0, len(content), max(1, len(content) // 12))
    for place in sample:
        (path / name).write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        findings = compare_files(read_folder(service, path), lock)
        assert [each.subject for each in findings] == [name], place
        assert findings[0].code in {"modified", "cosmetic_edit", "bad_encoding"}
    (path / name).unlink()
    assert [each.code for each in compare_files(read_folder(service, path), lock)] == ["missing"]
