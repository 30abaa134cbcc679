"""The manifest of a backup: what was dumped, told so that it can be compared after years, with a digest of itself."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

PRODUCT: Final = "plystra"
FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
DUMP: Final = "database.dump"
TESTED: Final = "restore-test.json"


class Migration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One migration that was applied, with the hash of its bytes."""

    id: str
    sha256: str


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rows of one table: how many, and a hash that doesn't depend on their order."""

    name: str
    rows: int
    content: str


class Dump(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file beside the manifest."""

    bytes: int
    sha256: str


class Producer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far the events of one writer reach, written, acknowledged or in the log; -1 is none."""

    source: str
    epoch: int
    last_sequence: int


class AuthzCheckpoint(msgspec.Struct, frozen=True, kw_only=True, tag="authz", forbid_unknown_fields=True):
    """How far authz was: its revision, per writer how far it had written, and how far audit had acknowledged that."""

    revision: int
    written: list[Producer]
    acknowledged: list[Producer]


class AuditCheckpoint(msgspec.Struct, frozen=True, kw_only=True, tag="audit", forbid_unknown_fields=True):
    """How far the log was: its size, the RFC 9162 tree hash over it, and per producer the last sequence it has."""

    size: int
    last_recorded_at: datetime | None
    tree_hash: str
    producers: list[Producer]


Checkpoint = AuthzCheckpoint | AuditCheckpoint
ServiceName = Literal["authz", "audit"]


class Contents(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a database holds, as of one snapshot."""

    migrations: list[Migration]
    tables: list[Table]
    checkpoint: Checkpoint

    @property
    def schema_version(self) -> str:
        """The id of the newest migration."""
        return self.migrations[-1].id if self.migrations else ""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that is told of a backup."""

    product: str = PRODUCT
    format: int = FORMAT
    id: str
    service: ServiceName
    created_at: datetime
    tool_version: str
    postgres_version: str
    dumped_with: str
    schema_version: str
    contents: Contents
    dump: Dump
    digest: str = ""


class Head(msgspec.Struct, frozen=True):
    """What is read first, of any format."""

    product: str = ""
    format: int = 0


def seal(manifest: Manifest) -> Manifest:
    """Return the manifest with the digest of all that it says."""
    bare = msgspec.structs.replace(manifest, digest="")
    return msgspec.structs.replace(bare, digest=hashlib.sha256(msgspec.json.encode(bare)).hexdigest())


def render(manifest: Manifest) -> bytes:
    """Write a manifest as the one text that stands for it."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
