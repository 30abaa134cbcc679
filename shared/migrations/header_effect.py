"""Compares what a migration's header says it does with what it did to the catalogue.

A header lists names: `+authz.event` is made, `-…` dropped, `~…` changed; a name without a sign is touched, and whatever
follows ` of ` is said to people. `none` and `with their tables` claim nothing: columns and constraints of a new table go
with it, as do partitions and what a column says by itself (`not null`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from shared.catalogue.model import OF, kind_of, name_of
from shared.catalogue.schema_lock import SchemaLock
from shared.migrations.files import MigrationFile

_KEYS: Final = {"tables": "table", "columns": "column", "indexes": "index", "constraints": "constraint"}
_SIGNS: Final = {"+": "added", "-": "removed", "~": "changed"}
_CLAIM: Final = re.compile(r"(?<!\S)(?P<sign>[+~-]?)(?P<name>[a-z_][\w.]*)[,;]?(?!\S)")

Objects = Mapping[str, Mapping[str, Any]]


def disagreements(migration: MigrationFile, lock: SchemaLock) -> Iterator[tuple[int, str]]:
    """Yield each line of the header that says something else than was done, and what; nothing of an unknown migration."""
    if migration.id not in lock.ids:
        return
    effect = lock.effect(migration.id)
    changed = {key: now for key, (_, now) in effect.changed.items()}
    everything = {**lock.objects, **effect.added, **effect.removed, **changed}
    happened = {
        "+": _names(effect.added, effect.added, everything),
        "-": _names(effect.removed, effect.removed, everything),
        "~": _names(changed, {}, everything),
    }
    lines = migration.sql.split("\n")
    for key, kind in _KEYS.items():
        line = next(n for n, text in enumerate(lines, 1) if re.match(rf"--\s*{key}\s*:", text))
        claims = _claims(migration.header[key])
        for sign, what in _SIGNS.items():
            done = happened[sign][kind]
            claimed = claims[sign]
            mentioned = claimed | (claims[""] if sign == "~" else set())
            for name in sorted(_without(claimed, done)):
                yield line, f"`{key}` says {sign}{name}, and no such {kind} was {what}."
            for name in sorted(_without(done, mentioned)):
                yield line, f"The {kind} {name} was {what}, and `{key}` doesn't say {sign}{name}."


def _claims(value: str) -> dict[str, set[str]]:
    claims: dict[str, set[str]] = {"": set(), "+": set(), "-": set(), "~": set()}
    for match in _CLAIM.finditer(value.partition(" of ")[0]):
        claims[match["sign"]].add(match["name"])
    return claims


def _without(names: set[str], others: set[str]) -> set[str]:
    """Return the names that aren't among others, where one may have its schema and the other not."""
    return {name for name in names if not any(_is_same(name, other) for other in others)}


def _is_same(one: str, other: str) -> bool:
    if ("." in one) == ("." in other):
        return one == other
    return one.rpartition(".")[2] == other.rpartition(".")[2]


def _names(objects: Objects, of_new: Objects, everything: Objects) -> dict[str, set[str]]:
    """Return what a header names of these objects; what goes with one of `of_new` isn't named."""
    names: dict[str, set[str]] = {kind: set() for kind in _KEYS.values()}
    constraints = {name_of(key).partition(" on ")[0] for key in objects if kind_of(key) == "constraint"}
    for key, attributes in objects.items():
        kind, whole = kind_of(key), attributes.get(OF, "")
        if kind not in names or _is_of_partition(key, everything):
            continue
        name = name_of(key).replace('"', "")
        if kind in {"column", "constraint"} and whole in of_new and kind_of(whole) in {"table", "domain"}:
            continue
        if kind == "index" and name.rpartition(".")[2] in constraints:
            continue
        if kind == "constraint":
            if attributes.get("form") == "not null":
                continue
            own, _, table = name.partition(" on ")
            name = f"{table.partition('.')[0]}.{own}"
        names[kind].add(name)
    return names


def _is_of_partition(key: str, objects: Objects) -> bool:
    """Tell whether an object is, or is a part of, a partition."""
    step: str | None = key
    while step is not None:
        if "partition_of" in objects.get(step, {}):
            return True
        step = objects.get(step, {}).get(OF)
    return False
