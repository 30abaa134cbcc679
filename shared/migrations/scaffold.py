"""Writes the beginning of a new migration: both its files, with every key of the header, and no value made up."""

from __future__ import annotations

import re
from typing import Final, Literal

from shared.migrations.errors import UsageError
from shared.migrations.files import KEYS, MigrationFolder

Kind = Literal["schema", "data"]
Phase = Literal["expand", "migrate", "contract"]

_SLUG: Final = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
# What each key that is left empty wants; a key without a value is a fault, so nothing runs until all are filled in.
_WANTED: Final = {
    "purpose": "what for, in one line",
    "tables": "+made -dropped ~changed tables, or none",
    "columns": "+added -dropped ~changed columns, or none",
    "indexes": "+built -dropped indexes, or none",
    "constraints": "+added -dropped constraints, or none",
    "locks": "which locks, and what waits for them; `plystractl migrate plan` estimates them",
    "backfill": "how rows that exist get their values, or none",
    "rollback": "what undoing it loses",
    "compatibility": "what the previous release does on the new schema",
    "review": "the role that reviewed it, or none",
}
_BODY: Final = {
    "schema": "",
    "data": """\
-- One statement with a bound, which no longer finds what it has changed; it is repeated until it finds no more rows:
-- update … set … where id in (select id from … where … limit 1000);
""",
}


def scaffold(folder: MigrationFolder, slug: str, kind: Kind, phase: Phase) -> list[str]:
    """Write a migration with the next number and its rollback file, and return their names.

    Raises `UsageError` for a slug that can't be one or is taken, and never writes over a file.
    """
    if not _SLUG.fullmatch(slug):
        raise UsageError(
            f"{slug!r} isn't a slug.",
            why="It becomes part of a file's name and of the migration's id.",
            remedy="write lower-case words joined by underscores, such as member_email.",
        )
    if twin := next((each for each in folder.migrations if each.id.partition(".")[2] == slug), None):
        raise UsageError(
            f"{twin.name} has this slug already.",
            why="Two migrations of one name are mixed up sooner or later.",
            remedy="choose a slug that says what is different.",
        )
    latest = folder.migrations[-1] if folder.migrations else None
    id = f"{latest.ordinal + 1 if latest else 1:04d}.{slug}"
    known = {
        "depends": latest.id if latest else "none",
        "transactional": "false" if kind == "data" else "true",
        "kind": kind,
        "phase": phase,
    }
    lines = [f"-- {key}: {known.get(key, '')}".rstrip() for key in KEYS]
    lines += [f"-- (TODO {key} — {wanted})" for key, wanted in _WANTED.items()]
    contents = {
        f"{id}.sql": "\n".join(lines) + f"\n\n{_BODY[kind]}",
        f"{id}.rollback.sql": f"-- TODO: undo {id}; `select 'why not';` where there is nothing to undo.\n",
    }
    for name, content in contents.items():
        with (folder.path / name).open("x", encoding="utf-8") as file:
            file.write(content)
    return list(contents)
