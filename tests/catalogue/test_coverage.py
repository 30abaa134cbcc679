"""Every column of PostgreSQL's catalogues is spoken of: covered, or left out for a reason."""

from __future__ import annotations

import psycopg

from shared.catalogue.coverage import CATALOGUES_NOT_COVERED, COVERED, NOT_COVERED, columns

_COLUMNS = """
    select table_name || '.' || column_name from information_schema.columns
    join pg_class on relname = table_name and relnamespace = 'pg_catalog'::regnamespace and relkind = 'r'
    where table_schema = 'pg_catalog' and table_name <> all(%s)
"""


def _of(dsn: str) -> tuple[int, set[str]]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(_COLUMNS, [list(CATALOGUES_NOT_COVERED)]).fetchall()
        return connection.info.server_version // 10000, {name for (name,) in rows}


def test_every_column_of_this_server_is_spoken_of(server):
    major, there = _of(server.superuser_dsn)
    assert there == columns(major)


def test_every_column_of_postgresql_15_is_spoken_of(older_dsn):
    major, there = _of(older_dsn)
    assert major == 15
    assert there == columns(15)


def test_no_column_is_both_covered_and_not():
    covered = {f"{catalogue}.{column}" for catalogue, names in COVERED.items() for column in names.split()}
    assert covered.isdisjoint(NOT_COVERED)
