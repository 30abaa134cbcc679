"""What any object may have: an owner, grants, a comment, labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shared.catalogue.model import OF, kind_of, name_of
from shared.catalogue.words import (
    COMMENT,
    GRANTS,
    OWNER,
    Object,
    Step,
    column_of,
    literal,
    own_name,
    role,
    table_of,
)

_ON_TABLE = {"constraint", "trigger", "rule", "policy"}
_PUBLIC_BY_DEFAULT = {"function", "procedure", "aggregate", "type", "domain", "language"}
_DEFAULTS = {"tables": (), "sequences": (), "functions": ("public",), "types": ("public",)}


def target(key: str, found: Object) -> str:
    """Return an object as `comment on` and `security label on` name it."""
    kind, name = kind_of(key), name_of(key)
    if kind in _ON_TABLE:
        on = "domain " if found[OF].startswith("domain ") else ""
        return f"{kind} {own_name(key)} on {on}{table_of(key, found)}"
    if kind == "database":
        return "database :database"
    return f"{kind} {name}"


def finish(key: str, found: Object) -> Iterator[Step]:
    """Yield what gives a new object its owner, its grants, its comment."""
    if "owner" in found and kind_of(key) != "extension":
        yield from set_owner(key, found)
    grants: Mapping[str, str] = found.get("grants", {})
    if kind_of(key) in _PUBLIC_BY_DEFAULT and "public" not in grants:
        yield from set_grants(key, found, "public", None, "all")
    for grantee, privileges in sorted(grants.items()):
        by_default = kind_of(key) in _PUBLIC_BY_DEFAULT and grantee == "public"
        if privileges != "all" or (grantee != found.get("owner") and not by_default):
            yield from set_grants(key, found, grantee, privileges, None)
    if "comment" in found:
        yield set_comment(key, found)
    for label in found.get("security_labels", []):
        yield _label(key, found, label, keep=True)


def set_owner(key: str, found: Object) -> Iterator[Step]:
    """Yield the statement that gives an object to its owner."""
    if kind_of(key) != "column" and not (kind_of(key) == "sequence" and OF in found):
        yield OWNER, f"alter {target(key, found)} owner to {role(found['owner'])}"


def set_comment(key: str, found: Object) -> Step:
    """Return the statement that sets or removes a comment."""
    comment = found.get("comment")
    return COMMENT, f"comment on {target(key, found)} is {'null' if comment is None else literal(comment)}"


def set_labels(key: str, expected: Object, live: Object) -> Iterator[Step]:
    """Yield the statements that set and remove security labels."""
    for label in live.get("security_labels", []):
        if label not in expected.get("security_labels", []):
            yield _label(key, expected, label, keep=False)
    for label in expected.get("security_labels", []):
        yield _label(key, expected, label, keep=True)


def set_grants(key: str, found: Object, grantee: str, expected: str | None, live: str | None) -> Iterator[Step]:
    """Yield the statements that take from a grantee what it has and give it what it is to have."""
    if kind_of(key) == "default privileges":
        yield from _set_default_privileges(key, grantee, expected)
        return
    name = role(grantee)
    for grantor in sorted({part.partition(" by ")[2] for part in (live or "all").split(", ")}):
        revoke = f"revoke all{_place(key, found)} from {name} cascade"
        yield GRANTS, f"set role {role(grantor)};\n{revoke};\nreset role" if grantor else revoke
    for part in (expected or "").split(", ") if expected else ():
        privilege, _, grantor = part.partition(" by ")
        privilege, option, _ = privilege.partition(" with grant option")
        grant = f"grant {privilege}{_place(key, found)} to {name}{option}"
        yield GRANTS + 1, f"set role {role(grantor)};\n{grant};\nreset role" if grantor else grant


def _set_default_privileges(key: str, grantee: str, expected: str | None) -> Iterator[Step]:
    whose, _, objects = name_of(key).rpartition(" on ")
    owner, _, schema = whose.removeprefix("for ").partition(" in ")
    begin = f"alter default privileges for role {owner}" + (f" in schema {schema}" if schema else "")
    yield GRANTS, f"{begin} revoke all on {objects} from {role(grantee)}"
    for part in (expected or "").split(", ") if expected else ():
        privilege, option, _ = part.partition(" with grant option")
        yield GRANTS + 1, f"{begin} grant {privilege} on {objects} to {role(grantee)}{option}"


def drop_default_privileges(key: str, live: Object) -> Iterator[Step]:
    """Yield what brings default privileges back to what they are when nobody says anything."""
    whose, _, objects = name_of(key).rpartition(" on ")
    owner, _, schema = whose.removeprefix("for ").partition(" in ")
    for grantee in sorted({*live.get("grants", {}), owner, *_DEFAULTS.get(objects, ())}):
        by_default = not schema and (grantee == owner or grantee in _DEFAULTS.get(objects, ()))
        yield from _set_default_privileges(key, grantee, "all" if by_default else None)


def _place(key: str, found: Object) -> str:
    kind, name = kind_of(key), name_of(key)
    if kind == "column":
        return f" ({column_of(key, found)}) on table {table_of(key, found)}"
    words: dict[str, Any] = {
        "view": "table",
        "materialized view": "table",
        "foreign table": "table",
        "aggregate": "function",
        "server": "foreign server",
        "domain": "type",
    }
    return f" on {words.get(kind, kind)} {':database' if kind == 'database' else name}"


def _label(key: str, found: Object, label: str, *, keep: bool) -> Step:
    provider, _, text = label.partition(": ")
    return COMMENT, f"security label for {provider} on {target(key, found)} is {literal(text) if keep else 'null'}"


def unless_rows(table: str, condition: str, statement: str) -> str:
    """Return a statement that does another unless it would take values with it: what isn't expected may be a renamed one."""
    said = f"{table} holds values that would be lost: was something renamed? Keep or delete them, then run this again"
    return (
        f"do $restore$ begin if exists (select from {table} where {condition}) then "
        f"raise exception using message = {literal(said)}; end if; {statement}; end $restore$"
    )
