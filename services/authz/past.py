"""Gathers the facts of a question as they were: from the log of changes alone, as of a revision or a time.

Nothing here reads the tables of the present or a cache, and nothing that is read here is kept: an answer about the past
has no way into memory. Open `Past.gather` first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from services.authz.facts import PATIENCE_SECONDS, stored_facts
from services.authz.model import Facts, Group, Question
from services.authz.store import Registry, StoredActor, StoredResource, StoredRole
from services.authz.tail import Tail
from shared.db import DATABASE_ERRORS, Pool, Session, load_queries
from shared.problems import Problem, retry_later

PAST: Final = load_queries(Path(__file__).with_name("past.sql"))
# The log is never scanned, whatever statistics say or fail to say of it.
READ_PARAMETERS: Final = {
    "default_transaction_read_only": "on",
    "enable_seqscan": "off",
    "jit": "off",
    "random_page_cost": "1.1",
    "statement_timeout": "5s",
}

_ACTOR: Final = msgspec.json.Decoder(StoredActor)
_ROLE: Final = msgspec.json.Decoder(StoredRole)
_RESOURCE: Final = msgspec.json.Decoder(StoredResource)
_REGISTRY: Final = msgspec.json.Decoder(Registry)


class Then(NamedTuple):
    """The facts of a question as of a revision, and the moment that they are evaluated at."""

    facts: Facts
    revision: int
    now: datetime


class Ancestor(NamedTuple):
    """A group's own key and its parent, as far as there is one."""

    key: str
    parent_group_id: str | None


class Past:
    """Where answers about the past get their facts from; `pool` has sessions with `READ_PARAMETERS`."""

    def __init__(self, pool: Pool, tail: Tail) -> None:
        self._pool = pool
        self._tail = tail

    async def gather(self, question: Question, as_of: int | datetime) -> Then:
        """Return what was true as of a revision, with the moment it was made, or as of a time, with that time.

        Waits briefly for a revision that is to come; raises a 503 problem when it doesn't.
        """
        then, newest = await self._read(question, as_of)
        if then is None and isinstance(as_of, int):
            await self._tail.reach(as_of, PATIENCE_SECONDS)
            then, newest = await self._read(question, as_of)
        if then is None:
            raise retry_later(
                "revision_not_reached",
                f"/as_of: the newest revision is {newest}, not yet {as_of}; ask again, or for one that is there.",
            )
        return then

    async def _read(self, question: Question, as_of: int | datetime) -> tuple[Then | None, int]:
        """Read everything in one snapshot; without facts when the revision isn't in it, with its newest one."""
        try:
            async with (
                asyncio.timeout(PATIENCE_SECONDS),
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                if isinstance(as_of, datetime):
                    revision = int(await connection.fetchval(PAST["find_revision_at"], as_of))
                    return Then(await _load(connection, question, revision), revision, as_of), revision
                found = await connection.fetchrow(PAST["find_revision"], as_of)
                assert found is not None  # the statement returns one row always
                if found["occurred_at"] is None:
                    return None, found["newest"]
                return Then(await _load(connection, question, as_of), as_of, found["occurred_at"]), found["newest"]
        except DATABASE_ERRORS as error:
            raise retry_later(
                "facts_unavailable", "The log of changes could not be read; ask again.", log_detail=repr(error)
            ) from error


async def _load(connection: Session, question: Question, revision: int) -> Facts:
    ids = question.actor
    actor = _ACTOR.decode(
        await connection.fetchval(
            PAST["load_actor"], ids.user_id, ids.space_id, ids.member_id, ids.user_member_id, revision
        )
    )
    rows = await connection.fetch(PAST["load_roles"], list({g.role_id for g in actor.grants}), revision)
    roles = {row["role_id"]: _ROLE.decode(row["facts"]) for row in rows}
    key = (question.resource_type, question.resource_id)
    resource = _RESOURCE.decode(await connection.fetchval(PAST["load_resource"], *key, revision))
    registry = _REGISTRY.decode(
        await connection.fetchval(PAST["load_registry"], question.resource_type, question.action, revision)
    )
    groups = {g.anchor.id for g in actor.grants if g.anchor} | ({resource.group.id} if resource.group else set())
    rows = await connection.fetch(PAST["load_ancestors"], list(groups), revision)
    above = {row["id"]: Ancestor(row["key"], row["parent_group_id"]) for row in rows}
    return stored_facts(
        question,
        msgspec.structs.replace(
            actor, grants=tuple(msgspec.structs.replace(g, anchor=_placed(g.anchor, above)) for g in actor.grants)
        ),
        roles,
        msgspec.structs.replace(resource, group=_placed(resource.group, above)),
        registry,
    )


def _placed(group: Group | None, above: Mapping[str, Ancestor]) -> Group | None:
    """Give a group the path that it had: its own last event doesn't know of a move further up since."""
    if group is None or group.id is None:
        return group
    return msgspec.structs.replace(group, path=path_of(group.id, above))


def path_of(group_id: str, above: Mapping[str, Ancestor]) -> str:
    """Join the keys from the root down to a group; raises a 500 problem when its parents don't lead to a root."""
    return ".".join(reversed([*_keys_upwards(group_id, above)]))


def _keys_upwards(group_id: str, above: Mapping[str, Ancestor]) -> Iterable[str]:
    next_id: str | None = group_id
    for _ in above:  # no more steps than there are groups: what goes round in a circle ends, too
        ancestor = above.get(next_id) if next_id is not None else None
        if ancestor is None:
            break
        yield ancestor.key
        next_id = ancestor.parent_group_id
    if next_id is not None:
        raise Problem("internal_error", f"The log of changes has no root above group {group_id}.")
