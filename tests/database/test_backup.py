"""`plystractl backup`: a backup describes what it holds, every damage to it has a name, and it comes back as it was."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from psycopg import sql

from services.authz.seeding import load_example
from shared.ctl.__main__ import main
from shared.ctl.backups.faults import FAULTS, BadBackup
from shared.ctl.backups.folder import newest_backup
from shared.ctl.backups.manifest import DUMP, MANIFEST, TESTED, Producer, render, seal
from shared.ctl.backups.rehearsal import read_tested
from shared.ctl.backups.verification import read_manifest, verify_backup
from shared.ctl.backups.witness import missing_events
from shared.embedded.server import EmbeddedPostgres
from shared.merkle import EMPTY_ROOT, tree_hash
from shared.migrations.bootstrap import create_database
from shared.migrations.errors import ExitCode
from tests.audit_events import decision, read
from tests.conftest import ServiceDatabase, connect, fresh_database

Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def example(server: EmbeddedPostgres, template_of: Callable[[str], str]) -> Iterator[ServiceDatabase]:
    """The worked example, for this module alone; only read."""
    with fresh_database(server, "authz", template=template_of("authz")) as database:
        asyncio.run(load_example(database.app_dsn, "finance-reviewer"))
        yield database


@pytest.fixture(scope="module")
def made(example: ServiceDatabase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of the worked example, never to be damaged itself."""
    with pytest.MonkeyPatch.context() as patch:
        return take(example, tmp_path_factory.mktemp("backups"), patch)


@pytest.fixture
def backup(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(made, tmp_path / made.name)


@pytest.fixture(autouse=True)
def in_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLYSTRA_ENVIRONMENT", "test")


def name(patch: pytest.MonkeyPatch, *databases: ServiceDatabase) -> None:
    """Name databases to plystractl."""
    for database in databases:
        patch.setenv(f"PLYSTRA_{database.service.upper()}_DSN", database.owner_dsn)


def take(database: ServiceDatabase, out: Path, patch: pytest.MonkeyPatch) -> Path:
    """Take a backup."""
    name(patch, database)
    before = set(out.iterdir())
    assert main(["backup", "create", "--service", database.service, "--out", str(out)]) == 0
    (folder,) = set(out.iterdir()) - before
    return folder


def codes(folder: Path, service: str | None = None) -> list[str]:
    """What is wrong with a backup."""
    try:
        verify_backup(folder, service)
    except BadBackup as bad:
        return [fault.code for fault in bad.faults]
    return []


def flip(file: Path, position: int) -> None:
    """Change one bit of one byte, counted from the end when negative."""
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)


def rewrite(folder: Path, **changes: Any) -> None:
    """Write the manifest anew, digest and all, as somebody with plystractl's code could."""
    manifest = msgspec.structs.replace(read_manifest(folder), **changes)
    (folder / MANIFEST).write_bytes(render(seal(manifest)))


