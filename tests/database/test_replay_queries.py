"""Every statement of shared/ctl/replay.sql fits the schemas, needs no more than a reader's rights, and goes by an index."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from shared.ctl import replay
from shared.ctl.history import Change
from shared.ctl.replay import QUERIES
from shared.embedded.server import EmbeddedPostgres
from tests.conftest import ServiceDatabase, connect, fresh_database

RANGE = {"first": 10, "last": 19_000, "number": 100}
DECISION = ("log_index", "event_id", "kind", "leaf")
ID = "019a0000-0000-7000-8000-000000000001"
FEW = {"ids": [f"id_{number}" for number in range(5)], "highest": 15_000}
# Name: whose it is, what it is given, the columns of its rows.
STATEMENTS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "find_range": ("audit", {"since": "2026-01-01T00:00:00Z", "until": None}, ("first", "last")),
    "count_decisions": ("audit", RANGE, ("found",)),
    "list_decisions": ("audit", RANGE, DECISION),
    "sample_decisions": ("audit", RANGE, DECISION),
    "find_decision": ("audit", {"event_id": ID}, DECISION),
    "measure_history": ("authz", {"highest": 9}, ("last", "events")),
    "find_grants": ("authz", FEW, ("member_role", "role", "group", "space_id")),
    "find_groups": ("authz", FEW, ("group", "space_id")),
    "find_holdings": ("authz", FEW, ("role_permission", "permission", "space_id")),
    "walk_changes": (
        "authz",
        {"nouns": ["user"] * 5, "ids": FEW["ids"], "spaces": ["space_1"], "highest": 15_000},
        Change._fields,
    ),
}
# What reads a log from its beginning: its size is all that it tells.
WHOLE = {"measure_history"}
FILL = {
    "audit": """insert into audit.entry (log_index, recorded_at, occurred_at, epoch, sequence, revision, event_id, kind,
        source, decision, leaf_hash, leaf)
        select i, '2026-01-01Z'::timestamptz + i * interval '1 second', now(), 1, i, 0, gen_random_uuid(), 'decision.made',
        'authz', 'allow', sha256('x'), convert_to(repeat('x', 2000), 'utf8') from generate_series(0, 19999) i""",
    "authz": """insert into authz.event (revision, event_id, occurred_at, kind, space_id, entity_type, entity_id, after,
        request_id)
        select i, gen_random_uuid(), now(), noun || '.made', 'space_' || i % 50, noun, 'id_' || i,
        jsonb_build_object('id', 'id_' || i, 'text', repeat('x', 300)), 'test'
        from (select i, case when i % 100 > 5 then 'resource' else (array['user', 'group', 'role', 'member_role',
        'role_permission', 'resource_type'])[i % 100 + 1] end as noun from generate_series(1, 20000) i) made""",
}


@pytest.fixture(scope="module")
def filled(server: EmbeddedPostgres, template_of: Callable[[str], str]) -> Iterator[dict[str, ServiceDatabase]]:
    """Both logs, with 20,000 events each."""
    with (
        fresh_database(server, "audit", template=template_of("audit")) as audit,
        fresh_database(server, "authz", template=template_of("authz")) as authz,
    ):
        databases = {"audit": audit, "authz": authz}
        for name, database in databases.items():
            with connect(database.superuser_dsn) as superuser:
                if name == "audit":
                    superuser.execute("select audit.ensure_partition(0)")
                superuser.execute(FILL[name].encode())
                superuser.execute("analyze audit.entry" if name == "audit" else "analyze authz.event")
        yield databases


def test_every_statement_has_a_place_here() -> None:
    assert list(STATEMENTS) == list(QUERIES)


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_fits_the_schema_and_a_readers_rights(audit_database, authz_database, name: str) -> None:
    service, values, columns = STATEMENTS[name]
    database = audit_database if service == "audit" else authz_database
    with psycopg.connect(database.reader_dsn) as connection:
        cursor = connection.execute(QUERIES[name].encode(), values, prepare=True)
        assert cursor.description is not None
        assert tuple(column.name for column in cursor.description) == columns


@pytest.mark.parametrize("name", [name for name in STATEMENTS if name not in WHOLE])
def test_no_statement_reads_a_whole_log(filled: dict[str, ServiceDatabase], name: str) -> None:
    service, values, _ = STATEMENTS[name]
    with psycopg.connect(filled[service].reader_dsn) as connection:
        ((plan,),) = connection.execute(f"explain (format json) {QUERIES[name]}".encode(), values).fetchall()
    kinds = re.findall(r'"Node Type": "([^"]*)"', json.dumps(plan))
    assert "Seq Scan" not in kinds, json.dumps(plan, indent=1)


@pytest.mark.parametrize(
    "name, index", [("find_grants", "event_member_role_idx"), ("find_holdings", "event_role_permission_idx")]
)
def test_a_members_grants_and_a_roles_permissions_are_found_by_what_they_hold(filled, name: str, index: str) -> None:
    with psycopg.connect(filled["authz"].reader_dsn) as connection:
        ((plan,),) = connection.execute(f"explain (format json) {QUERIES[name]}".encode(), FEW).fetchall()
    assert index in json.dumps(plan)


def test_every_statement_says_in_a_sentence_what_it_does() -> None:
    parts = Path(replay.__file__).with_name("replay.sql").read_text(encoding="utf-8").split("-- name: ")[1:]
    for part in parts:
        assert re.match(r"[a-z_]+\n-- [A-Z].*\n(-- .*\n)*[a-z]", part), part
