"""Backups as far as their manifests go: whole by everything that is looked at without a database."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

from shared.ctl.backups.manifest import (
    DUMP,
    MANIFEST,
    AuditCheckpoint,
    AuthzCheckpoint,
    Contents,
    Dump,
    Manifest,
    ServiceName,
    Table,
    hash_file,
    render,
    seal,
)

_CHECKPOINTS: Final = {
    "authz": AuthzCheckpoint(revision=0, written=[], acknowledged=[]),
    "audit": AuditCheckpoint(size=0, last_recorded_at=None, tree_hash="", producers=[]),
}


def leave_backup(folder: Path, service: ServiceName, created_at: datetime, **rows: int) -> Path:
    """Leave a backup with an empty dump; `rows` are what its manifest says of tables of the service."""
    id = f"{service}-{created_at:%Y%m%dT%H%M%SZ}"
    (folder / id).mkdir(parents=True)
    (folder / id / DUMP).touch()
    tables = [Table(name=f"{service}.{name}", rows=count, content="") for name, count in rows.items()]
    manifest = Manifest(
        id=id,
        service=service,
        created_at=created_at,
        tool_version="0",
        postgres_version="18",
        dumped_with="18",
        schema_version="",
        contents=Contents(migrations=[], tables=tables, checkpoint=_CHECKPOINTS[service]),
        dump=Dump(bytes=0, sha256=hash_file(folder / id / DUMP)),
    )
    (folder / id / MANIFEST).write_bytes(render(seal(manifest)))
    return folder / id
