"""How a row is written in an event: as plain JSON values, every time in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from services.authz.rows import Row
from shared.canonical import NotCanonical, canonical_json
from shared.problems import problem_at


def image_of(row: Row) -> dict[str, Any]:
    """Write a row as plain JSON values, every time in UTC."""
    return plain_values(msgspec.structs.asdict(row))


def plain_values(values: dict[str, Any]) -> dict[str, Any]:
    """Write values as events do, every time in UTC; raises a 400 problem for a time that has no such form."""
    return {name: msgspec.to_builtins(_in_utc(name, value)) for name, value in values.items()}


def _in_utc(name: str, value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        says = "lies outside the years 1 to 9999"
        raise problem_at("validation_failed", f"/{name}", says) from error


def canonical_image(row: dict[str, Any]) -> bytes:
    """Write a row of plain JSON values as its event has it; raises a 400 problem for a value that has no such form."""
    try:
        return canonical_json(row)
    except NotCanonical as error:
        raise problem_at("validation_failed", error.pointer, error.detail) from error


def is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether two rows are written alike: to Python 1 and true are equal, and to no reader of an event."""
    return canonical_image(one) == canonical_image(other)
