"""PostgreSQL through asyncpg: named statements from a `queries.sql`, and connections that say who they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import asyncpg
from asyncpg.pool import Pool as _Pool
from asyncpg.pool import PoolConnectionProxy

Connection = asyncpg.Connection
Pool = _Pool
Session = Connection | PoolConnectionProxy
# All that a database which is away, restarting or refusing may raise. The third is what asyncpg says when a session was
# ended by the server between two statements.
DATABASE_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

_NAME: Final = re.compile(r"^-- name: ([a-z][a-z0-9_]*)$", re.MULTILINE)
_COMMENT: Final = re.compile(r"^\s*--.*\n?", re.MULTILINE)
_CONNECT_SECONDS: Final = 5.0
# A server process that hangs keeps its connection open and answers never: whoever waits gives it up and connects anew.
_COMMAND_SECONDS: Final = 30.0
# A session whose client has vanished ends within half a minute, and with it the locks that it holds. Nothing is probed
# while an answer waits for its receipt; that wait would be a quarter of an hour.
_KEEPALIVE: Final = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25000",
}


class UnusableDsn(asyncpg.InterfaceError):
    """The DSN cannot be taken apart. Nothing of it is shown: what was taken for a port may be half of a password."""

    def __init__(self) -> None:
        super().__init__(
            "the DSN is not postgresql://user:password@host:port/database; percent-encode / ? # in a password"
        )


def load_queries(file: Path) -> dict[str, str]:
    """Return a file's statements by name, without comments: a span would else be named by one instead of its verb.

    Each statement begins with a line `-- name: <name>`; one that is empty or named twice raises ValueError.
    """
    _, *parts = _NAME.split(file.read_text(encoding="utf-8"))
    statements: dict[str, str] = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        statement = _COMMENT.sub("", text).strip().removesuffix(";")
        if not statement or name in statements:
            raise ValueError(f"{file.name}: the statement {name} is {'given twice' if statement else 'empty'}")
        statements[name] = statement
    return statements


async def connect(dsn: str, application_name: str, parameters: Mapping[str, str] | None = None) -> Connection:
    """Open one connection; `parameters` are server parameters of its session. Raises one of `DATABASE_ERRORS`."""
    settings = _session(application_name, parameters)
    connection: Connection = await _open(
        dsn, timeout=_CONNECT_SECONDS, command_timeout=_COMMAND_SECONDS, server_settings=settings
    )
    return connection


def create_pool(dsn: str, application_name: str, *, max_size: int, parameters: Mapping[str, str] | None = None) -> Pool:
    """Make a pool to be used in `async with`; it connects when first asked, so the database may come later."""
    settings = _session(application_name, parameters)
    return asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=max_size,
        connect=_open,
        timeout=_CONNECT_SECONDS,
        command_timeout=_COMMAND_SECONDS,
        server_settings=settings,
    )


async def _open(*place: Any, **options: Any) -> Connection:
    try:
        return await asyncpg.connect(*place, **options)
    except asyncpg.InterfaceError:
        raise
    except (ValueError, OverflowError):
        raise UnusableDsn from None


def _session(application_name: str, parameters: Mapping[str, str] | None) -> dict[str, str]:
    return {"application_name": application_name, "timezone": "UTC", **_KEEPALIVE, **(parameters or {})}
