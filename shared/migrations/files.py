"""Reads a folder of migration files, strictly: name, encoding, header and what a file must not hold.

    NNNN.slug.sql            the change; its leading `-- key: value` lines are the header, every key of `KEYS` required
    NNNN.slug.rollback.sql   how it is undone; no header
    migrations.lock, schema.lock.json    generated

Faults don't raise: they are findings, so that `verify` can show all of them at once. Nothing in the folder is executed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from shared.catalogue.schema_lock import SCHEMA_LOCK_FILE
from shared.migrations.findings import Finding
from shared.migrations.statements import forbidden_statements, split_statements

Fault = Callable[[str, str, str], None]

LOCK_FILE: Final = "migrations.lock"
KEYS: Final = (
    "depends",
    "transactional",
    "purpose",
    "kind",
    "phase",
    "tables",
    "columns",
    "indexes",
    "constraints",
    "locks",
    "backfill",
    "rollback",
    "compatibility",
    "review",
)
_VALUES: Final = {
    "transactional": {"true", "false"},
    "kind": {"schema", "data"},
    "phase": {"expand", "migrate", "contract"},
}
_NAME: Final = re.compile(r"(?P<id>(?P<number>[0-9]{4})\.[a-z0-9]+(?:_[a-z0-9]+)*)(?P<rollback>\.rollback)?\.sql")
_HEADER_LINE: Final = re.compile(r"--\s*(?P<key>[A-Za-z_-]+)\s*:\s*(?P<value>.*?)\s*")
_DIRECTIVE: Final = re.compile(r"^\s*--\s*(depends|transactional)\s*:", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class MigrationFile:
    """One migration: the exact bytes on disk and what its header says."""

    id: str
    ordinal: int
    path: Path
    content: bytes
    header: Mapping[str, str]
    rollback_content: bytes | None

    @property
    def name(self) -> str:
        """The name of its file."""
        return self.path.name

    @property
    def rollback_name(self) -> str:
        """The name of its rollback file."""
        return f"{self.id}.rollback.sql"

    @property
    def sha256(self) -> str:
        """The hash of the bytes."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def sql(self) -> str:
        """The text to execute, comments and all."""
        return self.content.decode("utf-8")

    @property
    def depends(self) -> tuple[str, ...]:
        """The ids of the migrations that must be applied before."""
        return _ids(self.header.get("depends", "none"))

    @property
    def transactional(self) -> bool:
        """Whether it runs in a transaction; only such as `create index concurrently` cannot."""
        return self.header.get("transactional") != "false"

    def names_and_contents(self) -> list[tuple[str, bytes]]:
        """Return the file and its rollback file, as the lock file lists them."""
        rollback = [] if self.rollback_content is None else [(self.rollback_name, self.rollback_content)]
        return [(self.name, self.content), *rollback]


@dataclasses.dataclass(frozen=True)
class MigrationFolder:
    """The migrations of one service in their order, and what is wrong with the files."""

    service: str
    path: Path
    migrations: tuple[MigrationFile, ...]
    faults: tuple[Finding, ...]


def default_folder(service: str) -> Path:
    """Return the folder of a service's migrations that came with this code."""
    return Path(__file__).parents[2] / "migrations" / service


def read_folder(service: str, path: Path | None = None) -> MigrationFolder:
    """Read the migrations of a service; `path` is the folder, by default the one that came with this code."""
    path = path or default_folder(service)
    faults: list[Finding] = []

    def fault(code: str, subject: str, seen: str) -> None:
        faults.append(Finding(service=service, code=code, subject=subject, seen=seen))

    if not path.is_dir():
        fault("missing", str(path), f"There is no folder {path}.")
        return MigrationFolder(service, path, (), tuple(faults))
    contents = _contents(path, fault)
    migrations: list[MigrationFile] = []
    for name in sorted(contents):
        match = _NAME.fullmatch(name)
        if match is None or match["rollback"]:
            continue
        migration = MigrationFile(
            id=match["id"],
            ordinal=int(match["number"]),
            path=path / name,
            content=contents[name],
            header=_read_header(name, contents[name].decode(), fault),
            rollback_content=contents.get(f"{match['id']}.rollback.sql"),
        )
        _check(migration, migrations, fault)
        migrations.append(migration)
    known = {migration.id for migration in migrations}
    for name in contents:
        if name.endswith(".rollback.sql") and name.removesuffix(".rollback.sql") not in known:
            fault("stray_file", name, "It is a rollback file without its migration.")
    return MigrationFolder(service, path, tuple(migrations), tuple(faults))


