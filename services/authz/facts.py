"""Gathers the facts of a question: from memory when they are there, from the database when not, never from the past.

All facts of one decision are true as of one revision, the one that is returned with them (guarantees 4 and 6): entries
newer than the tail wait for the tail, entries that a change touched are read again, and when the tail itself is too old
everything is read in one snapshot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final, NamedTuple, TypeVar

import msgspec

from services.authz.batch import BatchLoader
from services.authz.cache import Cache, Changes, Entry
from services.authz.model import (
    ActorFacts,
    ActorIds,
    Facts,
    GrantedPermission,
    Question,
    RegistryFacts,
    TargetFacts,
)
from services.authz.sharing import Texts
from services.authz.store import (
    AsOf,
    Registry,
    ResourceKey,
    StoredActor,
    StoredResource,
    StoredRole,
    load_actors,
    load_registry,
    load_resources,
    load_roles,
    read_revision,
)
from services.authz.tail import Tail
from shared.db import DATABASE_ERRORS, Pool
from shared.problems import retry_later

ATTEMPTS: Final = 20
PATIENCE_SECONDS: Final = 2.0
_REGISTRY: Final = "registry"

V = TypeVar("V")


class InlineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts that a trusted caller sent itself (context mode); None means: take the stored ones."""

    actor: ActorFacts | None = None
    granted: tuple[GrantedPermission, ...] | None = None
    target: TargetFacts | None = None

    def names(self) -> tuple[str, ...]:
        """Name the parts that came inline, as the trace shows them."""
        parts = (("actor", self.actor), ("grants", self.granted), ("resource", self.target))
        return tuple(name for name, value in parts if value is not None)


STORED: Final = InlineFacts()


class Known(NamedTuple):
    """The facts of a question, the revision they are true as of, and what a change of them would mark.

    Without tokens it can't be known how long they stay true: some came with the request, or past memory.
    """

    facts: Facts
    revision: int
    tokens: tuple[str, ...] = ()


class KnownActor(msgspec.Struct, gc=False):
    """An actor in memory, with its granted permissions by (resource type, action) as they are first asked for."""

    stored: StoredActor
    facts: ActorFacts
    granted: dict[tuple[str, str], tuple[GrantedPermission, ...]]


