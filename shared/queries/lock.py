"""`queries.lock.json`: what each statement of a service takes and gives on the schema that it was written for."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec

from shared.db import load_queries

QUERIES_LOCK_FILE: Final = "queries.lock.json"
_SOURCES: Final = Path(__file__).parents[2] / "services"


class Column(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column of a statement's rows; `origin` is the column of a table that it shows, if it shows one.

    `not_null` says that the origin holds no null; whether the row may (an outer join) can't be told from outside.
    """

    name: str
    type: str
    origin: str | None = None
    not_null: bool = False


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What a server says of a statement that it has prepared."""

    parameters: list[str]
    columns: list[Column]


class LockedQuery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One statement; `text` is given for one that is made for a noun, all others stand in their file.

    `sha256` is that of the text as it is sent: without comments.
    """

    file: str
    name: str
    sha256: str
    text: str | None = None
    parameters: list[str]
    columns: list[Column]

    @property
    def template(self) -> str:
        """The name that it has in its file."""
        return self.name.partition(" ")[0]


class QueriesLock(msgspec.Struct, frozen=True, kw_only=True):
    """Every statement of a service, in the order of files and names as the service gives them."""

    service: str
    queries: list[LockedQuery]


def sources(service: str) -> Path:
    """Return the folder with a service's code, its SQL files and its lock file, in a repository and in a wheel."""
    return _SOURCES / service


def read_lock(folder: Path) -> QueriesLock | None:
    """Read a lock file; None when there is none, `msgspec.DecodeError` when it isn't one."""
    try:
        content = (folder / QUERIES_LOCK_FILE).read_bytes()
    except FileNotFoundError:
        return None
    return msgspec.json.decode(content, type=QueriesLock)


def render_lock(lock: QueriesLock) -> bytes:
    """Return a lock file's bytes, one statement a line, so that a difference reads as one."""
    lines = b",\n".join(b"    " + msgspec.json.format(msgspec.json.encode(query), indent=0) for query in lock.queries)
    return b'{\n  "service": "%s",\n  "queries": [\n%s\n  ]\n}\n' % (lock.service.encode(), lines)


def texts_of(folder: Path) -> dict[str, dict[str, str]]:
    """Return the statements of a folder's SQL files, by file and name."""
    return {file.name: load_queries(file) for file in sorted(folder.glob("*.sql"))}


def digest(text: str) -> str:
    """Return the hash that a lock file has for a statement."""
    return hashlib.sha256(text.encode()).hexdigest()
