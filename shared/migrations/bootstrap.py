"""Makes the roles and the database of a service: what has to be there before its first migration.

Roles belong to the whole PostgreSQL cluster, so migrations only grant to them. Everything here may be repeated: it
creates what is missing and puts passwords, ownership and grants right. Nothing is ever dropped.

    <service>_owner     nologin   owns every object; nobody is it but through `set role`
    <service>_migrator  login     member of the owner: the "owner DSN" of plystractl
    <service>_app       login     what the service connects as; migrations say what it may do
    <service>_reader    nologin   granted to people who may look
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

SERVICES: Final[tuple[str, ...]] = ("authz", "audit")

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclasses.dataclass(frozen=True)
class Roles:
    """The names of a service's four roles."""

    service: str

    @property
    def owner(self) -> str:
        """Owns the database and all that is in it."""
        return f"{self.service}_owner"

    @property
    def migrator(self) -> str:
        """Logs in to migrate."""
        return f"{self.service}_migrator"

    @property
    def app(self) -> str:
        """Logs in to serve."""
        return f"{self.service}_app"

    @property
    def reader(self) -> str:
        """May look."""
        return f"{self.service}_reader"


def create_roles(connection: Connection, service: str, *, migrator_password: str | None, app_password: str) -> None:
    """Create or repair the four roles; the connection is a superuser's or of a role that may create roles.

    Without a password for it the migrator is left out: the connection's own user then takes its part.
    """
    roles = Roles(service)
    _create_role(connection, roles.owner)
    _create_role(connection, roles.reader)
    _create_role(connection, roles.app)
    set_password(connection, roles.app, app_password)
    if migrator_password is not None:
        _create_role(connection, roles.migrator)
        set_password(connection, roles.migrator, migrator_password)
        _grant_membership(connection, roles.owner, sql.Identifier(roles.migrator))
    else:
        _grant_membership(connection, roles.owner, sql.SQL("current_user"))


def create_database(connection: Connection, service: str, name: str, *, template: str | None = None) -> None:
    """Create the service's database if it isn't there, and let nobody but its roles connect.

    The connection is a superuser's, in autocommit. Grants on a database aren't copied from its template, so each clone
    comes through here too.
    """
    roles = Roles(service)
    if connection.execute("select 1 from pg_database where datname = %s", [name]).fetchone() is None:
        # template0 unless told otherwise: what somebody left in template1 is no part of us.
        command = "create database {} owner {} template {}"
        connection.execute(_compose(command, name, roles.owner, template or "template0"))
    connection.execute(_compose("alter database {} owner to {}", name, roles.owner))
    connection.execute(_compose("revoke all on database {} from public", name))
    connection.execute(_compose("grant connect on database {} to {}, {}", name, roles.app, roles.reader))


def adopt_database(connection: Connection, service: str) -> None:
    """Give the database that the connection is on to the service's owner, as far as the connection's role may.

    For a PostgreSQL of somebody else's making, where we have no superuser: `create_roles` came first.
    """
    roles = Roles(service)
    name = connection.info.dbname
    try:
        connection.execute(_compose("alter database {} owner to {}", name, roles.owner))
        connection.execute(_compose("revoke all on database {} from public", name))
    except psycopg.errors.InsufficientPrivilege:
        # Without CREATEDB a database can't change hands; the owner role needs no more than this.
        connection.execute(_compose("grant connect, create, temporary on database {} to {}", name, roles.owner))
        connection.execute(_compose("grant usage, create on schema public to {}", roles.owner))
    connection.execute(_compose("grant connect on database {} to {}, {}", name, roles.app, roles.reader))


def role_exists(connection: Connection, name: str) -> bool:
    """Tell whether the cluster has a role of that name."""
    return connection.execute("select 1 from pg_roles where rolname = %s", [name]).fetchone() is not None


def set_password(connection: Connection, role: str, password: str) -> None:
    """Let a role log in with this password; what is sent, and perhaps logged, is only its SCRAM verifier."""
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    command = sql.SQL("alter role {} login password {}").format(sql.Identifier(role), sql.Literal(verifier))
    connection.execute(command)


def _create_role(connection: Connection, name: str) -> None:
    if not role_exists(connection, name):
        connection.execute(_compose("create role {} nologin", name))


def _grant_membership(connection: Connection, role: str, member: sql.Composable) -> None:
    # A superuser is a member of everything already, and recording it would only outlive its need.
    if isinstance(member, sql.SQL) and _is_superuser(connection):
        return
    connection.execute(sql.SQL("grant {} to {}").format(sql.Identifier(role), member))


def _is_superuser(connection: Connection) -> bool:
    row = connection.execute("select rolsuper from pg_roles where rolname = current_user").fetchone()
    return bool(row and row[0])


def _compose(command: LiteralString, *identifiers: str) -> sql.Composed:
    return sql.SQL(command).format(*map(sql.Identifier, identifiers))
