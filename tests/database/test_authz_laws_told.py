"""Every law that the database states about the permission graph has a code, a field and a sentence for whoever breaks it."""

from __future__ import annotations

import pytest

from services.authz.laws import LAWS, law_of
from services.authz.nouns import NOUNS
from shared.problems import PROBLEMS
from tests.database.authz_rows import TABLES, Connection
from tests.database.test_authz_constraints import REFUSED
from tests.database.test_authz_limits import LENGTHS
from tests.database.test_authz_same_space import LINKS, OF_INSTANCE, OF_SPACE

# Laws that hold for every column of a type, or for all rows together: they say no field, since many may be to blame.
_OF_MANY = {"identifier_form", "json_object_form"}
# The domains' laws stand in pg_constraint without a table, those of triggers and unique indexes are asked for by name.
CONSTRAINTS = """
select conrelid::regclass::oid, relname, conname from pg_constraint c join pg_class t on t.oid = c.conrelid
where t.relnamespace = 'authz'::regnamespace and t.relname = any(%(tables)s) and contype <> 'n'
union
select i.indrelid, t.relname, n.relname from pg_index i join pg_class t on t.oid = i.indrelid
    join pg_class n on n.oid = i.indexrelid
where t.relnamespace = 'authz'::regnamespace and t.relname = any(%(tables)s) and i.indisunique
union
select 0, '', conname from pg_constraint where connamespace = 'authz'::regnamespace and contypid <> 0 and contype <> 'n'
"""


def stated(graph: Connection) -> list[tuple[str, str]]:
    """Every table's constraints, triggers' and unique indexes among them; those of domains once for each table."""
    rows = graph.execute(CONSTRAINTS, {"tables": list(TABLES)}).fetchall()
    return [(table, name) for _, of, name in rows for table in ([of] if of else TABLES)]


def test_every_law_is_told_by_a_code_of_its_own_with_a_field_of_the_row(graph):
    laws = stated(graph)
    assert len(laws) > 100
    for table, name in laws:
        law = law_of(name, table)
        assert law.code in PROBLEMS
        assert law.code != "conflict", (table, name)
        fields = NOUNS[table].row.__struct_fields__
        is_of_many = name in _OF_MANY or name.endswith("_times_representable")
        assert law.field in fields or (is_of_many and law.field == ""), (table, name, law)
        assert law.besides == "" or law.besides in fields, (table, name, law)


def test_every_law_that_is_told_is_stated(graph):
    names = {name for _, name in stated(graph)}
    assert set(LAWS) - names == {"row_is_not_there"}


def test_every_law_is_broken_by_some_test_with_raw_sql(graph):
    broken = {constraint for *_, constraint in (*REFUSED, *LINKS, *OF_INSTANCE, *LENGTHS)}
    broken |= {f"{table}_space_fk" for table in OF_SPACE}
    # Broken for each table in turn, by test_authz_limits.py, and by rows of many forms, by the files of the same name.
    broken |= {f"{table}_{what}" for table in TABLES for what in ("metadata_size", "times_representable")}
    broken |= {"identifier_form", "group_path_of_parent"}
    # What foreign keys refer to: an id is taken in the whole instance, so it is another law that is broken first.
    broken |= {f"{table}_same_space_key" for table in TABLES}
    assert {name for _, name in stated(graph)} - broken == set()


@pytest.mark.parametrize("name", ["group_unheard_of", "group_shape_of_water_form_of_it", ""])
def test_a_law_that_nobody_foresaw_is_a_conflict_and_says_its_name(name):
    law = law_of(name, "group")
    assert (law.code, law.field) == ("conflict", "")
    assert name in law.says
