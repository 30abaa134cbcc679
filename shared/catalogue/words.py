"""The words that statements are put together from: quoting, and where each kind stands in a script."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from shared.catalogue.model import OF, kind_of, name_of

Object = Mapping[str, Any]
Objects = Mapping[str, Object]
# Where a statement stands in a script, and the statement, without its semicolon.
Step = tuple[int, str]

# In this order things are made; those from `table` on are dropped, in the opposite order, before anything is made, and
# the others, which a column may need up to then, at the end.
_ORDER: Final = (
    "role",
    "schema",
    "extension",
    "language",
    "collation",
    "type",
    "domain",
    "function",
    "procedure",
    "access method",
    "aggregate",
    "operator",
    "operator family",
    "operator class",
    "cast",
    "conversion",
    "text search parser",
    "text search template",
    "text search dictionary",
    "text search configuration",
    "transform",
    "foreign data wrapper",
    "server",
    "user mapping",
    "sequence",
    "table",
    "foreign table",
    "column",
    "view",
    "materialized view",
    "index",
    "constraint",
    "statistics",
    "rule",
    "policy",
    "trigger",
    "publication",
    "subscription",
    "database",
    "settings",
    "default privileges",
    "event trigger",
)
_FIRST_DROPPED_EARLY: Final = _ORDER.index("table")
_STEP: Final = 10
ALTER: Final = _ORDER.index("column") * _STEP + 1
AFTER_TABLES: Final = _ORDER.index("column") * _STEP + 5
FOREIGN_KEY: Final = _ORDER.index("constraint") * _STEP + 5
STATE: Final = _ORDER.index("publication") * _STEP - 1
OWNER: Final = 500
GRANTS: Final = 510
COMMENT: Final = 520
LATE: Final = 1000

_PLAIN: Final = re.compile(r"[a-z_][a-z0-9_]*")


def making(kind: str) -> int:
    """Return where the making of a kind stands."""
    return _ORDER.index(kind) * _STEP


def dropping(kind: str) -> int:
    """Return where the dropping of a kind stands."""
    place = _ORDER.index(kind)
    return -place * _STEP if place >= _FIRST_DROPPED_EARLY else LATE - place * _STEP


def role(name: str) -> str:
    """Return a role's name as SQL writes it; the first superuser, whatever its name here, is who runs the script."""
    if name == "public":
        return name
    return "current_user" if name.startswith("<") else quoted(name)


def quoted(name: str) -> str:
    """Return an identifier, quoted unless it is plain."""
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'


def literal(value: Any) -> str:
    """Return a value as an SQL string."""
    text = str(value).replace("'", "''")
    return f" E'{text.replace(chr(92), chr(92) * 2)}'" if "\\" in text else f"'{text}'"


def listed(options: Mapping[str, Any]) -> str:
    """Return storage parameters as they stand in `with (…)`."""
    return ", ".join(f"{name} = {literal(value)}" for name, value in sorted(options.items()))


def foreign(options: Mapping[str, Any]) -> str:
    """Return options of foreign data, or nothing when there are none."""
    return f" options ({', '.join(f'{quoted(n)} {literal(v)}' for n, v in sorted(options.items()))})" if options else ""


def table_of(key: str, found: Object) -> str:
    """Return the name of the relation that an object is a part of."""
    return name_of(found[OF]) if kind_of(key) != "constraint" else key.rpartition(" on ")[2]


def own_name(key: str) -> str:
    """Return the part of a name that stands before ` on <table>`."""
    return name_of(key).rpartition(" on ")[0]


def column_of(key: str, found: Object) -> str:
    """Return a column's own name."""
    return name_of(key)[len(name_of(found[OF])) + 1 :]


def alter_relation(of: str) -> str:
    """Return how a statement that alters a relation begins."""
    kind = kind_of(of)
    return f"alter {'foreign table' if kind == 'foreign table' else kind} {name_of(of)}"
