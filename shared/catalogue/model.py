"""The values: a catalogue, and a difference between two.

An object's key is its kind and its name as SQL writes it: `table authz.space`, `column authz.space.id`,
`constraint space_pkey on authz.space`, `function authz.f(text)`. An attribute that is as by default is absent. `of` names
the object that it is a part of and goes with; it is no attribute that could differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

import msgspec

OF: Final = "of"
MADE_BY: Final = "made_by"
# Known for making an object anew, or for telling what follows from what. Whether something came from the parent changes no
# row and no answer, only what a later drop at the parent would take with it, and there is no statement that sets it.
UNCOMPARED: Final = frozenset({OF, MADE_BY, "position", "optional", "inherited", "clone"})

KINDS: Final = (
    "access method",
    "aggregate",
    "cast",
    "collation",
    "column",
    "constraint",
    "conversion",
    "database",
    "default privileges",
    "domain",
    "event trigger",
    "extension",
    "foreign data wrapper",
    "foreign table",
    "function",
    "index",
    "language",
    "materialized view",
    "operator",
    "operator class",
    "operator family",
    "policy",
    "procedure",
    "publication",
    "role",
    "rule",
    "schema",
    "sequence",
    "server",
    "settings",
    "statistics",
    "subscription",
    "table",
    "text search configuration",
    "text search dictionary",
    "text search parser",
    "text search template",
    "transform",
    "trigger",
    "type",
    "user mapping",
    "view",
)
_LONGEST_FIRST: Final = sorted(KINDS, key=len, reverse=True)


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a database consists of but its rows, as PostgreSQL of that major version describes it."""

    postgres_major: int
    objects: dict[str, dict[str, Any]]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that isn't as expected; `attribute` is None when it is about the whole object.

    `ranks` says of each statement of `restore` where it stands among those of other differences.
    """

    kind: Literal["missing", "unexpected", "changed"]
    object: str
    attribute: str | None
    expected: Any
    live: Any
    restore: list[str]
    ranks: list[int]

    def __str__(self) -> str:
        """Return it as one sentence."""
        if self.attribute is None:
            return f"{self.object} is {'missing' if self.kind == 'missing' else 'there, and not expected'}"
        expected, live = ("absent" if value is None else value for value in (self.expected, self.live))
        return f"{self.object}: {self.attribute} is {live}, expected was {expected}"


def kind_of(key: str) -> str:
    """Return the kind of the object with that key."""
    return next(kind for kind in _LONGEST_FIRST if key.startswith(f"{kind} "))


def name_of(key: str) -> str:
    """Return the name of the object with that key, as SQL writes it."""
    return key[len(kind_of(key)) + 1 :]


def root_of(objects: Mapping[str, Mapping[str, Any]], key: str) -> str:
    """Return the key of the outermost object that this one is a part of."""
    return list(_upwards(objects, key))[-1]


def is_part_of(objects: Mapping[str, Mapping[str, Any]], key: str, whole: str) -> bool:
    """Tell whether an object is another one, or goes with it."""
    return whole in _upwards(objects, key)


def maker_of(objects: Mapping[str, Mapping[str, Any]], key: str) -> str | None:
    """Return the key of the partition, made as data comes, that this object is or is a part of, if it is."""
    return next((one for one in _upwards(objects, key) if MADE_BY in objects.get(one, {})), None)


def digest(catalogue: Catalogue) -> str:
    """Return the SHA-256 of what is compared; how many partitions the data has made by now makes no difference."""
    compared = {
        key: {name: value for name, value in attributes.items() if name not in UNCOMPARED}
        for key, attributes in catalogue.objects.items()
        if "optional" not in attributes and maker_of(catalogue.objects, key) is None
    }
    document = msgspec.json.encode([catalogue.postgres_major, compared], order="sorted")
    return hashlib.sha256(document).hexdigest()


def _upwards(objects: Mapping[str, Mapping[str, Any]], key: str) -> Iterator[str]:
    step: str | None = key
    while step is not None:
        yield step
        step = objects.get(step, {}).get(OF)
