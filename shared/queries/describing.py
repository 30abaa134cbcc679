"""Lets a server prepare a statement and say what it takes and gives; what it refuses is an error of psycopg.

Rights are looked at when a plan is begun, so the plan of each is shown too, which begins it and goes no further. Of one
that has no plan, such as `set constraints`, there are no rights to look at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from shared.db import load_queries
from shared.migrations.bootstrap import Connection
from shared.queries.lock import Column, Description

_QUERIES: Final = load_queries(Path(__file__).with_name("describe.sql"))
_NAME: Final = "plystra_query"
_PLANNED: Final = ("select", "insert", "update", "delete", "with", "merge", "values")


def describe(connection: Connection, statement: str) -> Description:
    """Prepare a statement within a transaction that is rolled back, and return what it takes and gives.

    The connection is in autocommit. Raises `psycopg.Error` for whatever the server has against it.
    """
    try:
        with connection.transaction(force_rollback=True):
            _demand(connection, connection.pgconn.prepare(_NAME.encode(), statement.encode()))
            found = _demand(connection, connection.pgconn.describe_prepared(_NAME.encode()))
            parameters = [found.param_type(n) for n in range(found.nparams)]
            if statement.lower().startswith(_PLANNED):
                _begin_plan(connection, len(parameters))
            types = _types(connection, parameters, [-1] * len(parameters))
            return Description(parameters=types, columns=_columns(connection, found))
    finally:
        if not connection.closed:
            connection.execute("deallocate all")  # which no rollback does


def _begin_plan(connection: Connection, parameters: int) -> None:
    """Let the server show the plan for parameters that are null, as every version can; a generic plan folds none of them."""
    connection.execute("set local plan_cache_mode = force_generic_plan")
    nulls = sql.SQL("({})").format(sql.SQL(", ").join([sql.NULL] * parameters)) if parameters else sql.SQL("")
    connection.execute(sql.SQL("explain execute {}{}").format(sql.Identifier(_NAME), nulls))


def _columns(connection: Connection, found: PGresult) -> list[Column]:
    count = range(found.nfields)
    types = _types(connection, [found.ftype(n) for n in count], [found.fmod(n) for n in count])
    given = {"tables": [found.ftable(n) for n in count], "numbers": [found.ftablecol(n) for n in count]}
    origins = connection.execute(_QUERIES["name_origins"].encode(), given).fetchall()
    return [
        Column(name=(found.fname(n) or b"").decode(), type=types[n], origin=origins[n][0], not_null=bool(origins[n][1]))
        for n in count
    ]


def _types(connection: Connection, oids: list[int], modifiers: list[int]) -> list[str]:
    rows = connection.execute(_QUERIES["name_types"].encode(), {"oids": oids, "modifiers": modifiers}).fetchall()
    return [str(name) for (name,) in rows]


def _demand(connection: Connection, result: PGresult) -> PGresult:
    if result.status != ExecStatus.COMMAND_OK:
        raise psycopg.errors.error_from_result(result, encoding=connection.info.encoding)
    return result
