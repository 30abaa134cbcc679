"""The folder that an operator keeps backups in: where it is, and which of its backups is the newest."""

from __future__ import annotations

from pathlib import Path

from shared.ctl.backups.faults import BadBackup
from shared.ctl.backups.manifest import DUMP, MANIFEST, Manifest
from shared.ctl.backups.verification import read_manifest
from shared.ctl.configuration import load_operator_settings


def backup_folder(named: Path | None) -> Path | None:
    """Return the folder that was named, or else the one of PLYSTRA_BACKUP_DIR; None without either."""
    configured = load_operator_settings().backup_dir
    return named or (Path(configured) if configured else None)


def newest_backup(folder: Path, service: str) -> Manifest | None:
    """Return the manifest of a service's newest backup.

    What `backup verify` would refuse for its manifest, its service or the size of its dump is none; the dump isn't read.
    """
    found = (_read(file.parent, service) for file in folder.glob(f"{service}-*/{MANIFEST}"))
    return max(filter(None, found), key=lambda manifest: manifest.created_at, default=None)


def _read(backup: Path, service: str) -> Manifest | None:
    try:
        manifest = read_manifest(backup)
        size = (backup / DUMP).stat().st_size
    except (BadBackup, OSError):
        return None
    return manifest if manifest.service == service and size == manifest.dump.bytes else None
