"""A database of somebody else's making is as expected too, whether it could change hands or not."""

from __future__ import annotations

import pytest

from shared.embedded.server import EmbeddedPostgres
from shared.migrations.bootstrap import adopt_database, create_roles
from shared.migrations.runner import migrate_up
from shared.migrations.schema import check_schema
from tests.conftest import PASSWORD, connect


@pytest.fixture
def alone(passable_folder):
    """A server of this test alone, since the service's roles are made by somebody who is no superuser."""
    with EmbeddedPostgres(passable_folder, fast=True) as server:
        yield server


@pytest.mark.parametrize("may", ["createrole", "createrole createdb"])
def test_an_adopted_database_has_no_drift_and_shows_it_when_it_comes(alone, may):
    with connect(alone.superuser_dsn) as admin:
        admin.execute(f"create role tenant login password '{PASSWORD}' {may}")
        admin.execute("create database theirs owner tenant")
    dsn = alone.dsn("tenant", PASSWORD, "theirs")
    with connect(dsn) as connection:
        create_roles(connection, "audit", migrator_password=None, app_password=PASSWORD)
        adopt_database(connection, "audit")
    migrate_up("audit", dsn)
    with connect(dsn) as connection:
        assert [str(one) for one in check_schema("audit", connection).differences] == []
        connection.execute("grant create on database theirs to audit_app")
        [found] = check_schema("audit", connection).differences
        assert (found.object, found.attribute) == ("database this", "grants.audit_app")