def rows(database: ServiceDatabase, query: str) -> list[Any]:
    with connect(database.superuser_dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def fill_log(database: ServiceDatabase, count: int) -> list[bytes]:
    """Put events into a log, as the service's own role does; returns their leaf hashes."""
    hashes = []
    with connect(database.app_dsn) as connection:
        connection.execute("select audit.ensure_partition(0)")
        (first,) = connection.execute("select coalesce(max(log_index) + 1, 0) from audit.entry").fetchone() or (0,)
        for index in range(first, first + count):
            (event,) = read(decision(sequence=index))
            values = [index, "2026-01-01T00:00:00Z", *msgspec.structs.astuple(event)]
            fields = ", ".join(["log_index", "recorded_at", *event.__struct_fields__])
            places = ", ".join(["%s"] * len(values))
            connection.execute(f"insert into audit.entry ({fields}) values ({places})".encode(), values)
            hashes.append(event.leaf_hash)
    return hashes


# What a backup says.


def test_a_backup_says_what_it_holds_and_is_whole(made: Path, example: ServiceDatabase):
    manifest = verify_backup(made, "authz")
    counts = {table.name: table.rows for table in manifest.contents.tables}
    assert (manifest.contents.checkpoint.revision, counts["authz.event"], counts["authz.space"]) == (36, 36, 1)
    assert manifest.schema_version == rows(example, "select max(id) from public._migration_ledger")[0][0]
    assert "authz.outbox" in counts
    assert "authz.outbox_0" not in counts
    assert sorted(path.name for path in made.iterdir()) == [DUMP, MANIFEST]
    assert list(made.parent.iterdir()) == [made]


def test_an_audit_backup_names_its_log_by_size_and_tree_hash(audit_database, tmp_path, monkeypatch):
    empty = read_manifest(take(audit_database, tmp_path, monkeypatch)).contents.checkpoint
    assert (empty.size, empty.tree_hash, empty.last_recorded_at) == (0, EMPTY_ROOT.hex(), None)
    hashes = fill_log(audit_database, 5)
    (tmp_path / "later").mkdir()
    full = read_manifest(take(audit_database, tmp_path / "later", monkeypatch)).contents.checkpoint
    assert (full.size, full.tree_hash) == (5, tree_hash(hashes).hex())
    assert [(producer.source, producer.last_sequence) for producer in full.producers] == [("authz@test", 4)]


def test_a_failed_dump_leaves_nothing_behind(example: ServiceDatabase, tmp_path, monkeypatch):
    monkeypatch.setenv("PLYSTRA_AUDIT_DSN", example.owner_dsn)
    out = tmp_path / "out"
    assert main(["backup", "create", "--service", "audit", "--out", str(out)]) == ExitCode.CANNOT_COMPARE
    assert list(out.iterdir()) == []


def test_without_programs_that_will_do_it_says_what_to_install(example, tmp_path, monkeypatch, capsys):
    name(monkeypatch, example)
    arguments = ["backup", "create", "--service", "authz", "--out", str(tmp_path), "--pg-bin", str(tmp_path)]
    assert main(arguments) == ExitCode.USAGE
    assert "postgresql-client-" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# What can become of one.

DAMAGES: dict[str, tuple[Damage, str]] = {
    "dump cut short": (lambda b: (b / DUMP).write_bytes((b / DUMP).read_bytes()[:-1]), "dump_truncated"),
    "dump emptied": (lambda b: (b / DUMP).write_bytes(b""), "dump_truncated"),
    "dump made longer": (lambda b: (b / DUMP).write_bytes((b / DUMP).read_bytes() + b"\0"), "dump_grown"),
    "dump gone": (lambda b: (b / DUMP).unlink(), "dump_missing"),
    "first byte of the dump": (lambda b: flip(b / DUMP, 0), "dump_altered"),
    "byte in the middle of the dump": (lambda b: flip(b / DUMP, 20_000), "dump_altered"),
    "last byte of the dump": (lambda b: flip(b / DUMP, -1), "dump_altered"),
    "manifest gone": (lambda b: (b / MANIFEST).unlink(), "manifest_missing"),
    "manifest cut short": (
        lambda b: (b / MANIFEST).write_bytes((b / MANIFEST).read_bytes()[:-3]),
        "manifest_unreadable",
    ),
    "manifest's last line break": (
        lambda b: (b / MANIFEST).write_bytes((b / MANIFEST).read_bytes()[:-1]),
        "manifest_altered",
    ),
    "of another product": (lambda b: (b / MANIFEST).write_text('{"product": "other", "format": 1}'), "foreign_backup"),
    "of no product": (lambda b: (b / MANIFEST).write_text("{}"), "foreign_backup"),
    "newer format": (lambda b: (b / MANIFEST).write_text('{"product": "plystra", "format": 2}'), "newer_format"),
    "a row less told": (
        lambda b: (b / MANIFEST).write_bytes((b / MANIFEST).read_bytes().replace(b'"rows": 36', b'"rows": 35', 1)),
        "manifest_altered",
    ),
    "a stranger beside it": (lambda b: (b / "more.dump").write_text(""), "unexpected_file"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_every_damage_has_its_name(backup: Path, what: str):
    damage, code = DAMAGES[what]
    damage(backup)
    assert codes(backup) == [code]


def test_any_byte_of_the_manifest_is_missed(backup: Path):
    content = (backup / MANIFEST).read_bytes()
    for position in range(0, len(content), 41):
        flip(backup / MANIFEST, position)
        assert codes(backup), f"byte {position}"
        (backup / MANIFEST).write_bytes(content)
    assert codes(backup) == []


def test_the_manifest_of_another_backup_is_found_out(backup: Path, example: ServiceDatabase, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    other = take(example, tmp_path / "other", monkeypatch)
    shutil.copy(other / MANIFEST, backup / MANIFEST)
    assert codes(backup)[0] in {"dump_altered", "dump_truncated", "dump_grown"}


@pytest.mark.parametrize(
    "what", [what for what, (_, code) in DAMAGES.items() if code not in {"dump_altered", "unexpected_file"}]
)
def test_what_is_damaged_is_no_newest_backup(backup: Path, made: Path, what: str):
    assert newest_backup(backup.parent, "audit") is None
    older = shutil.copytree(made, backup.parent / "authz-older")
    rewrite(older, created_at=read_manifest(made).created_at - timedelta(days=1))
    assert newest_backup(backup.parent, "authz") == read_manifest(made)
    DAMAGES[what][0](backup)
    assert newest_backup(backup.parent, "authz") == read_manifest(older)


def test_without_a_folder_that_is_named_nothing_is_made(example, tmp_path, monkeypatch, capsys):
    name(monkeypatch, example)
    monkeypatch.chdir(tmp_path)
    assert main(["backup", "create", "--service", "authz"]) == ExitCode.USAGE
    assert "set PLYSTRA_BACKUP_DIR" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("PLYSTRA_BACKUP_DIR", str(tmp_path / "kept"))
    assert main(["backup", "create", "--service", "authz"]) == 0
    assert newest_backup(tmp_path / "kept", "authz") is not None


def test_a_backup_of_the_other_service_is_refused(backup: Path):
    assert codes(backup, "audit") == ["other_service"]


def test_a_table_that_only_the_dump_or_only_the_manifest_has_is_named(backup: Path):
    contents = read_manifest(backup).contents
    rewrite(backup, contents=msgspec.structs.replace(contents, tables=contents.tables[1:]))
    assert codes(backup) == ["tables_differ"]
    more = msgspec.structs.replace(contents.tables[0], name="authz.more")
    rewrite(backup, contents=msgspec.structs.replace(contents, tables=[*contents.tables, more]))
    assert codes(backup) == ["tables_differ"]


def test_what_verify_finds_is_told_to_machines_with_why_and_what_next(backup: Path, capsys):
    flip(backup / DUMP, 100)
    assert main(["backup", "verify", str(backup), "--format", "json"]) == ExitCode.FINDINGS
    report = json.loads(capsys.readouterr().out)
    assert report["schema"] == "plystractl.backup.verify/1"
    assert report["findings"][0]["code"] == "dump_altered"
    assert all(report["findings"][0][part] for part in ("why", "next", "seen"))


def test_every_fault_says_why_it_matters_and_what_to_do():
    assert all(why.endswith(".") and remedy.endswith(".") for why, remedy in FAULTS.values())


# Putting it back.


def restore(folder: Path, database: ServiceDatabase, patch: pytest.MonkeyPatch, *options: str) -> int:
    """Restore, as somebody who may create databases."""
    name(patch, database)
    server = ["--server", database.server.superuser_dsn]
    return main(["backup", "restore", str(folder), "--service", database.service, *server, *options])


def drop_kept(database: ServiceDatabase) -> list[str]:
    """Drop what a restore kept or left of a database; returns the names."""
    with connect(database.server.superuser_dsn) as connection:
        found = connection.execute("select datname from pg_database where datname like %s", [f"{database.name}\\_%"])
        names = [name for (name,) in found]
        for one in names:
            connection.execute(f'drop database "{one}"'.encode())
    return names


def test_a_database_that_is_not_empty_is_left_alone(backup: Path, authz_database, monkeypatch):
    assert restore(backup, authz_database, monkeypatch) == ExitCode.REFUSED
    assert rows(authz_database, "select count(*) from authz.event") == [(0,)]
    assert drop_kept(authz_database) == []


def test_replaced_it_is_as_it_was_dumped_and_the_old_one_is_kept(backup: Path, authz_database, monkeypatch):
    assert restore(backup, authz_database, monkeypatch, "--replace") == 0
    assert rows(authz_database, "select max(revision) from authz.event") == [(36,)]
    assert main(["authz", "verify-projections"]) == 0
    (kept,) = drop_kept(authz_database)
    assert "_before_" in kept


@pytest.mark.parametrize("long_name", ["ü" * 31 + "x", "ü" * 31, "x" * 63])
def test_a_database_with_the_longest_name_is_replaced_and_kept(
    backup: Path, server, template_of, monkeypatch, long_name
):
    # PostgreSQL cuts a name after 63 bytes: what is made beside it must not come out as the name itself.
    database = ServiceDatabase("authz", long_name, server)
    with connect(server.superuser_dsn) as admin:
        create_database(admin, "authz", long_name, template=template_of("authz"))
        before = admin.execute("select oid from pg_database where datname = %s", [long_name]).fetchone()
        try:
            assert restore(backup, database, monkeypatch, "--replace") == 0
            kept = admin.execute("select datname from pg_database where oid = %s", before).fetchone()
            assert kept is not None
            assert re.fullmatch(r".+_before_\d{8}T\d{6}_[0-9a-f]{6}", kept[0])
            assert rows(database, "select max(revision) from authz.event") == [(36,)]
            admin.execute(sql.SQL("drop database {}").format(sql.Identifier(kept[0])))
        finally:
            admin.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(long_name)))


def test_a_database_that_a_restore_did_not_make_is_not_dropped_by_it(backup: Path, authz_database, monkeypatch):
    # Two restores within one second, or one after another that was killed.
    monkeypatch.setattr("shared.ctl.backups.restoring.token_hex", lambda _: "abcdef")
    monkeypatch.setattr("shared.ctl.backup.utc_now", lambda: datetime(2024, 1, 1, tzinfo=UTC))
    other = f"{authz_database.name}_restoring_20240101T000000_abcdef"
    with connect(authz_database.server.superuser_dsn) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(other)))
        assert restore(backup, authz_database, monkeypatch, "--replace") == ExitCode.BUSY
        assert drop_kept(authz_database) == [other]
    assert rows(authz_database, "select count(*) from authz.event") == [(0,)]


