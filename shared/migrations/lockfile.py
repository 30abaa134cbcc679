"""`migrations.lock`: which migrations there are, and which bytes each has.

One line a file: name, SHA-256 of its bytes, a hash of what it means (its statements without comments and spacing, and the
header values that the tool acts on), and a chain hash over everything up to this line. Two branches that both
add a migration therefore conflict in version control, and a hand-edited line shows. Services read from here what they
were built for, so nothing in this module imports a driver.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from pathlib import Path
from typing import Final

from shared.migrations.files import LOCK_FILE, MigrationFolder, default_folder, digest_of_meaning
from shared.migrations.findings import Finding

# What a service asks its own database at start and for readiness, in the order of application.
APPLIED_MIGRATIONS_SQL: Final = "select id from public._migration_ledger where state = 'applied' order by ordinal"

_LINE: Final = re.compile(
    r"(?P<name>\S+\.sql) (?P<sha256>[0-9a-f]{64}) (?P<meaning>[0-9a-f]{64}) (?P<chain>[0-9a-f]{64})"
)


@dataclasses.dataclass(frozen=True)
class LockFile:
    """What a lock file says of each file; `broken` is the first line that doesn't follow from those above, if there is one."""

    hashes: dict[str, str]
    meanings: dict[str, str]
    broken: str | None

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the migrations in their order."""
        return tuple(name.removesuffix(".sql") for name in self.hashes if not name.endswith(".rollback.sql"))


def required_migrations(service: str) -> tuple[str, ...]:
    """Return the ids of the migrations that this release of a service was built for, in their order."""
    lock = read_lock(service, default_folder(service))
    return lock.ids if lock else ()


def read_lock(service: str, folder: Path) -> LockFile | None:
    """Read the lock file of a folder; None when there is none."""
    try:
        text = (folder / LOCK_FILE).read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return None
    lines = text.removesuffix("\n").split("\n") if text else []
    hashes: dict[str, str] = {}
    meanings: dict[str, str] = {}
    broken: str | None = None
    chain = _first_link(service)
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            broken = broken or line
            continue
        chain = _link(chain, match["name"], match["sha256"], match["meaning"])
        if match["chain"] != chain or match["name"] in hashes:
            broken = broken or line
        hashes[match["name"]], meanings[match["name"]] = match["sha256"], match["meaning"]
    return LockFile(hashes=hashes, meanings=meanings, broken=broken)


def render_lock(folder: MigrationFolder) -> str:
    """Return the lock file that belongs to a folder's migrations."""
    lines = []
    chain = _first_link(folder.service)
    for migration in folder.migrations:
        for name, content in migration.names_and_contents():
            sha256 = hashlib.sha256(content).hexdigest()
            meaning = digest_of_meaning(name, content)
            chain = _link(chain, name, sha256, meaning)
            lines.append(f"{name} {sha256} {meaning} {chain}\n")
    return "".join(lines)


def number_gaps(folder: MigrationFolder) -> list[Finding]:
    """Return a finding for each number that is left out: a new lock file must not hide a lost migration."""
    ordinals = {migration.ordinal for migration in folder.migrations}
    absent = sorted(set(range(1, max(ordinals, default=0) + 1)) - ordinals)
    return [
        Finding(
            service=folder.service, code="number_gap", subject=f"{number:04d}", seen="No migration has this number."
        )
        for number in absent
    ]


def _first_link(service: str) -> str:
    return hashlib.sha256(f"plystra migrations {service}".encode()).hexdigest()


def _link(previous: str, name: str, sha256: str, meaning: str) -> str:
    return hashlib.sha256(f"{previous} {name} {sha256} {meaning}".encode()).hexdigest()
