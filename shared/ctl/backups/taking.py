"""Takes a backup: pg_dump and the facts of the manifest read one snapshot, and the folder appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from datetime import datetime
from pathlib import Path
from typing import cast

import psycopg

from shared.ctl.backups.contents import SQL, Progress, begin_reading, read_contents
from shared.ctl.backups.manifest import DUMP, MANIFEST, Contents, Dump, Manifest, ServiceName, hash_file, render, seal
from shared.ctl.backups.programs import Program, begin, ended, find_program
from shared.migrations.errors import CannotCompare, Unreachable, UsageError
from shared.migrations.ledger import connect, describe
from shared.release import SERVICE_VERSION


def take_backup(
    service: str, dsn: str, out: Path, *, now: datetime, programs: Path | None, progress: Progress
) -> tuple[Path, Manifest]:
    """Back up a service's database into a new folder below `out`; the service may go on meanwhile."""
    id = f"{service}-{now:%Y%m%dT%H%M%SZ}"
    final = out / id
    if final.exists():
        raise UsageError(
            f"{final} is there already.",
            why="A backup is never overwritten.",
            remedy="wait a second and try again, or name another folder by --out.",
        )
    with connect(dsn, "backup create", read_only=True) as connection:
        pg_dump = find_program("pg_dump", connection.info.server_version // 10_000, programs)
        unfinished = _unfinished(out)
        try:
            contents = _dump(connection, service, dsn, pg_dump, unfinished / DUMP, progress)
            progress("hashing the dump")
            dump = unfinished / DUMP
            version = connection.info.parameter_status("server_version") or ""
            manifest = seal(
                Manifest(
                    id=id,
                    service=cast("ServiceName", service),
                    created_at=now,
                    tool_version=SERVICE_VERSION,
                    postgres_version=version,
                    dumped_with=pg_dump.version,
                    schema_version=contents.schema_version,
                    contents=contents,
                    dump=Dump(bytes=dump.stat().st_size, sha256=hash_file(dump)),
                )
            )
            (unfinished / MANIFEST).write_bytes(render(manifest))
            for path in (dump, unfinished / MANIFEST, unfinished):
                sync(path)
            unfinished.rename(final)
            sync(out)
        except OSError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise UsageError(
                f"{final} can't be written: {error.strerror}.",
                why="The backup was given up; nothing is left of it.",
                remedy=f"make room, or wait a second for another's name; then: plystractl backup create --service {service}",
            ) from error
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return final, manifest


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unfinished(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".unfinished-", dir=out))
    except OSError as error:
        raise UsageError(
            f"Nothing can be written to {out}: {error.strerror}.",
            why="A backup is a folder below it.",
            remedy="name a folder that you may write to by --out.",
        ) from error


def _dump(
    connection: psycopg.Connection[tuple[object, ...]],
    service: str,
    dsn: str,
    pg_dump: Program,
    file: Path,
    progress: Progress,
) -> Contents:
    begin_reading(connection)
    try:
        with connection.transaction():
            row = connection.execute(SQL["export_snapshot"]).fetchone()
            assert row is not None  # a function returns one row always
            child = begin(pg_dump, ["--format=custom", f"--file={file}", f"--snapshot={row[0]}"], dsn)
            try:
                contents = read_contents(connection, service, progress)
                progress("waiting for pg_dump")
                succeeded, _, complaint = ended(child)
            finally:
                if child.poll() is None:
                    child.kill()
                    child.wait()
    except psycopg.OperationalError as error:
        raise Unreachable(
            f"The connection to {describe(dsn)} was lost: {str(error).strip()}",
            why="The backup was given up; nothing is left of it.",
            remedy=f"bring the server back, then: plystractl backup create --service {service}",
        ) from error
    if not succeeded:
        raise CannotCompare(
            f"pg_dump failed: {complaint}",
            why="The backup was given up; nothing is left of it.",
            remedy="mend the cause (rights, disk space), then take it again.",
        )
    return contents
