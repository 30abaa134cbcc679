"""Keeps a whole Space as its policy declares it: exports, plans and applies the document, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from services.authz.access import AccessReport, Comparison, ResourceClass
from services.authz.commands import Commands, Outcome
from services.authz.directory import Directory, Place, demand_match, plain, read_row
from services.authz.idempotency import Once
from services.authz.journal import Author, Change
from services.authz.nouns import NOUNS
from services.authz.policy import Policy, Rows, SpaceState, policy_of, refuse_contradictions
from services.authz.policy_changes import next_changes
from services.authz.store import Registry, load_registry
from shared.db import Session, load_queries

READS: Final = load_queries(Path(__file__).with_name("policies.sql"))
# Resources that rules tell apart, beyond which a dry run looks at no more and says so.
MAX_CLASSES: Final = 100_000
OF_SPACE: Final = ("group", "role", "member", "member_role", "role_permission")
READING_OF_SPACE: Final = {noun: READS["read_rows_of_space"].format(table=f"authz.{noun}") for noun in OF_SPACE}


class PlannedChange(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a policy: what happens to which row; `changed` has its fields before and after."""

    kind: str
    entity_type: str
    entity_id: str
    label: str
    changed: dict[str, tuple[Any, Any]]


class PolicyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy has changed, or would change; `access` is who gains and loses what, told by a dry run only."""

    dry_run: bool
    revision: int
    changes: list[PlannedChange]
    access: AccessReport | None = None


class _Planned(Exception):  # ends the transaction of a dry run, so that nothing of it stays
    def __init__(self, changes: list[Change], after: SpaceState) -> None:
        super().__init__("a dry run ends without being written")
        self.changes = changes
        self.after = after


class Policies:
    """Reads and applies the policies of Spaces."""

    def __init__(self, commands: Commands, directory: Directory, new_id: Callable[[str], str]) -> None:
        self._commands = commands
        self._directory = directory
        self._new_id = new_id
        self._comparing = asyncio.Lock()

    async def export(self, space_id: str, at_least: int = 0) -> tuple[Policy, int]:
        """Return the document that declares a Space as it is, and the revision that it is of."""
        async with self._directory.session(at_least) as session, session.transaction(isolation="repeatable_read"):
            state, revision = await _begin(session, space_id)
            return policy_of(state), revision

    async def apply(
        self,
        author: Author,
        space_id: str,
        policy: Policy,
        *,
        reason: str | None,
        if_match: str | None = None,
        once: Once | None = None,
    ) -> Outcome:
        """Let a Space be as its policy declares it; the outcome's data is a `PolicyReport`."""
        refuse_contradictions(policy, space_id)

        async def work(connection: Session, now: datetime) -> Outcome:
            state, revision = await _begin(connection, space_id, if_match)
            changes, after = await self._converge(connection, author, state, policy, now, reason)
            revision = max(revision, _revision_of(after))
            report = PolicyReport(dry_run=False, revision=revision, changes=_told(changes, after))
            return Outcome(data=msgspec.to_builtins(report), revision=revision)

        return await self._commands.run(work, once)

    async def plan(
        self, author: Author, space_id: str, policy: Policy, *, reason: str | None, if_match: str | None = None
    ) -> PolicyReport:
        """Do all of `apply` and take it back: what would change, and who would gain and lose what."""
        refuse_contradictions(policy, space_id)
        known: dict[str, Any] = {}

        async def work(connection: Session, now: datetime) -> Outcome:
            state, revision = await _begin(connection, space_id, if_match)
            known.update(now=now, revision=revision, before=state)
            changes, after = await self._converge(connection, author, state, policy, now, reason)
            raise _Planned(changes, after)

        try:
            await self._commands.run(work)
        except _Planned as planned:
            access = await self._access(space_id, known["before"], planned.after, known["now"])
            return PolicyReport(
                dry_run=True, revision=known["revision"], changes=_told(planned.changes, planned.after), access=access
            )
        raise AssertionError("a dry run ends by being taken back")

    async def _converge(
        self,
        connection: Session,
        author: Author,
        state: SpaceState,
        policy: Policy,
        now: datetime,
        reason: str | None,
    ) -> tuple[list[Change], SpaceState]:
        done: list[Change] = []
        # Each turn places a group at least, or does all the rest; no mistake here may hold the lock for ever.
        for _ in range(2 * len(policy.groups) + 4):
            changes = next_changes(state, policy, self._new_id, msgspec.to_builtins(now), reason)
            if not changes:
                return done, state
            await self._commands.write(connection, author, changes, now)
            done += changes
            if all(change.entity_type == "group" for change in changes):
                state = state._replace(group=await _read_rows(connection, "group", state.space_id))
            else:
                state = await _read_state(connection, state.space_id)
        raise AssertionError("a policy is reached in as many turns as it has groups")

    async def _access(self, space_id: str, before: SpaceState, after: SpaceState, now: datetime) -> AccessReport:
        async with self._directory.session() as session:
            space = await read_row(session, _space(space_id))
            registry: Registry = (await load_registry(session)).value
        # The comparison is work for the processor alone: in a thread, so that checks are answered meanwhile; one at a time,
        # so that they are answered as soon; and without a session, so that others can read.
        async with self._comparing:
            comparison = await asyncio.to_thread(Comparison, before, after, space, registry, now)
            async with self._directory.session() as session:
                rows = await session.fetch(
                    READS["list_resource_classes"],
                    space_id,
                    comparison.types,
                    comparison.has_conditions,
                    MAX_CLASSES + 1,
                )
            report = await asyncio.to_thread(comparison.report, _classes(rows[:MAX_CLASSES]))
        return msgspec.structs.replace(report, complete=report.complete and len(rows) <= MAX_CLASSES)


