"""The statements that make a relation, or something that belongs to one, anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from shared.catalogue.model import OF, kind_of, name_of
from shared.catalogue.words import (
    ALTER,
    FOREIGN_KEY,
    STATE,
    Object,
    Objects,
    Step,
    alter_relation,
    column_of,
    foreign,
    listed,
    literal,
    making,
    own_name,
    table_of,
)

Maker = Callable[[Objects, str], Iterator[Step]]


def make_table(objects: Objects, key: str) -> Iterator[Step]:
    """Yield a table with its columns; constraints and indexes follow, so that tables may refer to each other."""
    table, name = objects[key], name_of(key)
    unlogged = "unlogged " if table.get("persistence") == "unlogged" else ""
    options = dict(table.get("options", {})) | {f"toast.{n}": v for n, v in table.get("toast_options", {}).items()}
    after = "".join(
        [
            f" partition by {table['partition_key']}" if "partition_key" in table else "",
            f" using {table['access_method']}" if "access_method" in table else "",
            f" with ({listed(options)})" if options else "",
            f" tablespace {table['tablespace']}" if "tablespace" in table else "",
        ]
    )
    if "partition_of" in table:
        place = f"partition of {table['partition_of']} {table['partition_bound'].lower()}"
        yield making("table") + 1, f"create {unlogged}table {name} {place}{after}"
    else:
        columns = ",\n    ".join(column_definition(objects, column) for column in _columns(objects, key))
        heir = f" inherits ({', '.join(table['inherits'])})" if "inherits" in table else ""
        body = f" of {table['of_type']}" if "of_type" in table else f" (\n    {columns}\n){heir}"
        yield making("table") + bool(heir), f"create {unlogged}table {name}{body}{after}"
    yield from _more_of_table(objects, key)


def _more_of_table(objects: Objects, key: str) -> Iterator[Step]:
    table, name = objects[key], name_of(key)
    if "row_security" in table:
        yield ALTER, f"alter table {name} enable row level security"
    if "force_row_security" in table:
        yield ALTER, f"alter table {name} force row level security"
    if "replica_identity" in table:
        yield STATE, replica_identity(name, table["replica_identity"])
    for column in _columns(objects, key):
        yield from column_state(key, column, objects[column])


def attach(name: str, table: Object) -> str:
    """Return the statement that attaches a partition."""
    return f"alter table {table['partition_of']} attach partition {name} {table['partition_bound'].lower()}"


def replica_identity(name: str, value: str | None) -> str:
    """Return the statement that sets what identifies a row to a subscriber."""
    if value is not None and value.startswith("index "):
        value = f"using index {value.removeprefix('index ').rpartition('.')[2]}"
    return f"alter table {name} replica identity {value or 'default'}"


def _columns(objects: Objects, key: str) -> list[str]:
    """Return the keys of the columns that a relation has of its own, in their order."""
    own = [k for k, o in objects.items() if o.get(OF) == key and kind_of(k) == "column" and "inherited" not in o]
    return sorted(own, key=lambda k: int(objects[k]["position"]))


def column_definition(objects: Objects, key: str) -> str:
    """Return a column as it stands in `create table` and `add column`."""
    column = objects[key]
    words = [column_of(key, column), column["type"]]
    if "foreign_options" in column:
        words.append(foreign(column["foreign_options"]).strip())
    if "collation" in column:
        words.append(f"collate {column['collation']}")
    if "default" in column:
        words.append(f"default {column['default']}")
    if "generated" in column:
        words.append(f"generated always as ({column['generated']}) {column['generated_kind']}")
    if "identity" in column:
        words.append(identity(objects, key))
    if column.get("not_null"):
        named = [(k, o) for k, o in objects.items() if o.get(OF) == key and o.get("form") == "not null"]
        for constraint, found in named:
            inherit = " no inherit" if "no_inherit" in found else ""
            words.append(f"constraint {own_name(constraint)} not null{inherit}")
        words += [] if named else ["not null"]
    return " ".join(words)


def identity(objects: Objects, key: str) -> str:
    """Return the identity of a column with its sequence."""
    sequences = [(k, o) for k, o in objects.items() if o.get(OF) == key and kind_of(k) == "sequence"]
    inside = "".join(f" (sequence name {name_of(name)} {sequence_parameters(found)})" for name, found in sequences)
    return f"generated {objects[key]['identity']} as identity{inside}"


def sequence_parameters(sequence: Object) -> str:
    """Return the parameters of a sequence, but for its type."""
    cycle = "cycle" if "cycle" in sequence else "no cycle"
    return (
        f"start {sequence['start']} increment {sequence['increment']} minvalue {sequence['minimum']} "
        f"maxvalue {sequence['maximum']} cache {sequence.get('cache', 1)} {cycle}"
    )


def column_state(table: str, key: str, column: Object) -> Iterator[Step]:
    """Yield what can't be said where a column is made."""
    begin = f"{alter_relation(table)} alter column {column_of(key, column)}"
    for attribute in ("storage", "compression", "statistics"):
        if attribute in column:
            yield ALTER, f"{begin} set {attribute} {column[attribute]}"
    if "options" in column:
        yield ALTER, f"{begin} set ({listed(column['options'])})"


