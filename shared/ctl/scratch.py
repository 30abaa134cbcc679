"""A database for a moment, on a server that is ours or named, to replay migrations or to try a backup in."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from shared.embedded.errors import EmbeddedPostgresError
from shared.embedded.server import EmbeddedPostgres
from shared.migrations.bootstrap import Connection, Roles, create_database, create_roles, role_exists
from shared.migrations.errors import UsageError
from shared.migrations.ledger import connect

_PASSWORD: Final = "for-a-moment"  # noqa: S105 - of a server that is gone when the command ends


@contextlib.contextmanager
def scratch_server(dsn: str | None, *, why: str) -> Iterator[str]:
    """Give the DSN of a server: the one that is named, or the superuser's of an embedded one that ends with the block.

    `why` tells an operator what it is needed for, when it can't be had.
    """
    if dsn is not None:
        yield dsn
        return
    with tempfile.TemporaryDirectory(prefix="plystra-scratch-") as home:
        server = EmbeddedPostgres(Path(home), fast=True)
        try:
            server.start()
            yield server.superuser_dsn
        except EmbeddedPostgresError as error:
            raise UsageError(
                str(error),
                why=why,
                remedy="see above; or name a server and its superuser by --server.",
            ) from error
        finally:
            server.remove()


@contextlib.contextmanager
def scratch_database(server: str, service: str) -> Iterator[str]:
    """Give the DSN of an empty database of a service, and drop it afterwards, with the roles that had to be made."""
    name = f"plystra_scratch_{service}_{os.getpid()}"
    with connect(server, "scratch", read_only=False) as connection:
        made = _make_roles(connection, service)
        create_database(connection, service, name)
        try:
            yield psycopg.conninfo.make_conninfo(server, dbname=name)
        finally:
            connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
            for role in made:
                connection.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


def _make_roles(connection: Connection, service: str) -> list[str]:
    """Make the roles that are missing, all or none: those that are there keep their passwords."""
    roles = Roles(service)
    names = [roles.migrator, roles.app, roles.reader, roles.owner]
    there = [name for name in names if role_exists(connection, name)]
    if not there:
        create_roles(connection, service, migrator_password=_PASSWORD, app_password=_PASSWORD)
        return names
    if absent := [name for name in (roles.app, roles.reader, roles.owner) if name not in there]:
        raise UsageError(
            f"The server has the role {there[0]}, but not {', '.join(absent)}.",
            why="The expected catalogue names all of them.",
            remedy=f"make them, or name another server. plystractl up shows how: {roles.owner} and {roles.reader} don't log in.",
        )
    return []