def _classes(rows: list[Any]) -> list[ResourceClass]:
    return [
        ResourceClass(
            row["resource_type"],
            row["group_id"],
            row["owner_member_id"],
            msgspec.json.decode(row["properties"]),
            row["count"],
            tuple(row["ids"]),
        )
        for row in rows
    ]


def _space(space_id: str) -> Place:
    return Place(NOUNS["space"], space_id)


async def _begin(connection: Session, space_id: str, if_match: str | None = None) -> tuple[SpaceState, int]:
    """Read what a policy is about, and the revision that it is of; raises `not_found`, or `etag_mismatch`."""
    space = await read_row(connection, _space(space_id))
    state = await _read_state(connection, space_id)
    revision = max(space["revision"], _revision_of(state))
    demand_match(if_match, revision, f"the policy of the space {space_id}")
    return state, revision


def _revision_of(state: SpaceState) -> int:
    """Return the revision of the last event that a policy could tell of: not of resources, which change all the time."""
    held = {row["permission_id"] for row in state.role_permission.values()}
    rows = [row for noun in OF_SPACE for row in getattr(state, noun).values()]
    rows += [row for id_, row in state.permission.items() if id_ in held]
    return max((row["revision"] for row in rows), default=0)


async def _read_state(connection: Session, space_id: str) -> SpaceState:
    rows = {name: await _read_rows(connection, name, space_id) for name in OF_SPACE}
    found = await connection.fetch(READS["read_permissions"])
    rows["permission"] = {row["id"]: plain(NOUNS["permission"], row["row"]) for row in found}
    return SpaceState(space_id=space_id, **rows)


async def _read_rows(connection: Session, noun: str, space_id: str) -> Rows:
    found = await connection.fetch(READING_OF_SPACE[noun], space_id)
    return {row["id"]: plain(NOUNS[noun], row["row"]) for row in found}


def _told(changes: list[Change], after: SpaceState) -> list[PlannedChange]:
    return [
        PlannedChange(
            kind=change.kind,
            entity_type=change.entity_type,
            entity_id=change.after["id"],
            label=_label(change.after, after),
            changed={
                field: (was, value)
                for field, value in change.after.items()
                if (was := None if change.before is None else change.before.get(field)) != value
                and field not in {"id", "space_id", "metadata"}
            },
        )
        for change in changes
    ]


def _label(row: dict[str, Any], state: SpaceState) -> str:
    """Name a row as a policy does."""
    if "permission_id" in row:
        return f"{state.role[row['role_id']]['key']}: {_label(state.permission[row['permission_id']], state)}"
    if "scope_anchor_group_id" in row:
        anchor = row["scope_anchor_group_id"]
        at = "" if anchor is None else f" at {state.group[anchor]['path']}"
        return f"{state.role[row['role_id']]['key']} to {row['member_id']}{at}"
    if "scope" in row:
        return f"{row['resource_type']} {row['action']} ({row['scope']})"
    if "member_type" in row:
        return str(row["id"])
    return str(row.get("path") or row["key"])