class FactSource:
    """Where decisions get their facts from."""

    def __init__(
        self, pool: Pool, tail: Tail, changes: Changes, *, staleness_seconds: float, cache_entries: int
    ) -> None:
        self._pool = pool
        self._tail = tail
        self._staleness = staleness_seconds
        self.actors: Cache[ActorIds, KnownActor] = Cache(changes, cache_entries)
        self.resources: Cache[ResourceKey, StoredResource] = Cache(changes, cache_entries)
        self.roles: Cache[str, StoredRole] = Cache(changes, cache_entries)
        self.registry: Cache[str, Registry] = Cache(changes, 1)
        self._texts = Texts()
        self._actor_loader: BatchLoader[ActorIds, AsOf[StoredActor]] = BatchLoader(self._load_actors)
        self._resource_loader: BatchLoader[ResourceKey, AsOf[StoredResource]] = BatchLoader(self._load_resources)
        self._role_loader: BatchLoader[str, AsOf[StoredRole]] = BatchLoader(self._load_roles)
        self._registry_loader: BatchLoader[str, AsOf[Registry]] = BatchLoader(self._load_registry)

    def known_revision(self) -> int | None:
        """Return the revision that memory is true as of; None when that was confirmed too long ago."""
        return None if self._tail.age > self._staleness else self._tail.revision

    async def gather(self, question: Question, inline: InlineFacts = STORED, at_least: int = 0) -> Known:
        """Return the facts of a question and the revision that all of them are true as of.

        Waits briefly for the revision `at_least` to come; raises a 503 problem when it doesn't.
        """
        for _ in range(ATTEMPTS):
            if self.known_revision() is None or not await self._tail.reach(at_least, PATIENCE_SECONDS):
                break
            facts = self._from_memory(question, inline)
            if facts is not None:
                return facts
            newest = await self._load_missing(question, inline)
            if not await self._tail.reach(newest, PATIENCE_SECONDS):
                break
        known = await self._read_through(question, inline)
        if known.revision < at_least:
            raise retry_later(
                "revision_not_reached",
                f"/at_least_revision: the newest revision is {known.revision}, not yet {at_least}; ask again, or for "
                "the one that a write has answered.",
            )
        return known

    def _from_memory(self, question: Question, inline: InlineFacts) -> Known | None:
        """Assemble the facts from memory alone; None when something is missing. Nothing is awaited in between."""
        actor_facts, granted, target = inline.actor, inline.granted, inline.target
        tokens: tuple[str, ...] = ()
        if actor_facts is None or granted is None:
            actor = self._followed(self.actors.get(question.actor))
            if actor is None:
                return None
            tokens = actor.tokens
            if actor_facts is None:
                actor_facts = actor.value.facts
            if granted is None:
                granted = self._granted(actor.value, question)
                if granted is None:
                    return None
        if target is None:
            resource = self._followed(self.resources.get((question.resource_type, question.resource_id)))
            if resource is None:
                return None
            target = TargetFacts(group=resource.value.group, resource=resource.value.resource)
            tokens += resource.tokens
        registry = self._followed(self.registry.get(_REGISTRY))
        if registry is None:
            return None
        facts = Facts(actor=actor_facts, granted=granted, registry=registered(registry.value, question), target=target)
        return Known(facts, self._tail.revision, tokens + registry.tokens if inline is STORED else ())

    def _followed(self, entry: Entry[V] | None) -> Entry[V] | None:
        """Pass an entry that the tail has caught up with; a newer one would mix two revisions in one decision."""
        return entry if entry is not None and entry.revision <= self._tail.revision else None

    def _granted(self, actor: KnownActor, question: Question) -> tuple[GrantedPermission, ...] | None:
        known = actor.granted.get((question.resource_type, question.action))
        if known is None:
            roles = {}
            for grant in actor.stored.grants:
                role = self._followed(self.roles.get(grant.role_id))
                if role is None:
                    return None
                roles[grant.role_id] = role.value
            key = self._texts.one(question.resource_type), self._texts.one(question.action)
            known = actor.granted[key] = granted_permissions(actor.stored, roles, key)
        return known

    async def _load_missing(self, question: Question, inline: InlineFacts) -> int:
        """Load what memory lacks; returns the newest revision among all that the question needs."""
        loads = []
        if inline.actor is None or inline.granted is None:
            loads.append(self._need_actor(question.actor))
        if inline.target is None:
            loads.append(self._need_resource((question.resource_type, question.resource_id)))
        loads.append(self._need_registry())
        try:
            return max([0, *await asyncio.gather(*loads)])
        except DATABASE_ERRORS as error:
            raise retry_later(
                "facts_unavailable", "The database could not be read; ask again.", log_detail=repr(error)
            ) from error

    async def _need_actor(self, key: ActorIds) -> int:
        entry = self.actors.get(key)
        if entry is None:
            loaded = await self._actor_loader.get(key)
            assert loaded is not None  # a row for every key
            tokens = tuple(map(self._texts.one, _actor_tokens(key, loaded.value)))
            entry = Entry(_known(self._texts.share(loaded.value)), loaded.revision, tokens)
            self.actors.put(self._texts.share(key), entry)
        roles = {g.role_id for g in entry.value.stored.grants}
        return max([entry.revision, *await asyncio.gather(*(self._need_role(role_id) for role_id in roles))])

    async def _need_role(self, role_id: str) -> int:
        entry = self.roles.get(role_id)
        if entry is not None:
            return entry.revision
        loaded = await self._role_loader.get(role_id)
        assert loaded is not None  # a grant's role exists: the database states it, and nothing is ever deleted
        tokens = (self._texts.one(f"policy:{loaded.value.role.space_id}"), "permissions")
        self.roles.put(self._texts.one(role_id), Entry(self._texts.share(loaded.value), loaded.revision, tokens))
        return loaded.revision

    async def _need_resource(self, key: ResourceKey) -> int:
        entry = self.resources.get(key)
        if entry is not None:
            return entry.revision
        loaded = await self._resource_loader.get(key)
        assert loaded is not None  # a row for every key
        resource = loaded.value.resource
        policy = [self._texts.one(f"policy:{resource.space_id}")] if resource else []
        entry = Entry(self._texts.share(loaded.value), loaded.revision, (f"resource:{key[0]}/{key[1]}", *policy))
        self.resources.put((self._texts.one(key[0]), self._texts.one(key[1])), entry)
        return loaded.revision

    async def _need_registry(self) -> int:
        entry = self.registry.get(_REGISTRY)
        if entry is not None:
            return entry.revision
        loaded = await self._registry_loader.get(_REGISTRY)
        assert loaded is not None  # one row always
        self.registry.put(_REGISTRY, Entry(loaded.value, loaded.revision, ("registry",)))
        return loaded.revision

    async def _read_through(self, question: Question, inline: InlineFacts) -> Known:
        """Read everything in one snapshot, past memory: the tail is too far behind to trust what is cached."""
        key = (question.resource_type, question.resource_id)
        try:
            async with (
                asyncio.timeout(PATIENCE_SECONDS),
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                revision = await read_revision(connection)
                actor = (await load_actors(connection, [question.actor]))[question.actor].value
                roles = await load_roles(connection, [g.role_id for g in actor.grants])
                stored = (await load_resources(connection, [key]))[key].value
                registry = (await load_registry(connection)).value
        except DATABASE_ERRORS as error:
            raise retry_later(
                "facts_unavailable", "The database could not be read; ask again.", log_detail=repr(error)
            ) from error
        facts = stored_facts(question, actor, {k: v.value for k, v in roles.items()}, stored, registry)
        return Known(
            Facts(
                actor=facts.actor if inline.actor is None else inline.actor,
                granted=facts.granted if inline.granted is None else inline.granted,
                registry=facts.registry,
                target=facts.target if inline.target is None else inline.target,
            ),
            revision,
        )

    async def _load_actors(self, keys: Iterable[ActorIds]) -> dict[ActorIds, AsOf[StoredActor]]:
        async with self._pool.acquire() as connection:
            return await load_actors(connection, list(keys))

    async def _load_roles(self, keys: Iterable[str]) -> dict[str, AsOf[StoredRole]]:
        async with self._pool.acquire() as connection:
            return await load_roles(connection, list(keys))

    async def _load_resources(self, keys: Iterable[ResourceKey]) -> dict[ResourceKey, AsOf[StoredResource]]:
        async with self._pool.acquire() as connection:
            return await load_resources(connection, list(keys))

    async def _load_registry(self, _: Iterable[str]) -> dict[str, AsOf[Registry]]:
        async with self._pool.acquire() as connection:
            return {_REGISTRY: await load_registry(connection)}


def stored_facts(
    question: Question,
    actor: StoredActor,
    roles: dict[str, StoredRole],
    resource: StoredResource,
    registry: Registry,
) -> Facts:
    """Put together what was read for a question; `roles` has the role of every grant."""
    return Facts(
        actor=_known(actor).facts,
        granted=granted_permissions(actor, roles, (question.resource_type, question.action)),
        registry=registered(registry, question),
        target=TargetFacts(group=resource.group, resource=resource.resource),
    )


def granted_permissions(
    actor: StoredActor, roles: dict[str, StoredRole], key: tuple[str, str]
) -> tuple[GrantedPermission, ...]:
    """Join an actor's grants with the permissions of their roles, for one (resource type, action)."""
    return tuple(
        GrantedPermission(anchor=g.anchor, grant=g.grant, permission=permission, role=roles[g.role_id].role)
        for g in actor.grants
        for permission in roles[g.role_id].permissions
        if (permission.resource_type, permission.action) == key
    )


def registered(registry: Registry, question: Question) -> RegistryFacts:
    """Return what the registry says of a question's type and action."""
    known = registry.get(question.resource_type)
    if known is None:
        return RegistryFacts(action=None, resource_type=None)
    return RegistryFacts(action=known.actions.get(question.action), resource_type=known.resource_type)


def _known(stored: StoredActor) -> KnownActor:
    facts = ActorFacts(member=stored.member, space=stored.space, user=stored.user, user_member=stored.user_member)
    return KnownActor(stored=stored, facts=facts, granted={})


def _actor_tokens(key: ActorIds, stored: StoredActor) -> tuple[str, ...]:
    tokens = [
        f"user:{key.user_id}",
        f"member:{key.member_id}",
        f"user_member:{key.user_member_id}",
        f"policy:{key.space_id}",
        "permissions",
    ]
    if stored.member is not None and stored.member.space_id != key.space_id:
        tokens.append(f"policy:{stored.member.space_id}")
    return tuple(tokens)
