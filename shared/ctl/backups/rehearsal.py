"""Restores a backup into a scratch database and proves that it comes back as it was; the scratch database never stays."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import msgspec
from psycopg import sql

from shared.ctl.backups.contents import Progress, begin_reading, check_log
from shared.ctl.backups.faults import BackupFault, BadBackup
from shared.ctl.backups.manifest import TESTED, Manifest
from shared.ctl.backups.putting import compare, put, require_roles, with_database
from shared.ctl.backups.taking import sync
from shared.ctl.backups.verification import verify_backup
from shared.ctl.projections import compare_projections
from shared.ctl.scratch import scratch_server
from shared.migrations.bootstrap import create_database
from shared.migrations.errors import CannotCompare, OperatorError
from shared.migrations.ledger import connect
from shared.migrations.schema import check_schema
from shared.migrations.verify import verify
from shared.release import SERVICE_VERSION


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was proved, or not; `skipped` says why it could not be told."""

    name: str
    faults: list[BackupFault] = []
    skipped: str | None = None


class Tested(msgspec.Struct, frozen=True, kw_only=True):
    """What `restore-test.json` in a backup's folder says: it came back as it was, and when that was last seen."""

    backup: str
    digest: str
    tested_at: datetime
    tool_version: str
    checks: list[str]


def rehearse(
    folder: Path, *, server_dsn: str | None, programs: Path | None, progress: Progress
) -> tuple[Manifest, list[Check]]:
    """Restore into a scratch database and check everything that can be; `server_dsn` is of who may create databases."""
    manifest = verify_backup(folder, programs=programs)
    checks = [Check(name="files")]
    with _scratch(manifest.service, server_dsn) as dsn:
        progress("restoring the dump")
        try:
            put(folder, manifest, dsn, programs)
        except BadBackup as error:
            return manifest, [*checks, Check(name="restore", faults=error.faults)]
        checks.append(Check(name="restore"))
        for name, look in _checks(manifest, dsn, progress).items():
            progress(f"checking {name}")
            try:
                checks.append(Check(name=name, faults=look()))
            except OperatorError as error:
                # The major version of the server may be another one than the schema's lock file was taken on.
                checks.append(Check(name=name, skipped=error.found))
    return manifest, checks


def note_tested(folder: Path, manifest: Manifest, checks: list[Check], now: datetime) -> None:
    """Note in the backup's folder that it came back as it was."""
    tested = Tested(
        backup=manifest.id,
        digest=manifest.digest,
        tested_at=now,
        tool_version=SERVICE_VERSION,
        checks=[check.name for check in checks if check.skipped is None],
    )
    unfinished = folder / f".{TESTED}"
    unfinished.write_bytes(msgspec.json.format(msgspec.json.encode(tested), indent=2) + b"\n")
    sync(unfinished)
    unfinished.replace(folder / TESTED)
    sync(folder)


def read_tested(folder: Path, manifest: Manifest) -> Tested | None:
    """Return when a backup last came back as it was; None if never, or if that was said of another one."""
    try:
        tested = msgspec.json.decode((folder / TESTED).read_bytes(), type=Tested)
    except (OSError, msgspec.DecodeError):
        return None
    return tested if tested.digest == manifest.digest else None


def _checks(manifest: Manifest, dsn: str, progress: Progress) -> dict[str, Callable[[], list[BackupFault]]]:
    service = manifest.service
    return {
        "rows": lambda: compare(manifest, dsn, progress),
        "migrations": lambda: [
            BackupFault(code="migrations_faulty", subject=finding.subject, seen=f"{finding.code}: {finding.seen}")
            for finding in verify(service, dsn)
            if finding.code != "pending"  # taken before an upgrade, it has what it should
        ],
        "schema": lambda: _schema(manifest, dsn),
        **({"projections": lambda: _projections(dsn)} if service == "authz" else {"log": lambda: _log(dsn)}),
    }


def _schema(manifest: Manifest, dsn: str) -> list[BackupFault]:
    with connect(dsn, "backup restore-test", read_only=True) as connection:
        major = str(connection.info.server_version // 10_000)
        if major != manifest.postgres_version.partition(".")[0]:
            raise CannotCompare(
                f"it was dumped from PostgreSQL {manifest.postgres_version} and restored on {major}",
                why="Another major version describes the same schema in other words.",
                remedy="name a server of the same major version by --server.",
            )
        return [
            BackupFault(code="schema_differs", subject=str(difference.object), seen=str(difference))
            for difference in check_schema(manifest.service, connection).differences
        ]


def _projections(dsn: str) -> list[BackupFault]:
    return [
        BackupFault(code="projections_differ", subject=difference.subject, seen=f"{difference.code}: {difference.seen}")
        for difference in compare_projections(dsn).differences
    ]


def _log(dsn: str) -> list[BackupFault]:
    with connect(dsn, "backup restore-test", read_only=True) as connection:
        begin_reading(connection)
        with connection.transaction():
            return list(check_log(connection))


@contextlib.contextmanager
def _scratch(service: str, server_dsn: str | None) -> Iterator[str]:
    """Give an empty database of a service that is gone afterwards, whatever happens."""
    with scratch_server(server_dsn, why="A backup is proved by restoring it somewhere.") as maintenance:
        name = f"plystra_restore_test_{secrets.token_hex(6)}"
        with connect(maintenance, "backup restore-test", read_only=False) as server:
            require_roles(server, service)
            try:
                create_database(server, service, name)
                yield with_database(maintenance, name)
            finally:
                server.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
