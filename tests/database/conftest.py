"""What several database tests share: a folder of migrations made up for the test, and a filled database of authz."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest

from shared.ctl.__main__ import main
from shared.embedded.server import EmbeddedPostgres
from shared.migrations.files import KEYS, LOCK_FILE, MigrationFolder, read_folder
from shared.migrations.lockfile import render_lock
from tests.conftest import ServiceDatabase, fresh_database
from tests.database.authz_rows import Connection, fill

_HEADER: Final = {
    **dict.fromkeys(KEYS, "none"),
    "transactional": "true",
    "purpose": "a test",
    "kind": "schema",
    "phase": "expand",
}


Operate = Callable[..., tuple[int, str]]


@dataclasses.dataclass(frozen=True)
class ScratchFolder:
    """A folder of migrations that a test writes itself; `service` only says whose roles apply them."""

    path: Path
    service: str = "authz"

    def add(self, id: str, sql: str, rollback: str = "select 1;", **header: str) -> Path:
        """Write a migration and its rollback; header keys can be changed."""
        lines = [f"-- {key}: {value}" for key, value in (_HEADER | header).items()]
        file = self.path / f"{id}.sql"
        file.write_text("\n".join(lines) + f"\n\n{sql}\n", encoding="utf-8")
        (self.path / f"{id}.rollback.sql").write_text(rollback + "\n", encoding="utf-8")
        return file

    def lock(self) -> None:
        """Write the lock file anew."""
        (self.path / LOCK_FILE).write_text(render_lock(self.read()), encoding="utf-8")

    def read(self) -> MigrationFolder:
        """Read it as the tool does."""
        return read_folder(self.service, self.path)


@pytest.fixture
def scratch(tmp_path: Path) -> ScratchFolder:
    """An empty folder of migrations."""
    path = tmp_path / "migrations"
    path.mkdir()
    return ScratchFolder(path)


@pytest.fixture
def two_tables(scratch: ScratchFolder) -> ScratchFolder:
    """A locked folder of two migrations, each making a table."""
    scratch.add("0001.first", "create schema authz; create table authz.first (id int primary key);")
    scratch.add("0002.second", "create table authz.second (id int primary key);", depends="0001.first")
    scratch.lock()
    return scratch


@pytest.fixture
def operate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Operate:
    """A function that runs a command on databases, outside of production, and returns its exit code and what it printed."""

    def run(*arguments: str, authz: Any = None, audit: Any = None, **environment: str) -> tuple[int, str]:
        for name in ("AUTHZ_DSN", "AUDIT_DSN"):
            monkeypatch.delenv(f"PLYSTRA_{name}", raising=False)
        for name, database in (("AUTHZ", authz), ("AUDIT", audit)):
            if database is not None:
                monkeypatch.setenv(f"PLYSTRA_{name}_DSN", getattr(database, "owner_dsn", database))
        monkeypatch.setenv("PLYSTRA_ENVIRONMENT", "test")
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        try:
            code = main(list(arguments))
        except SystemExit as end:  # how the command line's parser ends
            code = end.code
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


@pytest.fixture(scope="session")
def graph_database(server: EmbeddedPostgres, template_of: Callable[[str], str]) -> Iterator[ServiceDatabase]:
    """A database of authz with the rows of `authz_rows.fill`, which no test changes for good."""
    with fresh_database(server, "authz", template=template_of("authz")) as database:
        with owner_of(database) as connection:
            fill(connection)
            connection.commit()
        yield database


def owner_of(database: ServiceDatabase) -> Connection:
    """Open a transaction as the owner of all objects of authz."""
    connection = psycopg.connect(database.owner_dsn)
    connection.execute("set role authz_owner")
    connection.commit()  # a role that is set within a transaction ends with its rollback
    return connection


@pytest.fixture(scope="session", params=["app", "owner"])
def graph_session(request: pytest.FixtureRequest, graph_database: ServiceDatabase) -> Iterator[Connection]:
    """A session on the filled database, once as the service and once as the owner."""
    is_app = request.param == "app"
    connection = psycopg.connect(graph_database.app_dsn) if is_app else owner_of(graph_database)
    yield connection
    connection.close()


@pytest.fixture
def graph(graph_session: Connection) -> Iterator[Connection]:
    """A transaction on the filled database, rolled back at the end."""
    yield graph_session
    graph_session.rollback()
