"""Makes the lock file of a service's statements from a migrated database."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import psycopg

from shared.migrations.bootstrap import Connection
from shared.migrations.errors import CannotCompare
from shared.queries.describing import describe
from shared.queries.lock import LockedQuery, QueriesLock, digest, sources, texts_of


def lock_queries(
    service: str, connection: Connection, statements: Mapping[str, Mapping[str, str]], folder: Path | None = None
) -> QueriesLock:
    """Return the lock file of the statements that a service sends, given by file and name, in their order.

    The connection is in autocommit and on the migrated schema, as the service's own role or one with all its rights.
    `folder` has the files. Raises `CannotCompare` for a statement that this schema refuses.
    """
    texts = texts_of(folder or sources(service))
    queries = []
    for file, each in statements.items():
        for name, text in each.items():
            try:
                found = describe(connection, text)
            except psycopg.Error as error:
                raise CannotCompare(
                    f"services/{service}/{file} {name}: {str(error).strip()}.",
                    why="A statement that the migrated schema refuses fails wherever it is sent.",
                    remedy="mend the statement, or add the migration that it needs.",
                ) from error
            stands = texts.get(file, {}).get(name) == text
            queries.append(
                LockedQuery(
                    file=file,
                    name=name,
                    sha256=digest(text),
                    text=None if stands else text,
                    parameters=found.parameters,
                    columns=found.columns,
                )
            )
    return QueriesLock(service=service, queries=queries)