def test_who_may_not_create_databases_for_a_rehearsal_is_told_so(backup: Path, authz_database, capsys):
    arguments = ["backup", "restore-test", str(backup), "--server", authz_database.app_dsn]
    assert main(arguments) == ExitCode.USAGE
    assert "may not do this: permission denied to create database" in capsys.readouterr().err


def test_only_one_restore_of_a_database_runs_at_a_time(backup: Path, authz_database, monkeypatch):
    with connect(authz_database.server.superuser_dsn) as other:
        other.execute("select pg_advisory_lock(hashtextextended('plystra.restore ' || %s, 0))", [authz_database.name])
        assert restore(backup, authz_database, monkeypatch, "--replace") == ExitCode.BUSY
    assert drop_kept(authz_database) == []


def test_the_database_of_the_other_service_is_never_replaced(backup: Path, audit_database, monkeypatch):
    monkeypatch.setenv("PLYSTRA_AUTHZ_DSN", audit_database.owner_dsn)
    server = ["--server", audit_database.server.superuser_dsn]
    arguments = ["backup", "restore", str(backup), "--service", "authz", "--replace", "--yes", *server]
    assert main(arguments) == ExitCode.USAGE
    assert rows(audit_database, "select count(*) from audit.entry") == [(0,)]
    assert drop_kept(audit_database) == []


