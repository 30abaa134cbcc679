"""The statements that make an object that is no part of a relation anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from shared.catalogue.model import OF, kind_of, name_of
from shared.catalogue.words import (
    AFTER_TABLES,
    Object,
    Objects,
    Step,
    column_of,
    foreign,
    listed,
    literal,
    making,
    quoted,
)

Maker = Callable[[Objects, str], Iterator[Step]]


def make_routine(objects: Objects, key: str) -> Iterator[Step]:
    """Yield a function or a procedure, over the one that is there if there is one."""
    routine, name = objects[key], name_of(key).partition("(")[0]
    words = [f"create or replace {kind_of(key)} {name}({routine.get('arguments', '')})"]
    if routine.get("result") is not None:
        words.append(f"returns {routine['result']}")
    words.append(f"language {quoted(routine['language'])}")
    for attribute, text in (
        ("transforms", lambda v: "transform " + ", ".join(f"for type {one}" for one in v)),
        ("window", lambda _: "window"),
        ("volatility", str),
        ("strict", lambda _: "strict"),
        ("security_definer", lambda _: "security definer"),
        ("leakproof", lambda _: "leakproof"),
        ("parallel", lambda v: f"parallel {v}"),
        ("cost", lambda v: f"cost {v:g}"),
        ("rows", lambda v: f"rows {v:g}"),
        ("support", lambda v: f"support {v}"),
    ):
        if attribute in routine:
            words.append(text(routine[attribute]))
    words += [f"set {name} = {_setting(name, value)}" for name, value in sorted(routine.get("settings", {}).items())]
    if "sql_body" in routine:
        words.append(routine["sql_body"])
    elif "library" in routine:
        words.append(f"as {literal(routine['library'])}, {literal(routine['body'])}")
    else:
        words.append(f"as {dollar_quoted(routine['body'])}")
    needs_tables = "sql_body" in routine or any(
        name_of(one) in f"{routine.get('result')} {routine.get('arguments')}"
        for one in objects
        if kind_of(one) in {"table", "view"}
    )
    yield AFTER_TABLES if needs_tables else making(kind_of(key)), "\n".join(words)


def dollar_quoted(text: str) -> str:
    """Return a text between dollar quotes that it doesn't hold."""
    tag = "$$"
    while tag in text:
        tag = f"${tag.strip('$')}x$"
    return f"{tag}{text}{tag}"


def _setting(name: str, value: str) -> str:
    # These are kept as lists that were quoted already.
    lists = {"search_path", "temp_tablespaces", "session_preload_libraries", "shared_preload_libraries"}
    return value or "''" if name in lists else literal(value)


_AGGREGATE: Final = (
    "sspace",
    "finalfunc",
    "combinefunc",
    "serialfunc",
    "deserialfunc",
    "msfunc",
    "minvfunc",
    "mstype",
    "msspace",
    "mfinalfunc",
)


def make_aggregate(objects: Objects, key: str) -> Iterator[Step]:
    """Yield an aggregate."""
    found = objects[key]
    modify = {"r": "read_only", "s": "shareable", "w": "read_write"}
    parts = [f"sfunc = {found['sfunc']}", f"stype = {found['stype']}"]
    for attribute in _AGGREGATE:
        parts += [f"{attribute} = {found[attribute]}"] if attribute in found else []
    for attribute in ("initcond", "minitcond"):
        parts += [f"{attribute} = {literal(found[attribute])}"] if attribute in found else []
    for attribute in ("finalfunc_extra", "mfinalfunc_extra"):
        parts += [attribute] if attribute in found else []
    for attribute in ("finalfunc_modify", "mfinalfunc_modify"):
        parts += [f"{attribute} = {modify[found[attribute]]}"] if attribute in found else []
    if "sortop" in found:
        parts.append(f"sortop = operator({found['sortop'].partition('(')[0]})")
    if "parallel" in found:
        parts.append(f"parallel = {found['parallel']}")
    if found.get("form") == "hypothetical-set":
        parts.append("hypothetical")
    arguments = found.get("arguments", "*")
    yield making("aggregate"), f"create aggregate {name_of(key).partition('(')[0]}({arguments}) ({', '.join(parts)})"


