"""The backups of a folder, as far as an upgrade asks: what the newest manifest of a service says."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec


class BackupMigration(msgspec.Struct, frozen=True):
    """A migration that was applied when the backup was taken."""

    id: str


class BackupTable(msgspec.Struct, frozen=True):
    """A table of the backup and how many rows it has."""

    name: str
    rows: int


class BackupContents(msgspec.Struct, frozen=True):
    """What a backup says that it holds."""

    migrations: list[BackupMigration]
    tables: list[BackupTable]


class Backup(msgspec.Struct, frozen=True):
    """The part of a manifest that is looked at; all other members are ignored."""

    service: str
    created_at: datetime
    contents: BackupContents


def newest_backup(folder: Path, service: str) -> Backup | None:
    """Return the newest backup of a service; manifests that can't be read are none."""
    found = []
    for file in folder.glob(f"{service}-*/manifest.json"):
        try:
            backup = msgspec.json.decode(file.read_bytes(), type=Backup)
        except (msgspec.MsgspecError, OSError):
            continue
        if backup.service == service:
            found.append(backup)
    return max(found, key=lambda backup: backup.created_at, default=None)
