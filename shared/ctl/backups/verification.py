"""Tells from its files alone whether a backup is whole: each way in which it isn't has a name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import msgspec

from shared.ctl.backups.faults import BackupFault, BadBackup
from shared.ctl.backups.manifest import (
    DUMP,
    FORMAT,
    MANIFEST,
    PRODUCT,
    TESTED,
    Head,
    Manifest,
    hash_file,
    render,
    seal,
)
from shared.ctl.backups.programs import begin, ended, find_program

_TABLE: Final = re.compile(r"^\d+; \d+ \d+ TABLE (\S+) (\S+) \S+$", re.MULTILINE)
_PARTITION: Final = re.compile(r"^\d+; \d+ \d+ TABLE ATTACH (\S+) (\S+) \S+$", re.MULTILINE)


def verify_backup(folder: Path, service: str | None = None, programs: Path | None = None) -> Manifest:
    """Return the manifest of a backup that is whole and of the service, if one is named; else raise `BadBackup`."""
    manifest = read_manifest(folder)
    faults = []
    if service is not None and manifest.service != service:
        seen = f"it is a backup of {manifest.service}, not of {service}"
        faults.append(BackupFault(code="other_service", subject=manifest.id, seen=seen))
    faults += _strangers(folder)
    faults += _of_dump(folder / DUMP, manifest) or _of_list(folder / DUMP, manifest, programs)
    if faults:
        raise BadBackup(faults)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Return a backup's manifest as it was written, or raise `BadBackup`."""
    file = folder / MANIFEST

    def bad(code: str, seen: str) -> BadBackup:
        return BadBackup([BackupFault(code=code, subject=str(file), seen=seen)])

    try:
        content = file.read_bytes()
    except OSError as error:
        raise bad("manifest_missing", f"it can't be read: {error.strerror}") from error
    try:
        head = msgspec.json.decode(content, type=Head)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise bad("manifest_unreadable", str(error)) from error
    if head.product != PRODUCT:
        raise bad("foreign_backup", f"its product is {head.product!r}, not {PRODUCT!r}")
    if head.format > FORMAT:
        raise bad("newer_format", f"its format is {head.format}; this release reads {FORMAT}")
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise bad("manifest_unreadable", str(error)) from error
    if seal(manifest).digest != manifest.digest:
        raise bad(
            "manifest_altered", f"its digest is {manifest.digest[:16]}…, of what it says {seal(manifest).digest[:16]}…"
        )
    if render(manifest) != content:
        raise bad("manifest_altered", "it says the same, and isn't written as it was")
    return manifest


def _strangers(folder: Path) -> list[BackupFault]:
    known = {MANIFEST, DUMP, TESTED}
    return [
        BackupFault(code="unexpected_file", subject=str(path), seen="no backup has a file of this name")
        for path in sorted(folder.iterdir())
        if path.name not in known
    ]


def _of_dump(file: Path, manifest: Manifest) -> list[BackupFault]:
    def fault(code: str, seen: str) -> list[BackupFault]:
        return [BackupFault(code=code, subject=str(file), seen=seen)]

    try:
        size = file.stat().st_size
        if size != manifest.dump.bytes:
            code = "dump_truncated" if size < manifest.dump.bytes else "dump_grown"
            return fault(code, f"it has {size} bytes, the manifest says {manifest.dump.bytes}")
        sha256 = hash_file(file)
    except OSError as error:
        return fault("dump_missing", f"it can't be read: {error.strerror}")
    if sha256 != manifest.dump.sha256:
        return fault("dump_altered", f"its SHA-256 is {sha256}, the manifest says {manifest.dump.sha256}")
    return []


def _of_list(file: Path, manifest: Manifest, programs: Path | None) -> list[BackupFault]:
    """Compare the table of contents of the dump with the manifest."""
    pg_restore = find_program("pg_restore", int(manifest.dumped_with.partition(".")[0]), programs)
    succeeded, listed, complaint = ended(begin(pg_restore, ["--list", str(file)]))
    if not succeeded:
        return [BackupFault(code="dump_unreadable", subject=str(file), seen=complaint)]
    dumped = {".".join(names) for names in _TABLE.findall(listed)}
    dumped -= {".".join(names) for names in _PARTITION.findall(listed)}
    told = {table.name for table in manifest.contents.tables}
    return [
        BackupFault(
            code="tables_differ",
            subject=name,
            seen="the dump has it, the manifest doesn't" if name in dumped else "the manifest has it, the dump doesn't",
        )
        for name in sorted(dumped ^ told)
    ]
