"""Puts a dump into an empty database, and compares what came out of it with the manifest."""

from __future__ import annotations

from pathlib import Path

import psycopg
from psycopg import sql

from shared.ctl.backups.contents import Progress, begin_reading, differences, read_contents
from shared.ctl.backups.faults import BackupFault, BadBackup
from shared.ctl.backups.manifest import DUMP, Manifest
from shared.ctl.backups.programs import begin, ended, find_program
from shared.migrations.bootstrap import Connection, Roles, role_exists
from shared.migrations.errors import UsageError
from shared.migrations.ledger import connect


def with_database(dsn: str, name: str) -> str:
    """Return a DSN of the same user on another database of the same server."""
    return psycopg.conninfo.make_conninfo(dsn, dbname=name)


def put(folder: Path, manifest: Manifest, dsn: str, programs: Path | None) -> None:
    """Restore a dump into an empty database, whole or not at all; everything in it belongs to the service's owner."""
    with connect(dsn, "backup restore", read_only=True) as connection:
        server = connection.info.server_version // 10_000
    dumped_with = int(manifest.dumped_with.partition(".")[0])
    pg_restore = find_program("pg_restore", max(server, dumped_with), programs)
    options = ["--single-transaction", "--exit-on-error", "--no-owner", f"--role={Roles(manifest.service).owner}"]
    succeeded, _, complaint = ended(begin(pg_restore, [*options, str(folder / DUMP)], dsn))
    if not succeeded:
        raise BadBackup([BackupFault(code="restore_failed", subject=manifest.id, seen=complaint)])


def compare(manifest: Manifest, dsn: str, progress: Progress) -> list[BackupFault]:
    """Return where a restored database parts from the manifest."""
    with connect(dsn, "backup restore", read_only=True) as connection:
        begin_reading(connection)
        with connection.transaction():
            return list(differences(manifest.contents, read_contents(connection, manifest.service, progress)))


def require_roles(connection: Connection, service: str) -> list[str]:
    """Make the roles that a dump refers to, since none has them in it, and return those that were missing.

    What is there keeps its password and its rights. Raises `UsageError` when this user may not make them.
    """
    roles = Roles(service)
    missing = [name for name in (roles.owner, roles.reader, roles.app) if not role_exists(connection, name)]
    try:
        for name in missing:
            # Whoever serves may log in; without a password, which isn't ours to choose, it can't yet.
            login = sql.SQL("login" if name == roles.app else "nologin")
            connection.execute(sql.SQL("create role {} {}").format(sql.Identifier(name), login))
        if roles.owner in missing:
            connection.execute(sql.SQL("grant {} to current_user").format(sql.Identifier(roles.owner)))
    except psycopg.errors.InsufficientPrivilege as error:
        commands = " ".join(f"create role {name} {'' if name == roles.app else 'no'}login;" for name in missing)
        raise UsageError(
            f"The roles {', '.join(missing)} aren't there, and {connection.info.user} may not make them.",
            why="No dump has roles in it, and everything in it belongs or is granted to them.",
            remedy=f"have somebody who may do it run: {commands} grant {roles.owner} to {connection.info.user};",
        ) from error
    return missing
