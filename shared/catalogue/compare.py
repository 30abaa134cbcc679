"""Compares two catalogues, and writes the script that leads from one to the other.

What follows from another difference is none of its own: the columns of a missing table, the indexes of a missing
constraint. A whole object that is gone or too much is one difference; of others, each attribute is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from shared.catalogue.model import OF, UNCOMPARED, Catalogue, Difference, kind_of, name_of
from shared.catalogue.partitions import expected_partition, split
from shared.catalogue.rebuilding import change, make
from shared.catalogue.taking_away import drop
from shared.catalogue.words import Objects, Step, own_name

# Attributes that bring or take a part with them.
_BRINGS = {
    ("column", "identity"): "sequence",
    ("column", "not_null"): "constraint",
    ("domain", "not_null"): "constraint",
}


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
    # The database itself may have been made read-only; which of the first two counts depends on who runs the script.
    head = ["set transaction_read_only = off;", "set default_transaction_read_only = off;"]
    head += ["set search_path = '';", "set check_function_bodies = off;"]
    return "\n".join([*head, *(f"{statement};" for statement in statements), "reset search_path;"]) + "\n"


def _compare(expected: Objects, live: Objects) -> Iterator[Difference]:
    for key in sorted({*expected, *live}):
        if key not in live:
            if "optional" not in expected[key] and not _follows(expected, live, key):
                yield _difference("missing", key, None, expected[key], None, make(expected, key))
        elif key not in expected:
            if not _follows(live, expected, key):
                yield _difference("unexpected", key, None, None, live[key], drop(live, key))
        elif expected[key].get(OF, key) not in live:
            # It is made with what it is to be a part of; what has its name meanwhile is in the way.
            if not _follows(live, expected, key):
                yield _difference("unexpected", key, None, None, live[key], drop(live, key))
        elif not _comes_with_constraint(expected, live, key):
            for attribute, wanted, found in _attributes(expected[key], live[key]):
                if not _follows_parent(expected, live, key, attribute):
                    steps = change(expected, live, key, attribute)
                    yield _difference("changed", key, attribute, wanted, found, steps)


def _follows(there: Objects, absent: Objects, key: str) -> bool:
    """Tell whether an object is only on one side because what it is a part of, or comes from, is."""
    found = there[key]
    whole = found.get(OF)
    parent = _parent(there, key)
    if parent is not None and parent in there and parent not in absent and "inherited" in found:
        return True
    if whole is None:
        return False
    if whole not in absent:
        return True
    return any(
        kind_of(whole) == kind
        and kind_of(key) == part
        and there[whole].get(attribute) != absent[whole].get(attribute)
        and (part != "constraint" or found.get("form") == "not null")
        for (kind, attribute), part in _BRINGS.items()
    )


def _comes_with_constraint(expected: Objects, live: Objects, key: str) -> bool:
    """Tell whether an index is made anew together with its constraint."""
    whole = expected[key].get(OF)
    if whole is None or kind_of(key) != "index" or kind_of(whole) != "constraint":
        return False
    return bool(expected[whole]["definition"] != live[whole]["definition"])


def _follows_parent(expected: Objects, live: Objects, key: str, attribute: str) -> bool:
    """Tell whether an attribute differs because it does at the parent, or because there is none any more."""
    if attribute == "partition_of" and kind_of(key) == "index":
        table = f"table {expected[key]['table']}"
        return bool(expected.get(table, {}).get("partition_of") != live.get(table, {}).get("partition_of"))
    parent = _parent(expected, key)
    if parent is None or "inherited" not in expected[key] or parent not in expected or parent not in live:
        return False
    return bool(expected[parent].get(attribute) != live[parent].get(attribute))


def _parent(objects: Objects, key: str) -> str | None:
    """Return the key of what a column, a constraint or a trigger of a partition or heir comes from."""
    kind = kind_of(key)
    if kind not in {"column", "constraint", "trigger"}:
        return None
    table = objects[key].get(OF, "")
    if kind == "constraint" and kind_of(table) == "column":
        table = objects.get(table, {}).get(OF, "")
    found = objects.get(table, {})
    parents = [found["partition_of"]] if "partition_of" in found else found.get("inherits", [])
    if not parents:
        return None
    if kind == "column":
        return f"column {parents[0]}{name_of(key)[len(name_of(table)) :]}"
    return f"{kind} {own_name(key)} on {parents[0]}"


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