def test_two_backups_of_one_second_are_one_backup_and_one_refusal(example: ServiceDatabase, tmp_path, monkeypatch):
    monkeypatch.setattr("shared.ctl.backup.utc_now", lambda: datetime(2024, 1, 1, tzinfo=UTC))
    first = take(example, tmp_path, monkeypatch)
    assert main(["backup", "create", "--service", "authz", "--out", str(tmp_path)]) == ExitCode.USAGE
    assert list(tmp_path.iterdir()) == [first]


def test_an_empty_database_takes_a_backup_without_the_right_to_create_one(backup: Path, empty_database, monkeypatch):
    name(monkeypatch, empty_database)
    arguments = ["backup", "restore", str(backup), "--service", "authz", "--server", empty_database.owner_dsn]
    assert main(arguments) == 0
    assert rows(empty_database, "select max(revision) from authz.event") == [(36,)]
    with connect(empty_database.app_dsn) as connection:
        assert connection.execute("select count(*) from authz.space").fetchone() == (1,)


def test_in_production_replacing_takes_a_yes(backup: Path, authz_database, monkeypatch):
    monkeypatch.delenv("PLYSTRA_ENVIRONMENT")
    assert restore(backup, authz_database, monkeypatch, "--replace") == ExitCode.REFUSED
    assert restore(backup, authz_database, monkeypatch, "--replace", "--yes") == 0
    drop_kept(authz_database)


def test_while_somebody_is_connected_nothing_happens_and_they_are_named(backup, authz_database, monkeypatch, capsys):
    with psycopg.connect(authz_database.app_dsn, application_name="authz@night", autocommit=True) as session:
        session.execute("select 1")
        assert restore(backup, authz_database, monkeypatch, "--replace") == ExitCode.REFUSED
    assert "authz@night" in capsys.readouterr().err
    assert drop_kept(authz_database) == []


