"""Compares two catalogues, and writes the script that leads from one to the other.

What follows from another difference is none of its own: the columns of a missing table, the indexes of a missing
constraint. A whole object that is gone or too much is one difference; of others, each attribute is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from shared.catalogue.changing import drop
from shared.catalogue.model import OF, UNCOMPARED, Catalogue, Difference, kind_of
from shared.catalogue.partitions import expected_partition, split
from shared.catalogue.rebuilding import change, make
from shared.catalogue.words import Objects, Step

# Attributes of a column that bring or take a part of it.
_BRINGS = {"not_null": "constraint", "identity": "sequence"}


def differences(expected: Catalogue, live: Catalogue) -> list[Difference]:
    """Return everything in which a database isn't as expected, in the order of the objects' keys.

    Partitions that are made as data comes are compared with their model, however many there are.
    """
    wanted, models = split(expected.objects)
    found, partitions = split(live.objects)
    target: dict[str, Any] = dict(wanted)
    for key in partitions:
        target |= expected_partition(models, key)
    for parts in partitions.values():
        found |= parts
    return list(_compare(target, found))


def restore_script(found: Iterable[Difference]) -> str:
    """Return one script that brings a database to no difference; a superuser can run it, and mostly the owner."""
    steps = {
        (rank, statement): None
        for difference in found
        for rank, statement in zip(difference.ranks, difference.restore, strict=True)
    }
    statements = [statement for _, statement in sorted(steps, key=lambda step: step[0])]
    if not statements:
        return ""
    head = ["set search_path = '';", "set check_function_bodies = off;"]
    return "\n".join([*head, *(f"{statement};" for statement in statements), "reset search_path;"]) + "\n"


def _compare(expected: Objects, live: Objects) -> Iterator[Difference]:
    for key in sorted({*expected, *live}):
        if key not in live:
            if "optional" not in expected[key] and not _follows(expected, live, key):
                yield _difference("missing", key, None, expected[key], None, make(expected, key))
        elif key not in expected:
            if not _follows(live, expected, key):
                yield _difference("unexpected", key, None, None, live[key], drop(live, key))
        else:
            for attribute, wanted, found in _attributes(expected[key], live[key]):
                steps = change(expected, live, key, attribute)
                yield _difference("changed", key, attribute, wanted, found, steps)


def _follows(there: Objects, absent: Objects, key: str) -> bool:
    """Tell whether an object is only on one side because what it is a part of differs."""
    whole = there[key].get(OF)
    if whole is None:
        return False
    if whole not in absent:
        return True
    return any(
        kind_of(key) == part and there[whole].get(attribute) != absent[whole].get(attribute)
        for attribute, part in _BRINGS.items()
        if kind_of(whole) == "column"
    )


def _attributes(expected: dict[str, Any] | Any, live: dict[str, Any] | Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the attributes that differ, those that are mappings member by member."""
    for name in sorted({*expected, *live} - UNCOMPARED):
        wanted, found = expected.get(name), live.get(name)
        if wanted == found:
            continue
        if isinstance(wanted, dict) or isinstance(found, dict):
            wanted, found = wanted or {}, found or {}
            for member in sorted({*wanted, *found}):
                if wanted.get(member) != found.get(member):
                    yield f"{name}.{member}", wanted.get(member), found.get(member)
        else:
            yield name, wanted, found


def _difference(
    kind: Literal["missing", "unexpected", "changed"],
    key: str,
    attribute: str | None,
    expected: Any,
    live: Any,
    steps: Sequence[Step],
) -> Difference:
    ordered = sorted(dict.fromkeys(steps), key=lambda step: step[0])
    return Difference(
        kind=kind,
        object=key,
        attribute=attribute,
        expected=expected,
        live=live,
        restore=[_on_this_database(statement) for _, statement in ordered],
        ranks=[rank for rank, _ in ordered],
    )


def _on_this_database(statement: str) -> str:
    """Return a statement that names the database by asking which it is."""
    if ":database" not in statement:
        return statement
    text = statement.replace("'", "''").replace("%", "%%").replace(":database", "%I")
    return f"do $do$ begin execute format('{text}', current_database()); end $do$"
