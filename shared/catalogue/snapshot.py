"""Reads a database's whole catalogue in one snapshot, in some thirty statements whatever its size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.pq import TransactionStatus

from shared.catalogue.expressions import EXPRESSIONS, even_out
from shared.catalogue.model import OF, Catalogue
from shared.catalogue.partitions import mark_made_by_data
from shared.db import load_queries

Connection = psycopg.Connection[Any]
Address = tuple[int, int, int]

_HERE: Final = Path(__file__).parent
CLUSTER: Final = load_queries(_HERE / "cluster.sql")
READERS: Final = {**load_queries(_HERE / "relations.sql"), **load_queries(_HERE / "objects.sql")}
_OF_SERVICE: Final = ("read_roles", "read_settings")
SUPERUSER: Final = "<first superuser>"

# Everything that changes how the server writes definitions and constants; names are qualified, since nothing is searched.
_SESSION: Final = {
    "search_path": "",
    "quote_all_identifiers": "off",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "extra_float_digits": "1",
    "lc_monetary": "C",
    "xmlbinary": "base64",
}


def snapshot(connection: Connection, service: str) -> Catalogue:
    """Return the catalogue of the database that the connection is on, but for what belongs to PostgreSQL itself.

    `service` says whose roles belong to it. Any role that may connect will do. It is one repeatable-read, read-only
    transaction, which takes no locks beyond those of reading the catalogue; the connection must not be within one.
    """
    if connection.info.transaction_status != TransactionStatus.IDLE:
        raise ValueError("a snapshot needs a connection that isn't within a transaction")
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read, read only")
        return _read_evenly(connection, service)


def snapshot_within(connection: Connection, service: str) -> Catalogue:
    """Return the catalogue as the transaction that the connection is within sees it, and leave that as it was.

    For whoever is about to commit a change of it, and so holds what keeps others from changing it meanwhile.
    """
    with connection.transaction(force_rollback=True):
        return _read_evenly(connection, service)


def _read_evenly(connection: Connection, service: str) -> Catalogue:
    for name, value in _SESSION.items():
        connection.execute("select set_config(%s, %s, true)", [name, value])
    return _read(connection, service)


def _read(connection: Connection, service: str) -> Catalogue:
    major, superuser, database_oid, database_class, extension_class = _rows(connection, CLUSTER["identify"])[0]
    roles = {role: f"{service}_{role}" for role in ("owner", "migrator", "app", "reader")}
    rows = [row for query in READERS.values() for row in _rows(connection, query)]
    rows += _rows(connection, CLUSTER["read_database"])
    for name in _OF_SERVICE:
        rows += _rows(connection, CLUSTER[name], roles)
    rows += _rows(connection, CLUSTER["read_default_privileges"])

    members = _rows(connection, CLUSTER["read_members"])
    hidden = {(class_, oid) for class_, oid, extension, _ in members if extension is None}
    objects: dict[str, dict[str, Any]] = {}
    by_address: dict[Address, dict[str, Any]] = {}
    for class_, oid, subid, key, of, owner, attributes in rows:
        if (class_, oid) in hidden:
            continue
        found = {name: _evened(name, value) for name, value in attributes.items() if value is not None}
        if owner is not None:
            found["owner"] = SUPERUSER if owner == superuser else owner
        if of is not None:
            found[OF] = of
        objects[key] = by_address[class_, oid, subid] = found
    for _, _, extension, name in members:
        if extension is not None and (found_ := by_address.get((extension_class, extension, 0))) is not None:
            found_.setdefault("added", {})[name] = "a member"
    _drop_parts_of_members(objects)
    for class_, oid, subid, grantee, privileges, is_all in _rows(connection, CLUSTER["read_privileges"]):
        if (found_ := by_address.get((class_, oid, subid))) is not None:
            name = SUPERUSER if grantee == superuser else grantee
            found_.setdefault("grants", {})[name] = "all" if is_all else privileges
    for class_, oid, subid, text in _rows(connection, CLUSTER["read_comments"]):
        if (found_ := by_address.get((class_, oid, subid))) is not None:
            found_["comment"] = text
    for class_, oid, subid, text in _rows(connection, CLUSTER["read_labels"]):
        if (found_ := by_address.get((class_, oid, subid))) is not None:
            found_["security_labels"] = sorted([*found_.get("security_labels", []), text])
    _even_out_adoption(objects, by_address[database_class, database_oid, 0], roles["owner"])
    mark_made_by_data(objects, service)
    return Catalogue(postgres_major=major, objects=dict(sorted(objects.items())))


def _drop_parts_of_members(objects: dict[str, dict[str, Any]]) -> None:
    """Leave out what is a part of something that belongs to an extension, as the constraints of its tables are."""
    while parts := [key for key, found in objects.items() if OF in found and found[OF] not in objects]:
        for key in parts:
            del objects[key]


def _even_out_adoption(objects: dict[str, dict[str, Any]], database: dict[str, Any], owner: str) -> None:
    """Take a database that couldn't change hands for what it stands for (see `bootstrap.adopt_database`).

    There the owner's role was granted by name what it has elsewhere by owning the database.
    """
    grants = database.get("grants", {})
    if database["owner"] != owner and grants.get(owner) == "all":
        theirs = {database["owner"], "public"}
        database["grants"] = {name: value for name, value in grants.items() if name not in theirs} | {owner: "all"}
        database["owner"] = owner
        objects.get("schema public", {}).get("grants", {}).pop(owner, None)


def _evened(name: str, value: Any) -> Any:
    return even_out(value) if name in EXPRESSIONS else value


def _rows(connection: Connection, query: str, parameters: Mapping[str, str] | None = None) -> list[tuple[Any, ...]]:
    with connection.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        rows: Iterable[tuple[Any, ...]] = cursor.execute(query.encode(), parameters)
        return list(rows)
