"""The folder of a local Plystra: its secrets, what is handed to people in `dev.env`, its logs, and who is using it.

dev.env        0600, for people and scripts: URLs, API keys, owner DSNs
secrets.json   0600, keys and passwords, so that a second `up` goes on with the same ones
logs/          one file a process, and that of the run before
lock           held while a `plystractl up` or `demo` uses the folder
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from shared.credentials import new_key
from shared.embedded.place import make_home
from shared.migrations.errors import UsageError
from shared.settings import Undisclosed

_ENV_HEAD: Final = "# Written by plystractl; PostgreSQL: "
_EMBEDDED: Final = "embedded"
_EXTERNAL: Final = "external"


def _new_password() -> str:
    return secrets.token_urlsafe(24)


def _new_key() -> str:
    return new_key().text


class Secrets(Undisclosed, frozen=True, kw_only=True):
    """Everything secret of a local Plystra; made once per home."""

    admin_key: str = msgspec.field(default_factory=_new_key)
    caller_key: str = msgspec.field(default_factory=_new_key)
    auditor_key: str = msgspec.field(default_factory=_new_key)
    relay_key: str = msgspec.field(default_factory=_new_key)
    authz_migrator_password: str = msgspec.field(default_factory=_new_password)
    authz_app_password: str = msgspec.field(default_factory=_new_password)
    audit_migrator_password: str = msgspec.field(default_factory=_new_password)
    audit_app_password: str = msgspec.field(default_factory=_new_password)


class Home:
    """A local Plystra's folder."""

    def __init__(self, folder: Path) -> None:
        """Prepare; nothing is touched yet."""
        self.folder = folder.absolute()
        self.env_file = self.folder / "dev.env"
        self.logs = self.folder / "logs"

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Hold the folder for this process; the lock goes with the process, however it ends."""
        make_home(self.folder)
        self.logs.mkdir(exist_ok=True)
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 100, 0).decode().strip()
            os.close(descriptor)
            raise UsageError(
                f"Another plystractl (process {holder}) is using {self.folder}.",
                why="Two of them would fight over one PostgreSQL and one pair of services.",
                remedy="stop it first (Ctrl-C, or SIGTERM to it), or name another folder with --home.",
            ) from error
        try:
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def secrets(self) -> Secrets:
        """Return the secrets of this home, making them at first."""
        file = self.folder / "secrets.json"
        try:
            return msgspec.json.decode(file.read_bytes(), type=Secrets)
        except FileNotFoundError:
            made = Secrets()
            write_private(file, msgspec.json.format(msgspec.json.encode(made)) + b"\n")
            return made
        except msgspec.MsgspecError as error:
            raise UsageError(
                f"{file} isn't readable: {error}.",
                why="It holds the keys and passwords of this home.",
                remedy=f"restore it, or delete {self.folder} to begin anew.",
            ) from error

    def write_env(self, variables: Mapping[str, str], *, embedded: bool) -> None:
        """Write dev.env as a whole, readable for the shell and for anything that reads NAME=value lines."""
        lines = [_ENV_HEAD + (_EMBEDDED if embedded else _EXTERNAL)]
        lines += [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
        write_private(self.env_file, ("\n".join(lines) + "\n").encode())

    def embedded_env(self) -> dict[str, str]:
        """Return what an earlier run with the embedded PostgreSQL wrote to dev.env; nothing if it was another kind."""
        try:
            head, *lines = self.env_file.read_text(encoding="utf-8").splitlines()
        except (FileNotFoundError, ValueError):
            return {}
        if head != _ENV_HEAD + _EMBEDDED:
            return {}
        return {name: "".join(shlex.split(value)) for name, _, value in (line.partition("=") for line in lines)}


def write_private(file: Path, content: bytes) -> None:
    """Write a file that only we may read, so that a reader finds either the old or the new one."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    unfinished.replace(file)