def make_column(objects: Objects, key: str) -> Iterator[Step]:
    """Yield a column of a relation that is there; what it held is gone, which the script says."""
    column = objects[key]
    of = column[OF]
    typed = "of_type" in objects.get(of, {})
    if kind_of(of) == "type":
        added = f"{column_of(key, column)} {column['type']}"
        yield making("column"), f"alter type {name_of(of)} add attribute {added} cascade"
    elif kind_of(of) in {"view", "materialized view"}:
        if "default" in column:
            yield ALTER, f"{alter_relation(of)} alter column {column_of(key, column)} set default {column['default']}"
    elif not typed and kind_of(of) in {"table", "foreign table"} and "inherited" not in column:
        lost = "-- What the column held is lost; with rows in the table, a column without a default may not be null.\n"
        yield making("column"), f"{lost}{alter_relation(of)} add column {column_definition(objects, key)}"
        yield from column_state(of, key, column)
    else:
        yield from column_state(of, key, column)


def make_view(objects: Objects, key: str) -> Iterator[Step]:
    """Yield a view or a materialized view."""
    view = objects[key]
    options = f" with ({listed(view['options'])})" if "options" in view else ""
    data = " with no data" if "unpopulated" in view else ""
    definition = view["definition"].rstrip(";")
    # A view is made after those that it reads from.
    rank = making("view") + len(views_below(objects, key))
    yield rank, f"create {kind_of(key)} {name_of(key)}{options} as\n{definition}{data}"


def views_below(objects: Objects, key: str) -> set[str]:
    """Return the names of the views that a view reads from, and those that they read from."""
    found: set[str] = set()
    reached = [key]
    while reached:
        text = objects[reached.pop()]["definition"]
        for other in objects:
            name = name_of(other)
            if kind_of(other) in {"view", "materialized view"} and name not in found and other != key:
                if re.search(rf"(?<![\w.]){re.escape(name)}(?![\w])", text):
                    found.add(name)
                    reached.append(other)
    return found


def make_foreign_table(objects: Objects, key: str) -> Iterator[Step]:
    """Yield a foreign table."""
    table = objects[key]
    columns = ",\n    ".join(column_definition(objects, column) for column in _columns(objects, key))
    options = foreign(table.get("foreign_options", {}))
    yield making("foreign table"), f"create foreign table {name_of(key)} ({columns}) server {table['server']}{options}"
    for column in _columns(objects, key):
        yield from column_state(key, column, objects[column])


def make_sequence(objects: Objects, key: str) -> Iterator[Step]:
    """Yield a sequence of its own; that of an identity comes with its column."""
    sequence, name = objects[key], name_of(key)
    if OF in sequence:
        return
    unlogged = "unlogged " if "persistence" in sequence else ""
    yield (
        making("sequence"),
        f"create {unlogged}sequence {name} as {sequence['data_type']} {sequence_parameters(sequence)}",
    )
    if "owned_by" in sequence:
        yield ALTER, f"alter sequence {name} owned by {sequence['owned_by']}"


def make_constraint(objects: Objects, key: str) -> Iterator[Step]:
    """Yield a constraint, unless it comes with its column or from the table's parent."""
    constraint = objects[key]
    inherited = "inherited" in constraint or "clone" in constraint
    with_column = constraint["form"] == "not null" and kind_of(constraint[OF]) == "column"
    if inherited or with_column:
        return
    yield constraint_step(key, constraint)
    for index, found in objects.items():
        if found.get(OF) == key and kind_of(index) == "index":
            yield from _index_state(index, found, of_constraint=True)
    for _ in constraint.get("triggers", {}):
        yield STATE, f"-- The triggers of the constraint {own_name(key)} were off, which can't be written as SQL."