def make_type(objects: Objects, key: str) -> Iterator[Step]:
    """Yield an enum, a range or a composite type; a base type needs functions in C, which no migration of ours has."""
    found, name = objects[key], name_of(key)
    if found["form"] == "enum":
        yield making("type"), f"create type {name} as enum ({', '.join(map(literal, found.get('labels', [])))})"
    elif found["form"] == "range":
        words = [f"subtype = {found['subtype']}", f"subtype_opclass = {found['subtype_opclass']}"]
        for attribute, word in (
            ("subtype_collation", "collation"),
            ("canonical", "canonical"),
            ("subtype_diff", "subtype_diff"),
            ("multirange", "multirange_type_name"),
        ):
            words += [f"{word} = {found[attribute]}"] if attribute in found else []
        yield making("type"), f"create type {name} as range ({', '.join(words)})"
    elif found["form"] == "composite":
        columns = sorted(
            (k for k, o in objects.items() if o.get(OF) == key and kind_of(k) == "column"),
            key=lambda k: int(objects[k]["position"]),
        )
        inside = ", ".join(_attribute(column, objects[column]) for column in columns)
        yield making("type") + 1, f"create type {name} as ({inside})"
    else:
        yield (
            making("type"),
            f"create type {name}" if found["form"] == "shell" else f"-- {name} is made by an extension",
        )


def _attribute(key: str, column: Object) -> str:
    collation = f" collate {column['collation']}" if "collation" in column else ""
    return f"{column_of(key, column)} {column['type']}{collation}"


def make_domain(objects: Objects, key: str) -> Iterator[Step]:
    """Yield a domain; its constraints follow."""
    found = objects[key]
    words = [f"create domain {name_of(key)} as {found['type']}"]
    words += [f"collate {found['collation']}"] if "collation" in found else []
    words += [f"default {found['default']}"] if "default" in found else []
    words += ["not null"] if "not_null" in found else []
    yield making("domain"), " ".join(words)


def make_publication(objects: Objects, key: str) -> Iterator[Step]:
    """Yield a publication."""
    found = objects[key]
    parts = [f"table {name} {more}".rstrip() for name, more in sorted(found.get("tables", {}).items())]
    parts += [f"tables in schema {name}" for name in found.get("schemas", [])]
    what = " for all tables" if "all_tables" in found else f" for {', '.join(parts)}" if parts else ""
    options = {"publish": found["operations"]} | ({"publish_via_partition_root": "true"} if "via_root" in found else {})
    options |= {"publish_generated_columns": "stored"} if "generated_columns" in found else {}
    yield making("publication"), f"create publication {name_of(key)}{what} with ({listed(options)})"


def make_event_trigger(objects: Objects, key: str) -> Iterator[Step]:
    """Yield an event trigger, switched as it is to be."""
    found, name = objects[key], name_of(key)
    tags = f" when tag in ({', '.join(map(literal, found['tags']))})" if "tags" in found else ""
    rank = making("event trigger") + LAST
    yield rank, f"create event trigger {name} on {found['event']}{tags} execute function {found['function']}()"
    if "enabled" in found:
        yield rank + 1, switch_event_trigger(name, found["enabled"])


# An event trigger may refuse what a script does, so it is made when everything else is done.
LAST: Final = 10_000


def switch_event_trigger(name: str, enabled: str | None) -> str:
    """Return the statement that switches an event trigger on or off."""
    words = {"disabled": "disable", "replica": "enable replica", "always": "enable always"}
    return f"alter event trigger {name} {words.get(enabled or '', 'enable')}"


def _members(found: Object) -> str:
    return ", ".join(found.get("members", []))


def _plain(statement: Callable[[str, Object], str]) -> Maker:
    def make(objects: Objects, key: str) -> Iterator[Step]:
        yield making(kind_of(key)), statement(name_of(key), objects[key])

    return make


def _collation(name: str, found: Object) -> str:
    words = [f"provider = {found['provider']}"]
    words += [f"{n} = {literal(found[n])}" for n in ("locale", "lc_collate", "lc_ctype", "rules") if n in found]
    words += ["deterministic = false"] if "nondeterministic" in found else []
    return f"create collation {name} ({', '.join(words)})"


def _operator(_: str, found: Object) -> str:
    def bare(operator: str) -> str:
        return f"operator({operator.partition('(')[0]})"

    words = [f"function = {found['function']}"]
    words += [f"leftarg = {found['left']}"] if "left" in found else []
    words += [f"rightarg = {found['right']}"]
    words += [f"{n} = {bare(found[n])}" for n in ("commutator", "negator") if n in found]
    words += [f"{n} = {found[n]}" for n in ("restrict", "join") if n in found]
    words += [n for n in ("hashes", "merges") if n in found]
    return f"create operator {found['name']} ({', '.join(words)})"


def _operator_class(name: str, found: Object) -> str:
    own, _, method = name.rpartition(" using ")
    default = " default" if "default" in found else ""
    members = _members(found) or f"storage {found['type']}"
    family = f" family {found['family']}"
    return f"create operator class {own}{default} for type {found['type']} using {method}{family} as {members}"


