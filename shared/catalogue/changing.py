"""The statements that change one attribute of an object to what is expected."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from shared.catalogue.belongings import (
    set_comment,
    set_grants,
    set_labels,
    set_owner,
)
from shared.catalogue.changing_cluster import change_role, enforce, setting_statement
from shared.catalogue.making_objects import LAST, switch_event_trigger
from shared.catalogue.making_relations import (
    attach,
    column_definition,
    identity,
    replica_identity,
    sequence_parameters,
    switch,
)
from shared.catalogue.model import OF, kind_of, name_of
from shared.catalogue.words import (
    ALTER,
    LATE,
    STATE,
    Objects,
    Step,
    alter_relation,
    column_of,
    dropping,
    literal,
    making,
    own_name,
    quoted,
    table_of,
)


class Change:
    """One attribute of one object: what it is, and what it is to be."""

    def __init__(self, expected: Objects, live: Objects, key: str, attribute: str) -> None:
        """Keep both catalogues, since a statement may have to name what belongs to the object."""
        self.objects, self.live_objects, self.key = expected, live, key
        self.kind, self.name = kind_of(key), name_of(key)
        self.expected, self.live = expected[key], live[key]
        self.attribute, _, self.member = attribute.partition(".")

    @property
    def value(self) -> Any:
        """What the attribute, or the member of it, is to be."""
        return self._of(self.expected)

    @property
    def live_value(self) -> Any:
        """What it is."""
        return self._of(self.live)

    def _grants_anew(self) -> Iterator[Step]:
        """Yield all grants: what the owner in between had been granted went into its ownership."""
        grants: Mapping[str, str] = self.expected.get("grants", {})
        for grantee in sorted({*grants, *self.live.get("grants", {})} - {self.expected["owner"]}):
            yield from set_grants(self.key, self.expected, grantee, grants.get(grantee), None)

    def _of(self, found: Mapping[str, Any]) -> Any:
        value = found.get(self.attribute)
        return value.get(self.member) if self.member and isinstance(value, dict) else value

    def steps(self) -> list[Step] | None:
        """Return the statements, or None when only making the object anew will do."""
        if self.attribute == "owner" and self.kind != "extension":
            return [*set_owner(self.key, self.expected), *self._grants_anew()]
        if self.attribute == "comment":
            return [set_comment(self.key, self.expected)]
        if self.attribute == "security_labels":
            return list(set_labels(self.key, self.expected, self.live))
        if self.attribute == "grants":
            return list(set_grants(self.key, self.expected, self.member, self.value, self.live_value))
        change = getattr(self, f"_{self.kind.replace(' ', '_')}", None)
        statements = change() if change else None
        return None if statements is None else [(ALTER, one) if isinstance(one, str) else one for one in statements]

    def _options(self, begin: str, prefix: str = "") -> list[str]:
        if self.value is None:
            return [f"{begin} reset ({prefix}{self.member})"]
        return [f"{begin} set ({prefix}{self.member} = {literal(self.value)})"]

    def _foreign_options(self, begin: str) -> list[str]:
        if self.value is None:
            return [f"{begin} options (drop {quoted(self.member)})"]
        word = "add" if self.live_value is None else "set"
        return [f"{begin} options ({word} {quoted(self.member)} {literal(self.value)})"]

    def _table(self) -> list[str | Step] | None:
        begin = f"alter table {self.name}"
        match self.attribute:
            case "persistence":
                return [f"{begin} set {'unlogged' if self.value else 'logged'}"]
            case "access_method":
                return [f"{begin} set access method {self.value or 'heap'}"]
            case "options":
                return [*self._options(begin)]
            case "toast_options":
                return [*self._options(begin, "toast.")]
            case "row_security":
                return [f"{begin} {'enable' if self.value else 'disable'} row level security"]
            case "force_row_security":
                return [f"{begin} {'' if self.value else 'no '}force row level security"]
            case "replica_identity":
                return [(STATE, replica_identity(self.name, self.value))]
            case "tablespace":
                return [f"{begin} set tablespace {self.value or 'pg_default'}"]
            case "partition_of" | "partition_bound":
                steps: list[str | Step] = []
                if "partition_of" in self.live:
                    steps.append(
                        (dropping("column"), f"alter table {self.live['partition_of']} detach partition {self.name}")
                    )
                if "partition_of" in self.expected:
                    steps.append((making("index") - 1, attach(self.name, self.expected)))
                return steps
            case "detach_pending":
                begin = f"alter table {self.live['partition_of']} detach partition {self.name} finalize"
                return [(dropping("column"), begin), (making("index") - 1, attach(self.name, self.expected))]
            case "inherits":
                parents = set(self.live_value or ())
                return [
                    *(f"{begin} no inherit {parent}" for parent in sorted(parents)),
                    *((ALTER + 1, f"{begin} inherit {parent}") for parent in self.value or ()),
                ]
            case "of_type":
                return [f"{begin} of {self.value}" if self.value else f"{begin} not of"]
        return None

    def _foreign_table(self) -> list[str] | None:
        return (
            self._foreign_options(f"alter foreign table {self.name}") if self.attribute == "foreign_options" else None
        )

    def _view(self) -> list[str] | None:
        return self._options(f"alter view {self.name}") if self.attribute == "options" else None

    def _materialized_view(self) -> list[str | Step] | None:
        begin = f"alter materialized view {self.name}"
        match self.attribute:
            case "options":
                return [*self._options(begin)]
            case "tablespace":
                return [f"{begin} set tablespace {self.value or 'pg_default'}"]
            case "unpopulated":
                return [(STATE, f"refresh materialized view {self.name}{' with no data' if self.value else ''}")]
            case "access_method":
                return [f"{begin} set access method {self.value or 'heap'}"]
        return None

    def _sequence(self) -> list[str]:
        begin = f"alter sequence {self.name}"
        if self.attribute == "persistence":
            return [f"{begin} set {'unlogged' if self.value else 'logged'}"]
        if self.attribute == "owned_by":
            return [f"{begin} owned by {self.value or 'none'}"]
        # All of them at once: a bound must fit the type and the start the bounds.
        return [f"{begin} as {self.expected['data_type']} {sequence_parameters(self.expected)}"]

    def _column(self) -> list[str | Step] | None:
        of, column = self.expected[OF], column_of(self.key, self.expected)
        if kind_of(of) == "type":
            return [f"alter type {name_of(of)} alter attribute {column} type {self._typed()} cascade"]
        begin = f"{alter_relation(of)} alter column {column}"
        match self.attribute:
            case "type" | "collation":
                using = "" if kind_of(of) == "foreign table" else f" using {column}::{self.expected['type']}"
                return [f"{begin} type {self._typed()}{using}"]
            case "not_null":
                return [*self._not_null(begin, column)]
            case "default":
                return [(ALTER + 1, f"{begin} set default {self.value}" if self.value else f"{begin} drop default")]
            case "generated" | "generated_kind":
                if not self.value and self.live.get("generated_kind") == "stored":
                    return [f"{begin} drop expression"]
                # What it held can be worked out again, or was never stored.
                table = alter_relation(of)
                return [
                    (dropping("column"), f"{table} drop column {column}"),
                    (making("column"), f"{table} add column {column_definition(self.objects, self.key)}"),
                ]
            case "identity":
                return [*self._identity(begin)]
            case "storage":
                return [f"{begin} set storage {self.value or 'default'}"]
            case "compression":
                return [f"{begin} set compression {self.value or 'default'}"]
            case "statistics":
                return [f"{begin} set statistics {-1 if self.value is None else self.value}"]
            case "options":
                return [*self._options(begin)]
            case "foreign_options":
                return [*self._foreign_options(begin)]
        return None

    def _typed(self) -> str:
        collation = f" collate {self.expected['collation']}" if "collation" in self.expected else ""
        return f"{self.expected['type']}{collation}"

    def _not_null(self, begin: str, column: str) -> list[str]:
        if not self.value:
            return [f"{begin} drop not null"]
        named = [k for k, o in self.objects.items() if o.get(OF) == self.key and o.get("form") == "not null"]
        if not named:
            return [f"{begin} set not null"]
        return [f"{alter_relation(self.expected[OF])} add constraint {own_name(named[0])} not null {column}"]

    def _identity(self, begin: str) -> list[str | Step]:
        if not self.value:
            return [f"{begin} drop identity"]
        if not self.live_value:
            return [(ALTER + 3, f"{begin} add {identity(self.objects, self.key)}")]
        return [f"{begin} set generated {self.value}"]

    def _constraint(self) -> list[str | Step] | None:
        if self.attribute == "triggers":
            return [(STATE, enforce(table_of(self.key, self.expected), own_name(self.key)))]
        if self.attribute == "not_valid" and not self.value:
            begin = "domain" if self.expected[OF].startswith("domain ") else "table"
            return [
                (STATE, f"alter {begin} {table_of(self.key, self.expected)} validate constraint {own_name(self.key)}")
            ]
        return None

    def _index(self) -> list[str | Step] | None:
        begin = f"alter index {self.name}"
        match self.attribute:
            case "options":
                return [*self._options(begin)]
            case "tablespace":
                return [f"{begin} set tablespace {self.value or 'pg_default'}"]
            case "invalid":
                return [(STATE, f"reindex index {self.name}")]
            case "clustered":
                table = f"alter table {self.expected['table']}"
                own = self.name.rpartition(".")[2]
                return [(STATE, f"{table} cluster on {own}" if self.value else f"{table} set without cluster")]
            case "statistics":
                value = -1 if self.value is None else self.value
                return [(STATE, f"{begin} alter column {self.member} set statistics {value}")]
            case "partition_of":
                return [(STATE, f"alter index {self.value} attach partition {self.name}")] if self.value else None
        return None

    def _trigger(self) -> list[str | Step] | None:
        if self.attribute == "inherited":
            return []  # attaching its table says it
        return [(STATE, switch("trigger", self.key, self.expected))] if self.attribute == "enabled" else None

    def _rule(self) -> list[str | Step] | None:
        return [(STATE, switch("rule", self.key, self.expected))] if self.attribute == "enabled" else None

    def _statistics(self) -> list[str | Step] | None:
        if self.attribute != "statistics":
            return None
        return [(STATE, f"alter statistics {self.name} set statistics {-1 if self.value is None else self.value}")]

    def _domain(self) -> list[str | Step] | None:
        begin = f"alter domain {self.name}"
        match self.attribute:
            case "default":
                return [f"{begin} set default {self.value}" if self.value else f"{begin} drop default"]
            case "not_null":
                named = [k for k, o in self.objects.items() if o.get(OF) == self.key and o.get("form") == "not null"]
                if self.value and named:
                    return [f"{begin} add constraint {own_name(named[0])} not null"]
                return [f"{begin} {'set' if self.value else 'drop'} not null"]
        return None

    def _type(self) -> list[str | Step] | None:
        if self.attribute != "labels":
            return None
        missing = [label for label in self.value if label not in self.live_value]
        if [label for label in self.value if label in self.live_value] != self.live_value:
            return None
        steps: list[str | Step] = []
        for label in missing:
            place = self.value.index(label)
            beside = f"after {literal(self.value[place - 1])}" if place else f"before {literal(self.live_value[0])}"
            steps.append(f"alter type {self.name} add value {literal(label)} {beside}")
        return steps

    def _extension(self) -> list[str | Step] | None:
        match self.attribute:
            case "version":
                return [f"alter extension {self.name} update to {literal(self.value)}"]
            case "schema":
                return [f"alter extension {self.name} set schema {self.value}"]
            case "added":
                # Before anything is dropped: as a member it can't be, or the extension would take it along.
                return [(-LATE, f"alter extension {self.name} drop {self.member}")]
        return []

    def _server(self) -> list[str] | None:
        begin = f"alter server {self.name}"
        if self.attribute == "version":
            return [f"{begin} version {literal(self.value) if self.value else 'null'}"]
        return self._foreign_options(begin) if self.attribute == "options" else None

    def _foreign_data_wrapper(self) -> list[str] | None:
        begin = f"alter foreign data wrapper {self.name}"
        match self.attribute:
            case "options":
                return self._foreign_options(begin)
            case "handler" | "validator":
                return [f"{begin} {self.attribute} {self.value}" if self.value else f"{begin} no {self.attribute}"]
        return None

    def _event_trigger(self) -> list[str | Step] | None:
        if self.attribute != "enabled":
            return None
        return [(LAST, switch_event_trigger(self.name, self.value))]

    def _database(self) -> list[str]:
        match self.attribute:
            case "connection_limit":
                return [f"alter database :database connection limit {-1 if self.value is None else self.value}"]
            case "is_template":
                return [f"alter database :database is_template {'true' if self.value else 'false'}"]
            case "system_objects":
                return [self._take_from_everybody()]
        return ["-- the encoding of a database can't be changed: restore a dump into one that has the expected one"]

    def _take_from_everybody(self) -> str:
        kind, _, name = self.member.partition(" ")
        if self.member.startswith("table column "):
            table, _, column = name.removeprefix("column ").rpartition(".")
            return (
                f"revoke {', '.join(f'{one} ({column})' for one in self.live_value.split(', '))} on {table} from public"
            )
        word = kind if kind in {"function", "schema"} else "table"
        return f"revoke {self.live_value} on {word} {self.member.rpartition(' ')[2] if word == 'table' else name} from public"

    def _settings(self) -> list[str]:
        return [setting_statement(self.name, self.member, self.value)]

    def _role(self) -> list[str]:
        return change_role(self.name, self.attribute, self.member, self.value, self.live_value)

    def _operator(self) -> list[str] | None:
        if self.attribute not in {"restrict", "join"}:
            return None
        return [f"alter operator {self.name} set ({self.attribute} = {self.value or 'none'})".replace("(", " (", 1)]

    def _text_search_dictionary(self) -> list[str] | None:
        if self.attribute != "options":
            return None
        gone = [name for name in _options_in(self.live_value) if name not in _options_in(self.value)]
        return [f"alter text search dictionary {self.name} ({', '.join([*filter(None, [self.value]), *gone])})"]


def _options_in(text: str | None) -> list[str]:
    return re.findall(r"(\w+) = ", text or "")