def constraint_step(key: str, constraint: Object) -> Step:
    """Return the statement that adds a constraint."""
    domain = constraint[OF].startswith("domain ")
    suffixes = {
        "no_inherit": "no inherit",
        "deferrable": "deferrable",
        "initially_deferred": "initially deferred",
        "not_enforced": "not enforced",
        "not_valid": "not valid",
    }
    words = " ".join(text for name, text in suffixes.items() if name in constraint)
    rank = {
        "primary key": making("constraint"),
        "unique": making("constraint") + 1,
        "foreign key": FOREIGN_KEY,
    }.get(constraint["form"], making("constraint") + 2)
    begin = f"alter {'domain' if domain else 'table'} {table_of(key, constraint)}"
    if not domain and constraint[OF].startswith("foreign table "):
        begin = f"alter foreign table {table_of(key, constraint)}"
    return rank, f"{begin} add constraint {own_name(key)} {constraint['definition']} {words}".rstrip()


def make_index(objects: Objects, key: str) -> Iterator[Step]:
    """Yield an index, unless it comes with a constraint or from the index of the table's parent."""
    index = objects[key]
    if kind_of(index[OF]) == "constraint":
        return
    if "partition_of" not in index:
        # Of a partitioned table, those of its partitions come with it.
        yield making("index"), index_definition(index)
    yield from _index_state(key, index, of_constraint=False)


def index_definition(index: Object) -> str:
    """Return the statement that makes an index, with its storage parameters."""
    text: str = index["definition"].replace(" ON ONLY ", " ON ", 1)
    options = f" WITH ({listed(index['options'])})" if "options" in index else ""
    space = f" TABLESPACE {index['tablespace']}" if "tablespace" in index else ""
    head, where, condition = text.partition(" WHERE ")
    return f"{head}{options}{space}{where}{condition}"


def _index_state(key: str, index: Object, *, of_constraint: bool) -> Iterator[Step]:
    name = name_of(key)
    if of_constraint and "options" in index:
        yield STATE, f"alter index {name} set ({listed(index['options'])})"
    if of_constraint and "tablespace" in index:
        yield STATE, f"alter index {name} set tablespace {index['tablespace']}"
    if "clustered" in index:
        yield STATE, f"alter table {index['table']} cluster on {name.rpartition('.')[2]}"
    for number, value in index.get("statistics", {}).items():
        yield STATE, f"alter index {name} alter column {number} set statistics {value}"


def make_trigger(objects: Objects, key: str) -> Iterator[Step]:
    """Yield a trigger; one that a partition has from its parent is only switched."""
    trigger = objects[key]
    if "inherited" not in trigger:
        yield making("trigger"), trigger["definition"]
    if "enabled" in trigger:
        yield STATE, switch("trigger", key, trigger)


def make_rule(objects: Objects, key: str) -> Iterator[Step]:
    """Yield a rewrite rule."""
    yield making("rule"), objects[key]["definition"].rstrip(";")
    if "enabled" in objects[key]:
        yield STATE, switch("rule", key, objects[key])


def switch(kind: str, key: str, found: Object) -> str:
    """Return the statement that switches a trigger or a rule on or off."""
    words = {"disabled": "disable", "replica": "enable replica", "always": "enable always"}
    word = words.get(found.get("enabled", ""), "enable")
    return f"alter table {table_of(key, found)} {word} {kind} {own_name(key)}"


def make_policy(objects: Objects, key: str) -> Iterator[Step]:
    """Yield a policy of row security."""
    policy = objects[key]
    words = [
        f"create policy {own_name(key)} on {table_of(key, policy)}",
        f"as {'restrictive' if 'restrictive' in policy else 'permissive'} for {policy['command']}",
        f"to {', '.join(policy['roles'])}",
        *([f"using ({policy['using']})"] if "using" in policy else []),
        *([f"with check ({policy['check']})"] if "check" in policy else []),
    ]
    yield making("policy"), " ".join(words)


def make_statistics(objects: Objects, key: str) -> Iterator[Step]:
    """Yield extended statistics."""
    yield making("statistics"), objects[key]["definition"]
    if "statistics" in objects[key]:
        yield STATE, f"alter statistics {name_of(key)} set statistics {literal(objects[key]['statistics'])}"


MAKERS: Final[Mapping[str, Maker]] = {
    "table": make_table,
    "foreign table": make_foreign_table,
    "view": make_view,
    "materialized view": make_view,
    "sequence": make_sequence,
    "column": make_column,
    "constraint": make_constraint,
    "index": make_index,
    "trigger": make_trigger,
    "rule": make_rule,
    "policy": make_policy,
    "statistics": make_statistics,
}