def _operator_family(name: str, found: Object) -> str:
    more = f";\nalter operator family {name} add {_members(found)}" if "members" in found else ""
    return f"create operator family {name}{more}"


def _cast(name: str, found: Object) -> str:
    how = {"binary": "without function", "inout": "with inout"}.get(
        found["method"], f"with function {found.get('function')}"
    )
    return f"create cast {name} {how}" + (f" as {found['context']}" if found["context"] != "explicit" else "")


def _conversion(name: str, found: Object) -> str:
    default = "default " if "default" in found else ""
    return (
        f"create {default}conversion {name} for {literal(found['from'])} to {literal(found['to'])} "
        f"from {found['function']}"
    )


def _configuration(name: str, found: Object) -> str:
    return ";\n".join(
        [
            f"create text search configuration {name} (parser = {found['parser']})",
            *(
                f"alter text search configuration {name} add mapping for {token} with {', '.join(dictionaries)}"
                for token, dictionaries in sorted(found.get("mappings", {}).items())
            ),
        ]
    )


def _dictionary(name: str, found: Object) -> str:
    options = f", {found['options']}" if "options" in found else ""
    return f"create text search dictionary {name} (template = {found['template']}{options})"


def _given(words: Mapping[str, str], found: Object) -> str:
    return ", ".join(f"{word} = {found[attribute]}" for attribute, word in words.items() if attribute in found)


_PARSER: Final = {n: n for n in ("start", "gettoken", "end", "lextypes", "headline")}


def _parser(name: str, found: Object) -> str:
    return f"create text search parser {name} ({_given(_PARSER, found)})"


def _template(name: str, found: Object) -> str:
    return f"create text search template {name} ({_given({'init': 'init', 'lexize': 'lexize'}, found)})"


def _transform(name: str, found: Object) -> str:
    words = [
        *([f"from sql with function {found['from_sql']}"] if "from_sql" in found else []),
        *([f"to sql with function {found['to_sql']}"] if "to_sql" in found else []),
    ]
    return f"create transform {name} ({', '.join(words)})"


def _language(name: str, found: Object) -> str:
    trusted = "" if "untrusted" in found else "trusted "
    words = "".join(f" {n} {found[n]}" for n in ("handler", "inline", "validator") if n in found)
    return f"create {trusted}language {name}{words}"


def _wrapper(name: str, found: Object) -> str:
    words = "".join(f" {n} {found[n]}" for n in ("handler", "validator") if n in found)
    return f"create foreign data wrapper {name}{words}{foreign(found.get('options', {}))}"


def _server(name: str, found: Object) -> str:
    words = "".join(f" {n} {literal(found[n])}" for n in ("type", "version") if n in found)
    return f"create server {name}{words} foreign data wrapper {found['wrapper']}{foreign(found.get('options', {}))}"


def _extension(name: str, found: Object) -> str:
    return f"create extension {name} schema {found['schema']} version {literal(found['version'])}"


def _role(name: str, found: Object) -> str:
    return f"create role {name}" + (" login" if "login" in found else "")


def _nothing(_: Objects, __: str) -> Iterator[Step]:
    return iter(())


MAKERS: Final[Mapping[str, Maker]] = {
    "schema": _plain(lambda name, _: f"create schema {name}"),
    "extension": _plain(_extension),
    "function": make_routine,
    "procedure": make_routine,
    "aggregate": make_aggregate,
    "type": make_type,
    "domain": make_domain,
    "collation": _plain(_collation),
    "operator": _plain(_operator),
    "operator class": _plain(_operator_class),
    "operator family": _plain(_operator_family),
    "cast": _plain(_cast),
    "conversion": _plain(_conversion),
    "text search configuration": _plain(_configuration),
    "text search dictionary": _plain(_dictionary),
    "text search parser": _plain(_parser),
    "text search template": _plain(_template),
    "transform": _plain(_transform),
    "language": _plain(_language),
    "access method": _plain(lambda name, o: f"create access method {name} type {o['form']} handler {o['handler']}"),
    "foreign data wrapper": _plain(_wrapper),
    "server": _plain(_server),
    "user mapping": _plain(lambda name, _: f"create user mapping {name}"),
    "publication": make_publication,
    "event trigger": make_event_trigger,
    "role": _plain(_role),
    "subscription": _plain(lambda name, _: f"-- where the subscription {name} led to isn't known"),
    "default privileges": _nothing,
    "settings": _nothing,
    "database": _nothing,
}
