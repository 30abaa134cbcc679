"""On PostgreSQL 15 the catalogue is read, compared and put right as on 18, against an expectation that was taken there."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.drift import trial
from benchmarks.drift.mutations_fixture import OF_FIXTURE
from shared.catalogue.compare import differences, restore_script
from shared.catalogue.snapshot import snapshot
from shared.migrations.bootstrap import create_database, create_roles
from tests.conftest import PASSWORD, connect

_SOME = OF_FIXTURE[::6]


def on(dsn: str, database: str) -> str:
    return f"{dsn.rpartition('/')[0]}/{database}"


@pytest.fixture(scope="module")
def zoo(older_dsn):
    """The catalogue of a database of PostgreSQL 15 with the fixture's objects."""
    with connect(older_dsn) as connection:
        create_roles(connection, "authz", migrator_password=PASSWORD, app_password=PASSWORD)
        create_database(connection, "authz", "zoo")
        connection.execute("set allow_in_place_tablespaces = on")
        connection.execute("create tablespace drift location ''")
    with connect(on(older_dsn, "zoo")) as connection:
        connection.execute((Path(trial.__file__).parent / "fixture.sql").read_text(encoding="utf-8"))
        return snapshot(connection, "authz")


@pytest.mark.parametrize("mutation", _SOME, ids=lambda one: one.sql[:90])
def test_a_mutation_is_named_and_undone_on_postgresql_15(older_dsn, zoo, mutation):
    with connect(older_dsn) as admin:
        create_database(admin, "authz", "zoo_copy", template="zoo")
        try:
            with connect(on(older_dsn, "zoo_copy")) as connection:
                connection.execute(mutation.sql)
                found = differences(zoo, snapshot(connection, "authz"))
                assert (mutation.object, mutation.attribute) in [(one.object, one.attribute) for one in found]
                connection.execute(restore_script(found))
                assert [str(one) for one in differences(zoo, snapshot(connection, "authz"))] == []
        finally:
            admin.execute("drop database zoo_copy with (force)")
