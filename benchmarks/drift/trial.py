"""Tries a mutation on a copy of a database: what the check says of it, and whether its SQL undoes it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import psycopg
from psycopg import sql

from benchmarks.drift.mutation import Mutation, NoOp
from shared.catalogue.compare import differences, restore_script
from shared.catalogue.model import Catalogue, Difference
from shared.catalogue.schema_lock import read_schema_lock
from shared.catalogue.snapshot import snapshot
from shared.embedded.server import EmbeddedPostgres
from shared.migrations.bootstrap import SERVICES, Roles, create_database, create_roles
from shared.migrations.files import default_folder
from shared.migrations.runner import migrate_up

Connection = psycopg.Connection[tuple[Any, ...]]

_PASSWORD: Final = "for-the-trial-only"
_NUMBER: Final = itertools.count(1)
_FIXTURE: Final = Path(__file__).with_name("fixture.sql")
_PARTITIONS: Final = 2


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the check said, what it said once its SQL had run, and why that SQL failed, if it did."""

    reported: list[Difference]
    left: list[Difference]
    failure: str | None
    script: str

    def names(self, mutation: Mutation) -> bool:
        """Tell whether the mutation is named, at the right object and attribute, and nothing else if it is to be alone."""
        places = [(one.object, one.attribute) for one in self.reported]
        wanted = (mutation.object, mutation.attribute)
        return places == [wanted] if mutation.alone else wanted in places

    @property
    def restores(self) -> bool:
        """Whether the SQL undid it."""
        return self.failure is None and not self.left


class Laboratory:
    """A server with a template of each database to be tried on, and the catalogue that is expected of it."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        """Make roles and templates on a server that has none of them."""
        self.server = server
        self.expected: dict[str, Catalogue] = {}
        self._spare: dict[str, str] = {}
        with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
            connection.execute("set allow_in_place_tablespaces = on")
            connection.execute("create tablespace drift location ''")
            for service in SERVICES:
                create_roles(connection, service, migrator_password=_PASSWORD, app_password=_PASSWORD)
        for where in ("authz", "audit", "fixture"):
            self._make_template(where)

    def service_of(self, where: str) -> str:
        """Return whose roles a database belongs to."""
        return "authz" if where == "fixture" else where

    def dsn(self, database: str) -> str:
        """Return the superuser's DSN of a database."""
        return urlsplit(self.server.superuser_dsn)._replace(path=f"/{database}").geturl()

    def _make_template(self, where: str) -> None:
        service, name = self.service_of(where), f"drift_{where}"
        with psycopg.connect(self.server.superuser_dsn, autocommit=True) as connection:
            create_database(connection, service, name)
        if where != "fixture":
            migrate_up(service, self.server.dsn(Roles(service).migrator, _PASSWORD, name))
        with psycopg.connect(self.dsn(name), autocommit=True) as connection:
            if where == "audit":
                for number in range(_PARTITIONS):
                    connection.execute("select audit.ensure_partition(%s)", [number << 20])
            if where == "fixture":
                connection.execute(_FIXTURE.read_text(encoding="utf-8").encode())
            self.expected[where] = self._expectation(where, connection)

    def _expectation(self, where: str, connection: Connection) -> Catalogue:
        live = snapshot(connection, self.service_of(where))
        lock = None if where == "fixture" else read_schema_lock(default_folder(where))
        return live if lock is None or lock.postgres_major != live.postgres_major else lock.at(lock.ids)

    @contextlib.contextmanager
    def copy(self, where: str) -> Iterator[str]:
        """Give the name of a copy of a template, and drop it afterwards."""
        name = self._make_copy(where)
        try:
            yield name
        finally:
            self._drop_copy(name)

    def _make_copy(self, where: str) -> str:
        name = f"drift_{where}_{next(_NUMBER)}"
        with psycopg.connect(self.server.superuser_dsn, autocommit=True) as admin:
            create_database(admin, self.service_of(where), name, template=f"drift_{where}")
        return name

    def _drop_copy(self, name: str) -> None:
        with psycopg.connect(self.server.superuser_dsn, autocommit=True) as admin:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))

    def check(self, where: str, database: str) -> list[Difference]:
        """Return what the check says of a database, over a connection of its own."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            return differences(self.expected[where], snapshot(connection, self.service_of(where)))

    def run(self, database: str, script: str) -> None:
        """Run statements as the superuser, each on its own."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            connection.execute(script.encode())

    def undo(self, where: str, database: str) -> None:
        """Bring a database, and with it the roles of the cluster, back to what is expected."""
        self.run(database, restore_script(self.check(where, database)))

    def try_mutation(self, mutation: Mutation) -> Outcome:
        """Mutate a copy, check it, undo it by what the check gives, and check it again.

        Making a copy takes longer than all of that, so one that was brought back is used for the next mutation.
        """
        database = self._spare.pop(mutation.where, None) or self._make_copy(mutation.where)
        self.run(database, mutation.sql)
        reported = self.check(mutation.where, database)
        script = restore_script(reported)
        failure = None
        try:
            self.run(database, script)
        except psycopg.Error as error:
            failure = f"{error.diag.message_primary} ({error.diag.context or error.diag.statement_position})"
        outcome = Outcome(reported=reported, left=self.check(mutation.where, database), failure=failure, script=script)
        if outcome.restores:
            self._spare[mutation.where] = database
        else:
            self._drop_copy(database)
        return outcome

    def try_no_op(self, no_op: NoOp) -> list[Difference]:
        """Run something that leaves the schema what it was, and return what the check says nevertheless."""
        with self.copy(no_op.where) as database:
            with psycopg.connect(self.dsn(database), autocommit=True) as connection:
                for statement in no_op.sql.split(";\n"):
                    connection.execute(statement.encode())
            return self.check(no_op.where, database)
