"""`migrations.lock`: which migrations there are, and which bytes each has.

One line a file: name, SHA-256 of its bytes, and a chain hash over everything up to this line. Two branches that both
add a migration therefore conflict in version control, and a hand-edited line shows. Services read from here what they
were built for, so nothing in this module imports a driver.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from pathlib import Path
from typing import Final

from shared.migrations.files import LOCK_FILE, MigrationFolder, default_folder
from shared.migrations.findings import Finding

# What a service asks its own database at start and for readiness, in the order of application.
APPLIED_MIGRATIONS_SQL: Final = "select id from public._migration_ledger where state = 'applied' order by ordinal"

_LINE: Final = re.compile(r"(?P<name>\S+\.sql) (?P<sha256>[0-9a-f]{64}) (?P<chain>[0-9a-f]{64})")


@dataclasses.dataclass(frozen=True)
class LockFile:
    """What a lock file says; `broken` is the first line that doesn't follow from the ones above, if there is one."""

    hashes: dict[str, str]
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
        lines = (folder / LOCK_FILE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return None
    hashes: dict[str, str] = {}
    broken: str | None = None
    chain = _first_link(service)
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            broken = broken or line
            continue
        chain = _link(chain, match["name"], match["sha256"])
        if match["chain"] != chain or match["name"] in hashes:
            broken = broken or line
        hashes[match["name"]] = match["sha256"]
    return LockFile(hashes=hashes, broken=broken)


def render_lock(folder: MigrationFolder) -> str:
    """Return the lock file that belongs to a folder's migrations."""
    lines = []
    chain = _first_link(folder.service)
    for migration in folder.migrations:
        for name, content in migration.names_and_contents():
            sha256 = hashlib.sha256(content).hexdigest()
            chain = _link(chain, name, sha256)
            lines.append(f"{name} {sha256} {chain}\n")
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


def _link(previous: str, name: str, sha256: str) -> str:
    return hashlib.sha256(f"{previous} {name} {sha256}".encode()).hexdigest()