def _contents(path: Path, fault: Fault) -> dict[str, bytes]:
    """Return what is in each migration file that can be read as one."""
    contents: dict[str, bytes] = {}
    for entry in sorted(path.iterdir()):
        if entry.name in {LOCK_FILE, SCHEMA_LOCK_FILE}:
            continue
        if entry.is_symlink() or not entry.is_file() or not _NAME.fullmatch(entry.name):
            fault("stray_file", entry.name, "It isn't a file named NNNN.slug.sql or NNNN.slug.rollback.sql.")
            continue
        content = entry.read_bytes()
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            fault("bad_encoding", entry.name, f"It isn't UTF-8: {error}.")
            continue
        if "\r" in text or "\0" in text or text.startswith("\ufeff"):
            fault("bad_encoding", entry.name, "It holds a carriage return, a NUL or a byte order mark.")
            continue
        contents[entry.name] = content
    return contents


def _read_header(name: str, text: str, fault: Fault) -> dict[str, str]:
    header: dict[str, str] = {}
    lines = text.split("\n")
    length = next((i for i, line in enumerate(lines) if not line.startswith("--")), len(lines))
    for line in lines[:length]:
        match = _HEADER_LINE.fullmatch(line)
        if match is None:
            continue  # a comment for people
        key, value = match["key"], match["value"]
        if key not in KEYS:
            fault("bad_header", name, f"`{key}` isn't a key of the header.")
        elif key in header:
            fault("bad_header", name, f"`{key}` is there twice.")
        elif not value:
            fault("bad_header", name, f"`{key}` has no value; write `none` if that is meant.")
        elif value not in _VALUES.get(key, {value}):
            fault("bad_header", name, f"`{key}: {value}` isn't one of {', '.join(sorted(_VALUES[key]))}.")
        header[key] = value
    if absent := [key for key in KEYS if key not in header]:
        fault("bad_header", name, f"These keys are missing: {', '.join(absent)}.")
    if match := _DIRECTIVE.search("\n".join(lines[length:])):
        fault("bad_header", name, f"`{match[1]}` stands below the header, where it has no effect.")
    return header


def _check(migration: MigrationFile, earlier: list[MigrationFile], fault: Fault) -> None:
    """Check what concerns a migration and those before it."""
    for twin in earlier:
        if twin.ordinal == migration.ordinal:
            fault("duplicate_number", migration.name, f"{twin.name} has the same number.")
    for id in migration.depends:
        match = _NAME.fullmatch(f"{id}.sql")
        if match is None or int(match["number"]) >= migration.ordinal:
            fault("bad_header", migration.name, f"`depends: {id}` doesn't name an earlier migration.")
    if migration.rollback_content is None:
        fault("rollback_missing", migration.rollback_name, f"{migration.name} has no rollback file beside it.")
    if not migration.transactional and len(split_statements(migration.sql)) != 1:
        fault("several_statements", migration.name, "It isn't transactional, and doesn't hold exactly one statement.")
    for name, content in migration.names_and_contents():
        for words in forbidden_statements(content.decode()):
            fault("forbidden_statement", name, f"It holds a statement `{words}`.")


def _ids(value: str) -> tuple[str, ...]:
    ids = tuple(value.replace(",", " ").split())
    return () if ids == ("none",) else ids