def test_a_restore_that_fails_leaves_the_old_database_as_it_was(backup: Path, authz_database, monkeypatch):
    contents = read_manifest(backup).contents
    tables = [msgspec.structs.replace(table, rows=table.rows + 1) for table in contents.tables]
    rewrite(backup, contents=msgspec.structs.replace(contents, tables=tables))
    assert codes(backup) == []
    assert restore(backup, authz_database, monkeypatch, "--replace") == ExitCode.FINDINGS
    assert rows(authz_database, "select count(*) from authz.event") == [(0,)]
    assert drop_kept(authz_database) == []


def test_a_log_behind_the_one_it_would_replace_is_refused(audit_database, tmp_path, monkeypatch, capsys):
    fill_log(audit_database, 3)
    folder = take(audit_database, tmp_path, monkeypatch)
    fill_log(audit_database, 2)
    assert restore(folder, audit_database, monkeypatch, "--replace") == ExitCode.REFUSED
    assert "has 5 entries, the backup 3" in capsys.readouterr().err
    assert rows(audit_database, "select count(*) from audit.entry") == [(5,)]


def test_an_acknowledged_loss_stands_in_the_log(audit_database, tmp_path, monkeypatch):
    fill_log(audit_database, 3)
    folder = take(audit_database, tmp_path, monkeypatch)
    fill_log(audit_database, 2)
    options = ["--replace", "--acknowledge-loss", "--reason", "the disk was lost"]
    assert restore(folder, audit_database, monkeypatch, *options) == 0
    drop_kept(audit_database)
    query = "select log_index, kind, source, convert_from(leaf, 'UTF8')::jsonb -> 'data' from audit.entry order by 1 desc limit 1"
    ((index, kind, source, data),) = rows(audit_database, query)
    assert (index, kind, source, data["reason"]) == (3, "log.restored", "plystractl", "the disk was lost")
    assert data["after"]["backup_size"] == 3
    assert [loss["missing"] for loss in data["after"]["losses"]] == [2]


def test_a_log_behind_what_authz_was_told_is_refused(audit_database, example, tmp_path, monkeypatch, clone_database):
    folder = take(audit_database, tmp_path, monkeypatch)
    with clone_database("authz") as authz:
        query = "insert into authz.outbox_writer (source, epoch, stream, delivered_sequence) values ('a', 1, 'decisions', 6)"
        with connect(authz.owner_dsn) as connection:
            connection.execute(query)
        name(monkeypatch, authz)
        assert restore(folder, audit_database, monkeypatch, "--replace") == ExitCode.REFUSED


def test_what_is_missing_is_counted_per_writer():
    def at(source: str, last: int) -> Producer:
        return Producer(source=source, epoch=1, last_sequence=last)

    assert missing_events([at("a", 4), at("b", 9)], [at("a", 6), at("b", 3), at("c", 0)]) == 3


# Rehearsing it.


def test_a_rehearsal_proves_every_check_and_notes_it(backup: Path, server: EmbeddedPostgres, capsys):
    arguments = ["backup", "restore-test", str(backup), "--server", server.superuser_dsn, "--format", "json"]
    assert main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    results = {check["name"]: check["result"] for check in report["checks"]}
    assert results == dict.fromkeys(("files", "restore", "rows", "migrations", "schema", "projections"), "proved")
    tested = read_tested(backup, read_manifest(backup))
    assert tested is not None
    assert codes(backup) == []
    with connect(server.superuser_dsn) as connection:
        left = connection.execute(
            "select datname from pg_database where datname like 'plystra_restore_test%'"
        ).fetchall()
    assert left == []


def test_a_rehearsal_finds_a_damaged_entry_and_notes_nothing(audit_database, server, tmp_path, monkeypatch, capsys):
    fill_log(audit_database, 4)
    with connect(audit_database.superuser_dsn) as connection:
        connection.execute("alter table audit.entry disable trigger all")
        connection.execute("alter table audit.entry_000000 disable trigger all")
        connection.execute("update audit.entry set user_id = 'user_mallory' where log_index = 2")
    folder = take(audit_database, tmp_path, monkeypatch)
    capsys.readouterr()
    assert main(["backup", "restore-test", str(folder), "--server", server.superuser_dsn, "--format", "json"]) == 1
    report = json.loads(capsys.readouterr().out)
    (log,) = [check for check in report["checks"] if check["name"] == "log"]
    assert [(fault["code"], fault["subject"], fault["seen"]) for fault in log["findings"]] == [
        ("log_damaged", "audit.entry 2", "user_id isn't what the leaf says")
    ]
    assert not (folder / TESTED).exists()


def test_without_a_server_a_rehearsal_brings_its_own(backup: Path):
    assert main(["backup", "restore-test", str(backup)]) == 0
    assert read_tested(backup, read_manifest(backup)) is not None
