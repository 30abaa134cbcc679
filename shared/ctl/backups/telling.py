"""What `plystractl backup` tells a machine, and in how few words it tells people of a backup."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from shared.ctl.backups.contents import tell
from shared.ctl.backups.manifest import Manifest
from shared.ctl.backups.rehearsal import Check
from shared.ctl.backups.restoring import Restored
from shared.ctl.reports import Report
from shared.migrations.errors import ExitCode


class BackupCreated(Report, frozen=True, kw_only=True, tag="plystractl.backup.create/1"):
    """The folders that were made."""

    exit_code: int
    backups: list[BackupTold]


class BackupTold(msgspec.Struct, frozen=True, kw_only=True):
    """One backup, in short."""

    id: str
    path: str
    service: str
    created_at: datetime
    schema_version: str
    rows: int
    dump_bytes: int
    dump_sha256: str


class BackupVerified(Report, frozen=True, kw_only=True, tag="plystractl.backup.verify/1"):
    """What is wrong with a backup's files."""

    exit_code: int
    backup: BackupTold | None
    findings: list[dict[str, str]]


class BackupRestored(Report, frozen=True, kw_only=True, tag="plystractl.backup.restore/1"):
    """What a restore did."""

    exit_code: int
    backup: BackupTold | None
    kept_as: str | None
    losses: list[str]
    loss_event_id: str | None
    made_roles: list[str]
    witness: str | None
    closed: bool
    findings: list[dict[str, str]]


class CheckTold(msgspec.Struct, frozen=True, kw_only=True):
    """One check of a rehearsal."""

    name: str
    result: Literal["proved", "failed", "skipped"]
    findings: list[dict[str, str]]
    skipped: str | None


class BackupTested(Report, frozen=True, kw_only=True, tag="plystractl.backup.restore-test/1"):
    """What a rehearsal proved."""

    exit_code: int
    backup: BackupTold | None
    checks: list[CheckTold]


def describe_backup(path: Path, manifest: Manifest) -> BackupTold:
    """Return a backup in short."""
    return BackupTold(
        id=manifest.id,
        path=str(path),
        service=manifest.service,
        created_at=manifest.created_at,
        schema_version=manifest.schema_version,
        rows=sum(table.rows for table in manifest.contents.tables),
        dump_bytes=manifest.dump.bytes,
        dump_sha256=manifest.dump.sha256,
    )


def in_short(manifest: Manifest) -> str:
    """Say in one line what a backup holds."""
    contents = manifest.contents
    rows = sum(table.rows for table in contents.tables)
    return f"{tell(contents.checkpoint)}; {rows} rows in {len(contents.tables)} tables, {manifest.dump.bytes} bytes"


def nothing_restored(findings: list[dict[str, str]]) -> BackupRestored:
    """Return the report of a restore that was refused because of the backup."""
    return BackupRestored(
        exit_code=1,
        backup=None,
        kept_as=None,
        losses=[],
        loss_event_id=None,
        made_roles=[],
        witness=None,
        closed=False,
        findings=findings,
    )


def describe_restored(path: Path, restored: Restored, exit_code: ExitCode) -> BackupRestored:
    """Return the report of a restore."""
    return BackupRestored(
        exit_code=int(exit_code),
        backup=describe_backup(path, restored.manifest),
        kept_as=restored.kept_as,
        losses=[loss.seen for loss in restored.losses],
        loss_event_id=restored.loss_event_id,
        made_roles=restored.made_roles,
        witness=restored.witness,
        closed=restored.closed,
        findings=[finding.describe() for finding in restored.migration_findings],
    )


def result_of(check: Check) -> Literal["proved", "failed", "skipped"]:
    """Return what came of a check."""
    if check.skipped is not None:
        return "skipped"
    return "failed" if check.faults else "proved"
