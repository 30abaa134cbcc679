"""Partitions that are made as data comes: none of them is expected by name, and all are to be like their model.

A schema with a function `ensure_partition(bigint)` makes partitions `<table>_<number>` by it. The lock file has the one of
number 0 as the model; whatever number another has, its names and its bounds follow from that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from shared.catalogue.model import MADE_BY, maker_of

Objects = Mapping[str, Mapping[str, Any]]

_NUMBERED: Final = re.compile(r"table (?P<name>\S+)_(?P<number>[0-9]{6}|[1-9][0-9]{6,})")
_BOUND: Final = re.compile(r"FOR VALUES FROM \('?(?P<low>[0-9]+)'?\) TO \('?(?P<high>[0-9]+)'?\)")


def maker(service: str) -> str:
    """Return the function of a service that makes its partitions, if there is one."""
    return f"{service}.ensure_partition(bigint)"


def mark_made_by_data(objects: dict[str, dict[str, Any]], service: str) -> None:
    """Mark each table that is by its name a partition made as data comes, attached or not."""
    if f"function {maker(service)}" not in objects:
        return
    for key, attributes in objects.items():
        match = _NUMBERED.fullmatch(key)
        if match and objects.get(f"table {match['name']}", {}).get("form") == "partitioned":
            attributes[MADE_BY] = maker(service)


def split(objects: Objects) -> tuple[dict[str, Mapping[str, Any]], dict[str, dict[str, Mapping[str, Any]]]]:
    """Return what isn't made as data comes, and what is, by the key of its partition."""
    rest: dict[str, Mapping[str, Any]] = {}
    made: dict[str, dict[str, Mapping[str, Any]]] = {}
    for key, attributes in objects.items():
        partition = maker_of(objects, key)
        if partition is None:
            rest[key] = attributes
        else:
            made.setdefault(partition, {})[key] = attributes
    return rest, made


def expected_partition(models: Mapping[str, dict[str, Mapping[str, Any]]], live: str) -> dict[str, dict[str, Any]]:
    """Return what the partition with the key `live` is to consist of; nothing if its table has no model."""
    match = _NUMBERED.fullmatch(live)
    for model, parts in models.items():
        source = _NUMBERED.fullmatch(model)
        if match and source and match["name"] == source["name"]:
            old, new = f"{match['name']}_{source['number']}", f"{match['name']}_{match['number']}"
            return {
                _renamed(key, old, new): _moved(
                    {name: _renamed(value, old, new) for name, value in attributes.items()}, int(match["number"])
                )
                for key, attributes in parts.items()
            }
    return {}


def _renamed(value: Any, old: str, new: str) -> Any:
    """Return a value with the partition's name in it replaced, with and without its schema."""
    if isinstance(value, str):
        return value.replace(old, new).replace(old.partition(".")[2], new.partition(".")[2])
    if isinstance(value, dict):
        return {_renamed(name, old, new): _renamed(one, old, new) for name, one in value.items()}
    return value


def _moved(attributes: dict[str, Any], number: int) -> dict[str, Any]:
    """Return the attributes with the bounds that the partition of this number has."""
    match = _BOUND.fullmatch(str(attributes.get("partition_bound")))
    if match is None:
        return attributes
    width = int(match["high"]) - int(match["low"])
    bound = f"FOR VALUES FROM ('{number * width}') TO ('{(number + 1) * width}')"
    return attributes | {"partition_bound": bound}
