"""The two ways by which a command reaches the permission graph: the command path itself, and the whole service over HTTP."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from services.authz.commands import Commands, Outcome, given_values
from services.authz.directory import Place
from services.authz.idempotency import Once
from services.authz.journal import Author
from services.authz.nouns import NOUNS, Noun, creation_form, patch_form
from services.authz.routes.directory import GroupMove
from shared.clock import utc_now
from shared.problems import Problem
from tests.service.admin import API, send
from tests.service.authz_service import RunningAuthz
from tests.service.graph_model import IN_SPACE, Command, Row, timed

AUTHOR: Final = Author(credential_id=None, request_id="test")
_CREATIONS: Final = {name: creation_form(noun) for name, noun in NOUNS.items()}
_PATCHES: Final = {name: patch_form(noun) for name, noun in NOUNS.items()}


class Answer(NamedTuple):
    """What a command was answered: a row, or the code of a problem."""

    row: Row | None = None
    code: str | None = None
    is_repeated: bool = False


class Clock:
    """A clock that is set by hand, also back."""

    def __init__(self) -> None:
        self.now = utc_now()

    def __call__(self) -> datetime:
        return self.now

    def turn(self, by: timedelta) -> None:
        """Set it on, or back."""
        self.now += by


class Door(Protocol):
    """Where commands are given; `clock` is the one by which their times are told."""

    clock: Any

    async def send(self, command: Command) -> Answer:
        """Give a command."""
        ...


class ThroughCommands:
    """The command path, as the routes call it."""

    def __init__(self, commands: Commands, clock: Clock) -> None:
        self.clock = clock
        self._commands = commands

    async def send(self, command: Command) -> Answer:
        """Give a command."""
        noun = NOUNS[command.noun]
        once = None
        if command.key is not None:
            once = Once("key_test", command.key, hashlib.sha256(command.text.encode()).digest())
        try:
            outcome = await self._give(command, noun, once)
        except Problem as problem:
            return Answer(code=problem.code)
        return Answer(row=timed(outcome.data), is_repeated=outcome.is_repeated)

    async def _give(self, command: Command, noun: Noun, once: Once | None) -> Outcome:
        if command.verb == "create":
            form = msgspec.convert(command.values | {"id": command.identity[-1]}, _CREATIONS[noun.name])
            values = given_values(form, [name for name in form.__struct_fields__ if name != "reason"])
            values |= {"space_id": command.space_id} if noun.name in IN_SPACE else {}
            return await self._commands.make(AUTHOR, noun, values, reason=command.reason, once=once)
        *resource_type, id_ = command.identity
        place = Place(noun, id_, command.space_id, *resource_type)
        how: dict[str, Any] = {"reason": command.reason, "if_match": command.if_match, "once": once}
        if command.verb == "update":
            form = msgspec.convert(command.values, _PATCHES[noun.name])
            values = given_values(form, (*noun.changeable, "metadata"))
            return await self._commands.update(AUTHOR, place, values, **how)
        if command.verb == "move":
            values = given_values(msgspec.convert(command.values, GroupMove), ("parent_group_id", "key"))
            return await self._commands.move(AUTHOR, place, values, **how)
        return await (self._commands.end if command.verb == "end" else self._commands.restore)(AUTHOR, place, **how)


class OverHttp:
    """The running service, asked by an administrator."""

    clock = staticmethod(utc_now)

    def __init__(self, authz: RunningAuthz) -> None:
        self._authz = authz

    async def send(self, command: Command) -> Answer:
        """Give a command."""
        noun = NOUNS[command.noun]
        path = f"{API}/spaces/{command.space_id}/{noun.path}" if noun.name in IN_SPACE else f"{API}/{noun.path}"
        row = f"{path}/{'/'.join(command.identity)}"
        ending, back = noun.ending.command, noun.ending.back
        method, place = {
            "create": ("POST", path),
            "update": ("PATCH", row),
            "end": ("POST", f"{row}/{ending}"),
            "restore": ("POST", f"{row}/{back}"),
            "move": ("POST", f"{row}/move"),
        }[command.verb]
        body = command.values | ({"id": command.identity[-1]} if command.verb == "create" else {})
        body |= {} if command.reason is None else {"reason": command.reason}
        given = {"if_match": command.if_match, "idempotency_key": command.key}
        headers = {name: value for name, value in given.items() if value is not None}
        response = await send(self._authz, method, place, body, **headers)
        if response.status_code not in {200, 201}:
            return Answer(code=response.json()["code"])
        data = response.json()["data"]
        assert response.headers["etag"] == f'"{data["revision"]}"'
        return Answer(row=timed(data), is_repeated="idempotency-replayed" in response.headers)
