"""Where an embedded server keeps its data: in its home if the server's account gets there, else in a place of its own.

What was chosen is recorded in `home/postgres.json`, so the next start continues there. A place outside of the home gets
a fresh random name from `mkdtemp`, so nobody can have prepared it; a recorded one is trusted while it belongs to us.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from shared.embedded.binaries import reachable
from shared.embedded.errors import EmbeddedPostgresError
from shared.process import Account

RECORD: Final = "postgres.json"
_ELSEWHERE: Final = (Path("/var/lib"), Path("/var/tmp"))  # noqa: S108 - mkdtemp below takes no name from others
_SOCKET_PATH_LIMIT: Final = 100  # sun_path holds 108 bytes (unix(7)), less the terminator and a margin


class Place(msgspec.Struct, kw_only=True):
    """The folder of one server's data, and what its next start has to know."""

    folder: str
    port: int | None = None

    @property
    def root(self) -> Path:
        """Ours; the account may only pass through."""
        return Path(self.folder)

    @property
    def data(self) -> Path:
        """The data folder (PGDATA), the account's own."""
        return self.root / "data"

    @property
    def socket(self) -> Path | None:
        """The folder of the unix socket, or None where the path would be longer than a socket's may be."""
        folder = self.root / "socket"
        return folder if len(os.fsencode(folder / ".s.PGSQL.65535")) <= _SOCKET_PATH_LIMIT else None


def make_home(home: Path) -> None:
    """Make the home folder if it isn't there, closed to others but for passing through when we are root."""
    if not home.exists():
        home.mkdir(parents=True)
        home.chmod(_passable())


def open_place(home: Path, account: Account | None) -> Place:
    """Return the recorded place of this home, or make one."""
    place = _read(home / RECORD) or Place(folder=str(_make_root(home, account)))
    _require_ours(place.root, os.geteuid(), 0o022)
    save_place(home, place)
    if place.socket is not None:
        make_private(place.socket, account)
    if place.data.exists():
        _require_ours(place.data, account.uid if account else os.geteuid(), 0o077)
    return place


def save_place(home: Path, place: Place) -> None:
    """Write the record so that a reader finds either the old or the new one."""
    unfinished = home / f".{RECORD}.{os.getpid()}"
    unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(place)) + b"\n")
    unfinished.replace(home / RECORD)


def remove_place(home: Path) -> None:
    """Delete the data of this home, wherever it lies."""
    place = _read(home / RECORD)
    if place is not None and place.root.is_dir():
        _require_ours(place.root, os.geteuid(), 0o022)
        shutil.rmtree(place.root)
    (home / RECORD).unlink(missing_ok=True)


def make_private(folder: Path, account: Account | None) -> None:
    """Make a folder that only the account may enter (we too, when we are root); one that is there must be like that."""
    if not folder.exists():
        folder.mkdir(mode=0o700)
        if account is not None:
            os.chown(folder, account.uid, account.gid)
    _require_ours(folder, account.uid if account else os.geteuid(), 0o077)


def _read(record: Path) -> Place | None:
    try:
        content = record.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(content, type=Place)
    except msgspec.DecodeError as error:
        raise EmbeddedPostgresError(
            f"{record} isn't readable ({error}), so it is unknown where the data lies. Restore it, or delete the whole "
            f"folder {record.parent} to begin anew."
        ) from error


def _make_root(home: Path, account: Account | None) -> Path:
    if account is None or reachable(account, {home: os.X_OK}):
        inside = home / "postgres"
        if not inside.exists():
            inside.mkdir()
            inside.chmod(_passable())
        return inside
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:8]
    # /var/lib first: what lies in /var/tmp may be tidied away after some weeks, and this is data.
    for parent in _ELSEWHERE:
        if os.access(parent, os.W_OK) and reachable(account, {parent: os.X_OK}):
            root = Path(tempfile.mkdtemp(prefix=f"plystra-{digest}-", dir=parent))
            root.chmod(_passable())
            return root
    raise EmbeddedPostgresError(
        f"PostgreSQL runs as {account.name}, who can enter neither {home} nor {' nor '.join(map(str, _ELSEWHERE))}. "
        "Name another home with --home, or an external PostgreSQL by PLYSTRA_AUTHZ_DSN and PLYSTRA_AUDIT_DSN."
    )


def _require_ours(folder: Path, uid: int, forbidden: int) -> None:
    status = folder.lstat() if folder.is_symlink() or folder.exists() else None
    if status is None:
        raise EmbeddedPostgresError(
            f"The data of this home should lie in {folder}, but that is gone. Restore it, or delete the home folder "
            f"(it holds {RECORD}) to begin anew."
        )
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != uid or status.st_mode & forbidden:
        raise EmbeddedPostgresError(
            f"{folder} isn't to be trusted with data: it must be a folder of uid {uid} that others can't write, but is "
            f"{stat.filemode(status.st_mode)} of uid {status.st_uid}. Run as the user who made it, or name another "
            "home with --home."
        )


def _passable() -> int:
    return 0o711 if os.geteuid() == 0 else 0o700
