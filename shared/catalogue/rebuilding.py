"""The statements that put one object right as a whole: make it, take it away, or make it anew."""

from __future__ import annotations

import re
from collections.abc import Iterator

from shared.catalogue import making_objects, making_relations
from shared.catalogue.belongings import finish, set_grants
from shared.catalogue.changing import Change
from shared.catalogue.changing_cluster import setting_statement
from shared.catalogue.model import OF, kind_of, name_of
from shared.catalogue.taking_away import drop
from shared.catalogue.words import ALTER, Objects, Step, alter_relation, column_of, making

_MAKERS = {**making_relations.MAKERS, **making_objects.MAKERS}
_RETYPED = {"type", "domain"}


def make(objects: Objects, key: str) -> list[Step]:
    """Return the statements that make an object with everything that is a part of it."""
    steps = list(_make_one(objects, key))
    for part, found in objects.items():
        if found.get(OF) == key:
            made_with_it = kind_of(part) == "column" and kind_of(key) in {"table", "foreign table", "type"}
            steps += _parts_only(objects, part) if made_with_it else make(objects, part)
    return steps


def change(expected: Objects, live: Objects, key: str, attribute: str) -> list[Step]:
    """Return the statements that make an attribute what it is to be."""
    steps = Change(expected, live, key, attribute).steps()
    if steps is not None:
        return steps
    kind = kind_of(key)
    same_call = all(expected[key].get(name) == live[key].get(name) for name in ("result", "arguments"))
    if kind in {"function", "procedure"} and same_call:
        return list(_make_one(expected, key))[:1]  # over the one that is there, which keeps owner and grants
    if kind in {"view", "materialized view"}:
        return list(_make_views_anew(expected, live, key))
    if kind in _RETYPED and (kind == "domain" or _users(live, name_of(key))):
        return list(_retype(expected, live, key))
    # What is made anew can't wait for the end to be dropped.
    return [*((min(rank, -making(kind)), statement) for rank, statement in drop(live, key)), *make(expected, key)]


def _make_one(objects: Objects, key: str) -> Iterator[Step]:
    found = objects[key]
    kind = kind_of(key)
    if kind == "settings":
        for name, value in found.get("settings", {}).items():
            yield ALTER, setting_statement(name_of(key), name, value)
    elif kind == "default privileges":
        for grantee, privileges in found.get("grants", {}).items():
            yield from set_grants(key, found, grantee, privileges, None)
    else:
        yield from _MAKERS[kind](objects, key)
    if kind == "role":
        for attribute, value in found.items():
            names = [f"{attribute}.{one}" for one in value] if isinstance(value, dict) else [attribute]
            if attribute not in {OF, "optional", "login", "comment"}:
                for name in names:
                    yield from change(objects, {key: {}}, key, name)
    if kind != "default privileges":
        last = making_objects.LAST if kind == "event trigger" else 0
        yield from ((rank + last, statement) for rank, statement in finish(key, found))


def _parts_only(objects: Objects, column: str) -> list[Step]:
    """Return what a column that came with its table still needs."""
    steps = list(finish(column, objects[column]))
    for part, found in objects.items():
        if found.get(OF) == column and kind_of(part) != "constraint":
            steps += make(objects, part)
    return steps


def _make_views_anew(expected: Objects, live: Objects, key: str) -> Iterator[Step]:
    """Yield what drops a view with all that read from it, and makes them again."""
    yield -making("view"), f"drop {kind_of(key)} {name_of(key)} cascade"
    views = [one for one in expected if kind_of(one) in {"view", "materialized view"}]
    for view in views:
        if view == key or (view in live and name_of(key) in making_relations.views_below(live, view)):
            yield from make(expected, view)


def _retype(expected: Objects, live: Objects, key: str) -> Iterator[Step]:
    """Yield what makes a type anew under its name, and gives it to the columns that have the one there is."""
    name = name_of(key)
    old = f"{name.rpartition('.')[2]}_before".replace('"', "")
    schema = name.rpartition(".")[0]
    rank = making(kind_of(key))
    yield rank - 3, f"alter {kind_of(key)} {name} rename to {old}"
    yield from make(expected, key)
    for column in _users(live, name):
        found = live[column]
        begin = f"{alter_relation(found[OF])} alter column {column_of(column, found)}"
        if "default" in found:
            yield ALTER - 1, f"{begin} drop default"
        yield ALTER, f"{begin} type {found['type']} using {column_of(column, found)}::text::{found['type']}"
        if "default" in found:
            yield ALTER + 1, f"{begin} set default {expected.get(column, found).get('default', found['default'])}"
    yield ALTER + 4, f"drop {kind_of(key)} {schema}.{old}"


def _users(objects: Objects, name: str) -> list[str]:
    """Return the keys of the columns of a type, or of arrays of it."""
    pattern = re.compile(re.escape(name) + r"(\[\])*")
    return [key for key, found in objects.items() if kind_of(key) == "column" and pattern.fullmatch(found["type"])]
