"""Reads the permission graph as it is stored: one row, or a list of rows page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from services.authz.cursor import read_cursor, write_cursor
from services.authz.nouns import FORMS, NOUNS, Noun
from services.authz.store import SQL, read_revision
from services.authz.tail import Tail
from shared.db import DATABASE_ERRORS, Pool, Session, load_queries
from shared.problems import Problem, ProblemError, retry_later

PATIENCE_SECONDS: Final = 2.0
# The one statement of every list is planned for the filters that are given, each time.
LIST_PARAMETERS: Final = {"plan_cache_mode": "force_custom_plan", "statement_timeout": "15s"}
_READS: Final = load_queries(Path(__file__).with_name("directory.sql"))
_STATUS: Final = "status"


class Place(NamedTuple):
    """Where a row is: its noun, its id, its Space (None for those of the instance), its type if it is a resource."""

    noun: Noun
    id: str
    space_id: str | None = None
    resource_type: str | None = None

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells the row from all others of its noun."""
        return (self.id,) if self.resource_type is None else (self.resource_type, self.id)


class FoundPage(NamedTuple):
    """The rows of one page in the order of their ids, and the text of the cursor to the next; None on the last one."""

    rows: list[Any]
    next_cursor: str | None


def reading(noun: Noun) -> str:
    """Return the statement that reads one row of a noun by its identity."""
    matches = " and ".join(f"t.{field} = ${n}" for n, field in enumerate(noun.identity, start=1))
    return _READS["read_row"].format(table=f"authz.{noun.name}", matches=matches)


def listing(noun: Noun) -> str:
    """Return the statement that lists rows of a noun: limit, place of the cursor, Space, filters, as far as given."""
    order = ", ".join(f"t.{field}" for field in noun.identity)
    after = ", ".join(f"${n}::text" for n, _ in enumerate(noun.identity, start=2))
    names = ["space_id"] * noun.in_space + [*noun.filters, _STATUS]
    # Addresses are told apart whatever the case of their letters, by the law and so by the list.
    conditions = [
        f"(${n}::text is null or {'lower(t.email) = lower' if name == 'email' else f't.{name} = '}(${n}::text))"
        for n, name in enumerate(names, start=2 + len(noun.identity))
    ]
    return _READS["list_rows"].format(
        table=f"authz.{noun.name}",
        order=order,
        after=after,
        conditions="\n    and ".join(conditions),
    )


def reading_many(noun: Noun) -> str:
    """Return the statement that reads rows of a noun by their identities, given column by column."""
    columns = ", ".join(f"${n}::text[]" for n, _ in enumerate(noun.identity, start=1))
    matches = " and ".join(f"t.{field} = k.{field}" for field in noun.identity)
    return _READS["read_rows"].format(
        table=f"authz.{noun.name}", columns=columns, names=", ".join(noun.identity), matches=matches
    )


READING: Final = {name: reading(noun) for name, noun in NOUNS.items()}
READING_MANY: Final = {name: reading_many(noun) for name, noun in NOUNS.items()}
LISTING: Final = {name: listing(noun) for name, noun in NOUNS.items()}


async def read_row(connection: Session, place: Place, if_match: str | None = None) -> dict[str, Any]:
    """Return a row as plain JSON values, as its last event has it; raises `not_found`, or `etag_mismatch`."""
    found = await connection.fetchval(READING[place.noun.name], *place.identity)
    row: dict[str, Any] = {} if found is None else plain(place.noun, found)
    if found is None or (place.noun.in_space and row["space_id"] != place.space_id):
        within = f" in the space {place.space_id}" if place.noun.in_space else ""
        raise Problem(
            "not_found",
            f"There is no {place.noun.words} {'/'.join(place.identity)}{within}.",
            errors=[ProblemError(parameter=f"{place.noun.name}_id", detail=f"names no {place.noun.words}{within}")],
        )
    demand_match(if_match, row["revision"], f"the {place.noun.words} {place.id}")
    return row


async def demand_space(connection: Session, space_id: str | None) -> None:
    """Raise `not_found` unless there is this Space."""
    if not await connection.fetchval(SQL["space_exists"], space_id):
        raise Problem(
            "not_found",
            f"There is no space {space_id}.",
            errors=[ProblemError(parameter="space_id", detail="names no space")],
        )


