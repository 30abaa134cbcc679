"""API keys in the services' databases: the permission keys of each kind, and storing, listing and revoking them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Self

import psycopg
from psycopg import sql

from shared.credentials import PERMISSION_KEYS, hash_secret, parse_key
from shared.ctl.home import Secrets
from shared.db import load_queries
from shared.migrations.bootstrap import Roles
from shared.migrations.errors import CannotCompare, UsageError
from shared.migrations.ledger import connect

_QUERIES: Final = load_queries(Path(__file__).with_name("queries.sql"))


@dataclasses.dataclass(frozen=True)
class NamedKey:
    """A key as it is given out, and what it is for."""

    name: str
    text: str
    permission_keys: tuple[str, ...]


def local_keys(service: str, secrets: Secrets) -> list[NamedKey]:
    """Return the keys that a local Plystra has on one service."""
    keys = [NamedKey("local admin", secrets.admin_key, tuple(PERMISSION_KEYS))]
    if service == "authz":
        allowed = ("authz:check", "authz:check_inline", "authz:explain")
        keys.append(NamedKey("local caller", secrets.caller_key, allowed))
    else:
        keys.append(NamedKey("local auditor", secrets.auditor_key, ("audit:read",)))
        keys.append(NamedKey("relay of authz", secrets.relay_key, ("audit:write",)))
    return keys


def store_keys(service: str, dsn: str, keys: Iterable[NamedKey]) -> None:
    """Put keys into a service's table, or put right what is there; only hashes are stored."""
    rows = []
    for key in keys:
        if (parsed := parse_key(key.text)) is None:
            raise UsageError(
                f"The key {key.name} hasn't the form ply_<id>.<secret>.",
                why="No service would accept it.",
                remedy="make one: plystractl credential create",
            )
        rows.append(
            {
                "credential_id": parsed[0],
                "name": key.name,
                "secret_hash": hash_secret(parsed[1]),
                "permission_keys": list(key.permission_keys),
            }
        )
    with _Table(service, dsn) as table:
        for row in rows:
            table.execute("store_credential", row)


def list_keys(service: str, dsn: str) -> list[dict[str, Any]]:
    """Return what is stored of each key of a service, without the hash."""
    with _Table(service, dsn) as table:
        names = ("credential_id", "name", "permission_keys", "status", "created_at", "expires_at", "revoked_at")
        return [dict(zip(names, row, strict=True)) for row in table.execute("list_credentials")]


def revoke_keys(service: str, dsn: str, which: str) -> list[str]:
    """Revoke the active keys of that id or name, and return their ids."""
    with _Table(service, dsn) as table:
        return [str(row[0]) for row in table.execute("revoke_credentials", {"which": which})]


class _Table:
    """A service's credential table, opened as its owner."""

    def __init__(self, service: str, dsn: str) -> None:
        self._service = service
        self._connection = connect(dsn, "credential", read_only=False)

    def __enter__(self) -> Self:
        owner = sql.Identifier(Roles(self._service).owner)
        self._connection.execute(sql.SQL("set role {}").format(owner))
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def execute(self, name: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        composed = sql.SQL(_QUERIES[name]).format(table=sql.Identifier(self._service, "credential"))
        try:
            cursor = self._connection.execute(composed, parameters)
        except psycopg.errors.UndefinedTable as error:
            raise CannotCompare(
                f"The database of {self._service} has no table {self._service}.credential.",
                why="It isn't migrated, or not far enough.",
                remedy=f"plystractl migrate up --service {self._service}",
            ) from error
        return cursor.fetchall() if cursor.description else []
