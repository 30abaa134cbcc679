"""The statements that take away an object that isn't expected; where values would go with it they refuse."""

from __future__ import annotations

from shared.catalogue.belongings import drop_default_privileges, target, unless_rows
from shared.catalogue.changing_cluster import setting_statement
from shared.catalogue.making_objects import LAST
from shared.catalogue.model import OF, kind_of, name_of
from shared.catalogue.words import (
    ALTER,
    LATE,
    Objects,
    Step,
    alter_relation,
    column_of,
    dropping,
    own_name,
    role,
    table_of,
)


def drop(objects: Objects, key: str) -> list[Step]:
    """Return the statements that take away an object that isn't expected."""
    found, kind, name = objects[key], kind_of(key), name_of(key)
    rank = dropping(kind)
    if kind == "default privileges":
        return list(drop_default_privileges(key, found))
    if kind == "settings":
        return [(ALTER, setting_statement(name, setting, None)) for setting in found.get("settings", {})]
    if kind == "column":
        if "inherited" in found or "of_type" in objects.get(found[OF], {}):
            return []  # it goes with where it comes from
        if kind_of(found[OF]) in {"view", "materialized view"}:
            begin = f"{alter_relation(found[OF])} alter column {column_of(key, found)}"
            return [(ALTER, f"{begin} drop default")] if "default" in found else []
        if found[OF].startswith("type "):
            return [(rank, f"alter type {name_of(found[OF])} drop attribute {column_of(key, found)} cascade")]
        column = column_of(key, found)
        statement = f"{alter_relation(found[OF])} drop column {column}"
        if kind_of(found[OF]) != "table" or {"default", "generated", "identity"} & set(found):
            return [(rank, statement)]
        return [(rank, unless_rows(name_of(found[OF]), f"{column} is not null", statement))]
    if kind == "constraint":
        table = "domain" if found[OF].startswith("domain ") else "table"
        # A key goes after the foreign keys that need it.
        needed = 1 if found["form"] in {"primary key", "unique"} else 0
        return [(rank + needed, f"alter {table} {table_of(key, found)} drop constraint {own_name(key)}")]
    if kind in {"trigger", "rule", "policy"}:
        return [(rank, f"drop {target(key, found)}")]
    if kind == "extension":
        # What somebody added to it, such as a table with all its rows, mustn't go with it.
        added = [(-LATE, f"alter extension {name} drop {member}") for member in found.get("added", {})]
        return [*added, (rank, f"drop extension {name}")]
    if kind == "subscription":
        return [
            (rank, f"alter subscription {name} disable"),
            (rank + 1, f"alter subscription {name} set (slot_name = none)"),
            (rank + 2, f"drop subscription {name}"),
        ]
    if kind == "table":
        return [(rank, unless_rows(name, "true", f"drop table {name}"))]
    if kind == "event trigger":
        return [(-LAST, f"drop event trigger {name}")]
    return [(rank, f"drop {kind} {role(name) if kind == 'role' else name}")]