def plain(noun: Noun, text: str) -> dict[str, Any]:
    """Return a row of the database's JSON as its event has it: every time in UTC, written as events write it."""
    values: dict[str, Any] = msgspec.to_builtins(msgspec.json.decode(text, type=FORMS[noun.name]))
    return values


def etag(revision: int) -> str:
    """Return the entity tag of a row: the revision of the last event that touched it."""
    return f'"{revision}"'


def demand_match(if_match: str | None, revision: int, subject: str) -> None:
    """Raise `etag_mismatch` unless a condition is met by what is at this revision; no condition is met by anything."""
    tags = [] if if_match is None else [tag.strip() for tag in if_match.split(",")]
    if if_match is not None and "*" not in tags and etag(revision) not in tags:
        raise Problem(
            "etag_mismatch",
            f"If-Match is {if_match[:80]}, but {subject} is at {etag(revision)} now: somebody changed it since. Read it "
            "again, and see whether your change is still what you want.",
            errors=[ProblemError(parameter="If-Match", detail=f"is not {etag(revision)}")],
        )


class Directory:
    """What administrators read; each method raises a 503 problem when the database cannot be read."""

    def __init__(self, pool: Pool, tail: Tail) -> None:
        self._pool = pool
        self._tail = tail

    async def get(self, place: Place, at_least: int = 0) -> Any:
        """Return a row as its stored form; raises `not_found`."""
        async with self.session(at_least) as session:
            row = await read_row(session, place)
        return msgspec.convert(row, FORMS[place.noun.name])

    async def find_page(
        self,
        noun: Noun,
        space_id: str | None,
        filters: Mapping[str, str | None],
        *,
        limit: int,
        cursor: str | None,
        at_least: int = 0,
    ) -> FoundPage:
        """Return the page at the cursor, the first one without; raises `invalid_cursor` for one of another list."""
        asked = {"noun": noun.name, "space_id": space_id, **filters}
        after = ("",) * len(noun.identity) if cursor is None else read_cursor(cursor, asked, len(noun.identity))
        for name, value in filters.items():
            if value is not None and "\x00" in value:  # which no text in the database holds
                says = "holds the character NUL; leave it out"
                raise Problem(
                    "validation_failed", f"{name}: {says}.", errors=[ProblemError(parameter=name, detail=says)]
                )
        given = [filters.get(name) for name in (*noun.filters, _STATUS)]
        async with self.session(at_least) as session:
            spaces = [space_id] if noun.in_space else []
            if spaces:
                await demand_space(session, spaces[0])
            found = await session.fetch(LISTING[noun.name], limit + 1, *after, *spaces, *given)
        rows: list[Any] = [msgspec.json.decode(row["row"], type=FORMS[noun.name]) for row in found]
        if len(rows) <= limit:
            return FoundPage(rows, None)
        rows.pop()
        last = tuple(getattr(rows[-1], field) for field in noun.identity)
        return FoundPage(rows, write_cursor(last, asked))

    @asynccontextmanager
    async def session(self, at_least: int = 0) -> AsyncIterator[Session]:
        """Lend a session that sees a revision at least; raises a 503 problem when there is none."""
        try:
            # Nobody holds a session while waiting for what is still to come: a few would hold all of them.
            if at_least > self._tail.revision and await self._newest() < at_least:
                await self._tail.reach(at_least, PATIENCE_SECONDS)
            async with self._pool.acquire(timeout=PATIENCE_SECONDS) as session:
                newest = await read_revision(session) if at_least else 0
                if newest < at_least:
                    raise retry_later(
                        "revision_not_reached",
                        f"at_least_revision: the newest revision is {newest}, not yet {at_least}; ask again, or for the "
                        "one that a write has answered.",
                    )
                yield session
        except DATABASE_ERRORS as error:
            raise retry_later(
                "database_unavailable", "The permission graph could not be read; ask again.", log_detail=repr(error)
            ) from error

    async def _newest(self) -> int:
        async with self._pool.acquire(timeout=PATIENCE_SECONDS) as session:
            return await read_revision(session)
