"""Reads migration files as a reviewer does, and finds what a rule of `lint_rules` speaks against.

Pure functions over the text. What squawk sees (rewrites, long locks, types) is left to squawk, and nothing is found twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from shared.catalogue.schema_lock import SchemaLock
from shared.migrations.files import MigrationFile, MigrationFolder
from shared.migrations.header_effect import disagreements
from shared.migrations.lint_rules import REVIEWERS, LintFinding, broken_rule
from shared.migrations.statements import located_statements

Found = Iterator[tuple[str, int, str]]

_NAME: Final = r"(?:(?:\w+|\"[^\"]+\") \. )?(?P<name>\w+|\"[^\"]+\")"
_INDEX: Final = re.compile(
    r"create (?:unique )?index (?:concurrently )?(?:if not exists )?(?P<index>\S+) on (?:only )?" + _NAME
)
_TABLE: Final = re.compile(
    r"(?:create (?:unlogged )?table (?:if not exists )?|alter table (?:if exists )?(?:only )?)" + _NAME
)
_CONSTRAINT: Final = re.compile(
    r"(?<!drop )(?<!validate )(?<!alter )(?<!rename )constraint (?!trigger )(?P<name>\w+|\"[^\"]+\") "
    r"(?:check|unique|primary|foreign|references|exclude|not null)"
)
_ROWS: Final = frozenset({"insert", "update", "delete", "merge", "truncate", "copy"})
_SCHEMA: Final = frozenset({"alter", "comment", "create", "drop", "grant", "reindex", "revoke"})
_CONTRACTING: Final = re.compile(
    r"drop (?:table|view|materialized|schema|type|domain|sequence|function|procedure|column)\b|\brename\b"
)
_DROPPED_COLUMN: Final = re.compile(
    r"alter table .*\bdrop (?!constraint|default|not|identity|expression)(?:if exists )?\w"
)
_GRANTEES: Final = re.compile(r"^grant .* to (?P<grantees>.*?)(?P<option> with .*)?$")
_NO_TRANSACTION: Final = re.compile(
    r"^(?:create (?:unique )?index concurrently|drop index concurrently|reindex .*concurrently|vacuum|alter system"
    r"|create database|drop database|create tablespace|alter type .*\badd value|alter table .*\bdetach .*concurrently)"
)
_SENSITIVE: Final = re.compile(
    r"\b(?:authz \. (?:user_member|member_role|role_permission|resource)|audit \. \w+|deny_code|trace_id|traceparents?"
    r"|authz \. \"?group\"? .*\bpath|group_path\w*)\b"
)
_IGNORE: Final = re.compile(r"^\s*--\s*plystra-ignore\s+(?P<rule>\w+)(?P<reason>\s*:\s*\S.*)?$", re.MULTILINE)
_NO_GRANT: Final = re.compile(r"^--\s*no grant:\s*(?:\w+\.)?(?P<table>\w+)\s*:\s*\S", re.MULTILINE)


def lint_folder(folder: MigrationFolder, schema: SchemaLock | None, place: str) -> list[LintFinding]:
    """Return what the rules say of each migration; `place` is the folder as findings name it.

    `schema` tells what each migration did to the catalogue, as far as that is known.
    """
    service = folder.service
    findings = [broken_rule(service, fault.code, f"{place}/{fault.subject}", 1, fault.seen) for fault in folder.faults]
    faulty = {fault.subject for fault in folder.faults if fault.code == "bad_header"}
    for migration in folder.migrations:
        if migration.name in faulty:
            continue  # the rules go by the header
        ignored = {match["rule"] for match in _IGNORE.finditer(migration.sql)}
        findings += [
            broken_rule(service, rule, f"{place}/{migration.name}", line, seen)
            for rule, line, seen in _rules(service, migration, schema)
            if rule not in ignored
        ]
    return findings


def _rules(service: str, migration: MigrationFile, schema: SchemaLock | None) -> Found:
    statements = [(line, " ".join(tokens)) for line, tokens in located_statements(migration.sql)]
    for match in _IGNORE.finditer(migration.sql):
        if match["reason"] is None:
            line = migration.sql.count("\n", 0, match.start("rule")) + 1
            yield "ignored_without_reason", line, f"{match['rule']} is left out, and nothing says why."
    yield from _review(migration, statements)
    for line, statement in statements:
        yield from _names(line, statement)
        yield from _kind(migration, line, statement)
        yield from _phase_and_transaction(migration, line, statement)
        yield from _privileges(service, line, statement)
    yield from _ungranted(migration, statements)
    if schema is not None:
        for line, seen in disagreements(migration, schema):
            yield "header_disagrees", line, seen


def _review(migration: MigrationFile, statements: list[tuple[int, str]]) -> Found:
    line = next(n for n, text in enumerate(migration.sql.split("\n"), 1) if re.match(r"--\s*review\s*:", text))
    reviewer = migration.header["review"]
    if reviewer not in REVIEWERS:
        yield "reviewer_unknown", line, f"`review: {reviewer}` names no role that reviews."
    if reviewer == "none":
        for at, statement in statements:
            if match := _SENSITIVE.search(statement):
                yield "review_required", at, f"It touches {match.group().replace(' . ', '.')}, and no review is named."
                return


def _names(line: int, statement: str) -> Found:
    if (match := _INDEX.match(statement)) and match["index"] != "on":
        name, table = match["index"], match["name"].strip('"')
        if not (name.startswith(f"{table}_") and name.endswith(("_idx", "_key"))):
            yield "object_name", line, f"The index {name} is of the table {table}."
        if re.match(r"create (?:unique )?index concurrently if not exists", statement):
            yield "if_not_exists_concurrently", line, f"The index {name} is built concurrently, if it doesn't exist."
    if match := _TABLE.match(statement):
        table = match["name"]
        if table.startswith('"'):
            yield "object_name", line, f"The table's name {table} is quoted."
        for constraint in _CONSTRAINT.finditer(statement):
            if not constraint["name"].startswith(table.strip('"').partition("_")[0] + "_"):
                yield "object_name", line, f"The constraint {constraint['name']} is of the table {table}."


def _kind(migration: MigrationFile, line: int, statement: str) -> Found:
    first = statement.partition(" ")[0]
    if first == "with":
        words = re.findall(r"\b(?:insert|update|delete|merge)\b", statement)
        first = words[-1] if words else first
    if migration.header["kind"] == "schema" and first in _ROWS:
        yield "rows_in_schema_file", line, f"It holds a statement `{first}`, and its header says `kind: schema`."
    if migration.header["kind"] != "data":
        return
    if first in _SCHEMA:
        yield "schema_in_data_file", line, f"It holds a statement `{first}`, and its header says `kind: data`."
    is_of_rows = first in {"update", "delete", "merge"} or (first == "insert" and " select " in statement)
    if is_of_rows and " limit " not in statement:
        yield "data_unbounded", line, f"The statement `{first}` has no limit."
    if first == "insert" and " on conflict " not in statement and " not exists " not in statement:
        yield "data_not_repeatable", line, "It inserts what may be there already."


def _phase_and_transaction(migration: MigrationFile, line: int, statement: str) -> Found:
    is_ddl = statement.startswith(("alter ", "drop "))
    if is_ddl and migration.header["phase"] != "contract":
        match = _CONTRACTING.search(statement) or _DROPPED_COLUMN.match(statement)
        if match:
            yield "contract_too_early", line, f"`{statement[:60]}` stands in phase {migration.header['phase']}."
    if migration.transactional and _NO_TRANSACTION.match(statement):
        yield "needs_no_transaction", line, f"`{statement[:60]}` stands in a file that is run in a transaction."


def _privileges(service: str, line: int, statement: str) -> Found:
    if match := _GRANTEES.match(statement):
        known = {f"{service}_app", f"{service}_reader"}
        others = [name for name in re.split(r" , ", match["grantees"]) if name not in known]
        if others:
            yield "grant_too_wide", line, f"It grants to {', '.join(others)}."
        elif match["option"] or statement.startswith("grant all "):
            yield "grant_too_wide", line, "It grants everything, or lets it be granted on."
    if re.match(r"create (?:or replace )?(?:function|procedure) ", statement):
        declared = re.sub(r"'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$", "", statement, flags=re.DOTALL)
        if " security definer" in declared and " set search_path" not in declared:
            yield "definer_without_search_path", line, "The function runs as its owner with the caller's search_path."


def _ungranted(migration: MigrationFile, statements: list[tuple[int, str]]) -> Found:
    granted = " ".join(statement for _, statement in statements if statement.startswith("grant "))
    excused = {match["table"] for match in _NO_GRANT.finditer(migration.sql)}
    for line, statement in statements:
        match = _TABLE.match(statement)
        if match is None or not statement.startswith("create ") or " partition of " in statement:
            continue
        table = match["name"].strip('"')
        if table not in excused and not re.search(rf"\b{re.escape(table)}\b", granted):
            yield "table_without_grant", line, f"Nobody is granted anything on the new table {table}."
