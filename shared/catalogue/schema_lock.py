"""`schema.lock.json`: the catalogue that is expected after all migrations, and what each of them did to it.

Kept are the last catalogue and, for each migration, the values before it of all that it touched: so the catalogue at any
earlier point is found by going backwards. One object stands on one line, that a change reads well in version control.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from shared.catalogue.model import Catalogue, digest

SCHEMA_LOCK_FILE: Final = "schema.lock.json"
FORMAT: Final = 1

Attributes = dict[str, Any]


class UnknownPoint(LookupError):
    """The applied migrations aren't the first so many of those that the lock file knows."""


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """What a migration did: objects that it added and removed, and changed ones as they were before and after."""

    added: dict[str, Attributes]
    removed: dict[str, Attributes]
    changed: dict[str, tuple[Attributes, Attributes]]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A migration, the digest of the catalogue after it, and what it touched as it was before (None: not there)."""

    id: str
    digest: str
    before: dict[str, Attributes | None]


class SchemaLock(msgspec.Struct, frozen=True, kw_only=True):
    """What a lock file says."""

    format: int
    service: str
    postgres_major: int
    history: list[Step]
    objects: dict[str, Attributes]

    @classmethod
    def from_replay(cls, service: str, base: Catalogue, after: Sequence[tuple[str, Catalogue]]) -> Self:
        """Return the lock of what a replay saw: the catalogue before the first migration, and after each of them."""
        history = []
        last = base
        for id, catalogue in after:
            touched = [
                key
                for key in sorted({*last.objects, *catalogue.objects})
                if last.objects.get(key) != catalogue.objects.get(key)
            ]
            before = {key: last.objects.get(key) for key in touched}
            history.append(Step(id=id, digest=digest(catalogue), before=before))
            last = catalogue
        return cls(
            format=FORMAT,
            service=service,
            postgres_major=base.postgres_major,
            history=history,
            objects=last.objects,
        )

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the migrations in the order in which they were replayed."""
        return tuple(step.id for step in self.history)

    def at(self, applied: Sequence[str]) -> Catalogue:
        """Return the catalogue that is expected when exactly these are applied; before the first, that of the bookkeeping.

        Raises `UnknownPoint` when they aren't the first so many.
        """
        if tuple(applied) != self.ids[: len(applied)]:
            unknown = next((id for id, known in zip(applied, [*self.ids, *applied], strict=False) if id != known), "")
            raise UnknownPoint(unknown)
        return Catalogue(postgres_major=self.postgres_major, objects=self._after(len(applied)))

    def effect(self, id: str) -> Effect:
        """Return what a migration did; raises `UnknownPoint` for one that isn't known."""
        if id not in self.ids:
            raise UnknownPoint(id)
        place = self.ids.index(id)
        before, after = self.history[place].before, self._after(place + 1)
        added, removed, changed = {}, {}, {}
        for key, value in before.items():
            now = after.get(key)
            if value is None and now is not None:
                added[key] = now
            elif value is not None and now is None:
                removed[key] = value
            elif value is not None and now is not None:
                changed[key] = (value, now)
        return Effect(added=added, removed=removed, changed=changed)

    def _after(self, count: int) -> dict[str, Attributes]:
        objects = dict(self.objects)
        for step in reversed(self.history[count:]):
            _put(objects, step.before)
        return dict(sorted(objects.items()))


def read_schema_lock(folder: Path) -> SchemaLock | None:
    """Read the lock file of a folder; None when there is none. Raises `msgspec.DecodeError` when it isn't one."""
    try:
        content = (folder / SCHEMA_LOCK_FILE).read_bytes()
    except FileNotFoundError:
        return None
    lock = msgspec.json.decode(content, type=SchemaLock)
    if lock.format != FORMAT:
        raise msgspec.ValidationError(f"it has format {lock.format}, this release knows {FORMAT}")
    return lock


def render_schema_lock(lock: SchemaLock) -> str:
    """Return the text of a lock file: the same lock gives the same bytes."""
    head = {"format": lock.format, "service": lock.service, "postgres_major": lock.postgres_major}
    lines = [f"{_json(name)}: {_json(value)}," for name, value in head.items()]
    lines.append('"history": [')
    for number, step in enumerate(lock.history, 1):
        comma = "," * (number < len(lock.history))
        lines.append(f'{{"id": {_json(step.id)}, "digest": {_json(step.digest)}, "before": {{')
        lines += _members(step.before)
        lines.append(f"}}}}{comma}")
    lines += ["],", '"objects": {', *_members(lock.objects), "}"]
    return "\n".join(["{", *lines, "}"]) + "\n"


def _members(objects: Mapping[str, Attributes | None]) -> list[str]:
    last = len(objects)
    return [f"{_json(key)}: {_json(objects[key])}{',' * (n < last)}" for n, key in enumerate(sorted(objects), 1)]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _put(objects: dict[str, Attributes], before: Mapping[str, Attributes | None]) -> None:
    for key, value in before.items():
        if value is None:
            objects.pop(key, None)
        else:
            objects[key] = value
