"""Each change to a schema is named at its object and attribute, and undone by the SQL that comes with it."""

from __future__ import annotations

import psycopg
import pytest

from benchmarks.drift.mutations import OF_SERVICES
from benchmarks.drift.mutations_fixture import OF_FIXTURE
from benchmarks.drift.no_ops import NO_OPS
from shared.catalogue.compare import differences
from shared.catalogue.model import kind_of
from shared.catalogue.snapshot import snapshot

ALL = (*OF_SERVICES, *OF_FIXTURE)


@pytest.mark.parametrize("mutation", ALL, ids=lambda one: f"{one.where}: {one.sql[:90]}")
def test_a_mutation_is_named_and_undone(laboratory, mutation):
    outcome = laboratory.try_mutation(mutation)
    reported = [(one.object, one.attribute) for one in outcome.reported]
    assert outcome.names(mutation), f"wanted {(mutation.object, mutation.attribute)}, reported {reported}"
    assert outcome.failure is None, outcome.script
    assert [str(one) for one in outcome.left] == [], outcome.script


@pytest.mark.parametrize("no_op", NO_OPS, ids=lambda one: one.name)
def test_what_changes_nothing_is_not_named(laboratory, no_op):
    assert [str(one) for one in laboratory.try_no_op(no_op)] == []


@pytest.mark.parametrize(
    "setting", ["standard_conforming_strings=off", "quote_all_identifiers=on", "bytea_output=escape"]
)
def test_how_a_session_writes_texts_makes_no_difference(laboratory, setting):
    with (
        laboratory.copy("authz") as database,
        psycopg.connect(laboratory.dsn(database), autocommit=True, options=f"-c {setting}") as connection,
    ):
        assert [str(one) for one in differences(laboratory.expected["authz"], snapshot(connection, "authz"))] == []


def test_the_list_is_as_long_and_as_wide_as_it_claims():
    assert len(ALL) >= 150
    assert len({(kind_of(one.object), one.kind) for one in ALL}) >= 100
    assert len({kind_of(one.object) for one in ALL}) >= 35
    assert len(NO_OPS) >= 25
