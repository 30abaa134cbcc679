"""Makes what a policy needs and can't declare itself, a Space and the types and actions of the registry, where it is missing.

What is there is left as it is: the registry belongs to all Spaces of an instance, and what differs is for people to judge.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import msgspec

from shared.ctl.client import ask
from shared.ctl.reports import Report
from shared.identifiers import new_id
from shared.migrations.errors import UsageError

_PATIENCE_SECONDS: Final = 10.0


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class DeclaredSpace(_Entry, frozen=True, kw_only=True):
    """The Space that the application begins with."""

    id: str
    key: str
    name: str


class DeclaredAction(_Entry, frozen=True, kw_only=True):
    """An action of the type that it is declared in."""

    key: str
    display_name: str
    risk_level: str


class DeclaredType(_Entry, frozen=True, kw_only=True):
    """A type of resources with its actions."""

    key: str
    display_name: str
    description: str | None = None
    actions: tuple[DeclaredAction, ...]


class Registry(_Entry, frozen=True, kw_only=True):
    """What a registry.yaml declares."""

    space: DeclaredSpace
    resource_types: tuple[DeclaredType, ...]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A row that is there and isn't as declared: per field what is declared, and what is stored."""

    row: str
    fields: dict[str, tuple[Any, Any]]


class Registered(Report, frozen=True, kw_only=True, tag="plystractl.templates.register/1"):
    """What was made, what was there already, and what is there but differs and was left alone."""

    space_id: str
    made: list[str]
    present: list[str]
    different: list[Difference]


class _Wanted(NamedTuple):
    label: str
    path: str
    by: tuple[str, ...]
    row: dict[str, Any]


def read_registry(file: Path) -> Registry:
    """Read a registry.yaml; raises `UsageError` when it isn't one."""
    try:
        return msgspec.yaml.decode(file.read_bytes(), type=Registry)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(
            f"{file} isn't a registry: {error}.",
            why="It says which Space, types and actions a policy is about.",
            remedy="`plystractl templates create` writes one, as plystra/registry.yaml.",
        ) from error


def register(client: httpx.Client, registry: Registry) -> Registered:
    """Make what is missing, in an order in which it can be made; safe to repeat, and to go on with after a failure."""
    made: list[str] = []
    present: list[str] = []
    different: list[Difference] = []
    for wanted in _wanted(registry):
        stored = _find(client, wanted)
        if stored is None:
            _make(client, wanted)
            made.append(wanted.label)
            continue
        expected = wanted.row | {"status": "active"}
        fields = {name: (value, stored.get(name)) for name, value in expected.items() if stored.get(name) != value}
        if fields:
            different.append(Difference(row=wanted.label, fields=fields))
        else:
            present.append(wanted.label)
    return Registered(space_id=registry.space.id, made=made, present=present, different=different)


def _wanted(registry: Registry) -> Iterator[_Wanted]:
    space = msgspec.to_builtins(registry.space)
    yield _Wanted(f"space {registry.space.id}", "spaces", ("key",), space)
    for type_ in registry.resource_types:
        row = msgspec.to_builtins(type_)
        actions = row.pop("actions")
        yield _Wanted(f"resource type {type_.key}", "resource-types", ("key",), row)
        for action in actions:
            label = f"action {type_.key} {action['key']}"
            row_of_action = {"resource_type": type_.key} | action
            yield _Wanted(label, "resource-actions", ("resource_type", "key"), row_of_action)


def _find(client: httpx.Client, wanted: _Wanted) -> dict[str, Any] | None:
    filters = {field: wanted.row[field] for field in wanted.by}
    answer = ask(client, "GET", f"/api/v1/{wanted.path}", patience=_PATIENCE_SECONDS, params=filters)
    rows: list[dict[str, Any]] = answer.json()["data"]
    return rows[0] if rows else None


def _make(client: httpx.Client, wanted: _Wanted) -> None:
    # Sent again when nobody answered, so it must be harmless twice.
    headers = {"idempotency-key": new_id("register")}
    ask(client, "POST", f"/api/v1/{wanted.path}", patience=_PATIENCE_SECONDS, json=wanted.row, headers=headers)
