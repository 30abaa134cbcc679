"""The PostgreSQL under a local Plystra: embedded, or somebody else's named by the owner DSNs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, urlsplit

import psycopg

from shared.ctl.home import Home, Secrets
from shared.embedded.errors import EmbeddedPostgresError
from shared.embedded.server import EmbeddedPostgres
from shared.migrations.bootstrap import (
    SERVICES,
    Connection,
    Roles,
    adopt_database,
    create_database,
    create_roles,
    role_exists,
)
from shared.migrations.errors import Unreachable, UsageError
from shared.migrations.ledger import connect, describe
from shared.settings import OperatorSettings

DATABASES: Final = {"authz": "plystra_authz", "audit": "plystra_audit"}


@dataclasses.dataclass(frozen=True)
class Databases:
    """Where each service's database is; `server` is the embedded PostgreSQL, if it is ours."""

    owner: dict[str, str]
    app: dict[str, str]
    server: EmbeddedPostgres | None


@contextlib.contextmanager
def opened(home: Home, settings: OperatorSettings) -> Iterator[Databases]:
    """Give both databases with their roles; an embedded PostgreSQL is started, and stopped at the end."""
    given = {"authz": settings.authz_dsn, "audit": settings.audit_dsn}
    ours = home.embedded_env()
    if all(given[service] == ours.get(f"PLYSTRA_{service.upper()}_DSN") for service in SERVICES) or not any(
        given.values()
    ):
        # Unset, or set to what we wrote: somebody sourced dev.env.
        with _embedded(home) as databases:
            yield databases
        return
    owner = {service: dsn for service, dsn in given.items() if dsn is not None}
    if absent := [service for service in SERVICES if service not in owner]:
        raise UsageError(
            f"PLYSTRA_{absent[0].upper()}_DSN isn't set, while the other service's owner DSN is.",
            why="Either both databases are yours, or both are ours.",
            remedy="set both PLYSTRA_AUTHZ_DSN and PLYSTRA_AUDIT_DSN, or neither.",
        )
    app = {"authz": settings.authz_app_dsn, "audit": settings.audit_app_dsn}
    secrets = home.secrets()
    adopted = {service: _adopt(service, owner[service], app[service], secrets) for service in SERVICES}
    yield Databases(owner=owner, app=adopted, server=None)


@contextlib.contextmanager
def _embedded(home: Home) -> Iterator[Databases]:
    server = EmbeddedPostgres(home.folder)
    try:
        _start(server)
        secrets = home.secrets()
        owner, app = {}, {}
        with connect(server.superuser_dsn, "up", read_only=False) as connection:
            for service in SERVICES:
                passwords = (_password(secrets, service, "migrator"), _password(secrets, service, "app"))
                create_roles(connection, service, migrator_password=passwords[0], app_password=passwords[1])
                create_database(connection, service, DATABASES[service])
                owner[service] = server.dsn(Roles(service).migrator, passwords[0], DATABASES[service])
                app[service] = server.dsn(Roles(service).app, passwords[1], DATABASES[service])
        yield Databases(owner=owner, app=app, server=server)
    finally:
        server.stop()


def _start(server: EmbeddedPostgres) -> None:
    try:
        server.start()
    except EmbeddedPostgresError as error:
        raise UsageError(
            str(error),
            why="Plystra keeps everything in PostgreSQL.",
            remedy="see above; or name a PostgreSQL of your own by PLYSTRA_AUTHZ_DSN and PLYSTRA_AUDIT_DSN.",
        ) from error


def _adopt(service: str, owner_dsn: str, app_dsn: str | None, secrets: Secrets) -> str:
    """Make the roles on somebody else's PostgreSQL, as far as they are missing, and return the service's own DSN."""
    roles = Roles(service)
    derived = app_dsn or _with_user(owner_dsn, roles.app, _password(secrets, service, "app"))
    with connect(owner_dsn, "up", read_only=False) as connection:
        if _is_prepared(connection, roles):
            _require_login(service, derived)
            return derived
        if app_dsn is None and role_exists(connection, roles.app):
            _require_login(service, derived)  # its password isn't ours to change
        try:
            create_roles(connection, service, migrator_password=None, app_password=_password_in(derived))
            adopt_database(connection, service)
        except psycopg.errors.InsufficientPrivilege as error:
            user, database = connection.info.user, connection.info.dbname
            raise UsageError(
                f"{describe(owner_dsn)} may not make the roles of {service}: {str(error).strip()}.",
                why=f"{service} connects as {roles.app}, which may do little, and its objects belong to {roles.owner}.",
                remedy=(
                    "have somebody who may do it run:\n"
                    f"    create role {roles.owner} nologin; create role {roles.reader} nologin;\n"
                    f"    create role {roles.app} login password '…'; grant {roles.owner} to {user};\n"
                    f"    alter database {database} owner to {roles.owner};\n"
                    f"  then set PLYSTRA_{service.upper()}_APP_DSN to the DSN of {roles.app}."
                ),
            ) from error
    return derived


def _require_login(service: str, dsn: str) -> None:
    """Raise unless the service's own role can log in so."""
    try:
        connect(dsn, "up", read_only=True).close()
    except Unreachable as error:
        raise UsageError(
            f"The role of {service} is there, but doesn't get in: {error.found}",
            why="Its password is somebody's choice; changing it could cut off a running service.",
            remedy=f"set PLYSTRA_{service.upper()}_APP_DSN to the DSN that {service} is to connect with.",
        ) from error


def _is_prepared(connection: Connection, roles: Roles) -> bool:
    if not all(role_exists(connection, name) for name in (roles.owner, roles.app, roles.reader)):
        return False
    row = connection.execute("select pg_has_role(%s, 'member')", [roles.owner]).fetchone()
    return bool(row and row[0])


def _with_user(dsn: str, user: str, password: str) -> str:
    parts = urlsplit(dsn)
    if parts.scheme not in {"postgresql", "postgres"} or not parts.netloc:
        raise UsageError(
            f"The DSN of {describe(dsn)} isn't a URL, so the service's own can't be derived from it.",
            why="Services connect as a role of their own, which may do little.",
            remedy="write it as postgresql://user:password@host:port/database, or set the …_APP_DSN too.",
        )
    place = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{place}").geturl()


def _password_in(dsn: str) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(dsn).get("password") or "")


def _password(secrets: Secrets, service: str, role: str) -> str:
    value: str = getattr(secrets, f"{service}_{role}_password")
    return value
