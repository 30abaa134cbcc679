"""Administration over HTTP: for each noun of the permission graph the same routes, made from `nouns.py`.

A noun's handlers differ in their types alone, so they are written once and given their signatures when they are made.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Request, Response, get, patch, post
from litestar.constants import RESERVED_KWARGS
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody, QueryParameter

from services.authz.commands import Commands, Outcome, given_values
from services.authz.directory import Directory, Place
from services.authz.nouns import FORMS, NOUNS, Noun, creation_form, patch_form
from services.authz.routes.administration import (
    API,
    AtLeast,
    IdempotencyKey,
    IfMatch,
    PathId,
    answered,
    author_of,
    once_of,
)
from services.authz.rows import GroupKey, Prose
from shared.envelope import whole
from shared.identifiers import Id, new_id
from shared.web.answers import Answer, Listing, Page
from shared.web.context import context_of

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200
Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="most rows on a page")]
CursorText = Annotated[
    str | None, QueryParameter(max_length=600, description="where the page begins: `next_cursor` of the page before")
]
_UNNAMED: Final = inspect.Parameter.KEYWORD_ONLY


class Reason(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Why something is done; it is kept in the event."""

    reason: Prose | None = None


class DemandedReason(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why something is revoked; it is kept in the event and in the row."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=2_000, pattern=r"^[^\x00]*\Z")]


class GroupMove(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a group goes with all that is below it: `parent_group_id` null makes it a root; `key` may change too."""

    parent_group_id: Id | None
    key: GroupKey | msgspec.UnsetType = msgspec.UNSET
    reason: Prose | None = None


def directory_handlers(commands: Commands, directory: Directory) -> list[HTTPRouteHandler]:
    """Make the routes of every noun."""
    return [handler for noun in NOUNS.values() for handler in _handlers_of(noun, commands, directory)]


def _handlers_of(noun: Noun, commands: Commands, directory: Directory) -> list[HTTPRouteHandler]:
    prefix = f"{API}/spaces/{{space_id:str}}/{noun.path}" if noun.in_space else f"{API}/{noun.path}"
    row = prefix + "".join(f"/{{{name}:str}}" for name in _row_parameters(noun))
    in_space: dict[str, Any] = {"space_id": PathId} if noun.in_space else {}
    of_row = in_space | dict.fromkeys(_row_parameters(noun), PathId)
    answer = _of(Response, _of(Answer, FORMS[noun.name]))
    a_noun = f"a{'n' if noun.name[0] in 'aeio' else ''} {noun.words}"

    async def list_rows(request: Request[Any, Any, Any], **given: Any) -> Any:
        page = await directory.find_page(
            noun,
            given.get("space_id"),
            {name: given[_argument(name)] for name in (*noun.filters, "status")},
            limit=given["limit"],
            cursor=given["cursor"],
            at_least=given["at_least_revision"],
        )
        return Listing(
            data=page.rows, page=Page(next_cursor=page.next_cursor), request_id=context_of(request.scope).request_id
        )

    async def read(request: Request[Any, Any, Any], **given: Any) -> Any:
        found = await directory.get(_place(noun, given), given["at_least_revision"])
        return answered(request, found, revision=found.revision)

    async def create(request: Request[Any, Any, Any], data: Any, **given: Any) -> Any:
        names = [name for name in data.__struct_fields__ if name != "reason"]
        values = given_values(data, names) | {name: given[name] for name in in_space}
        values["id"] = values["id"] or new_id(noun.prefix)
        once = await once_of(request, given["idempotency_key"])
        outcome = await commands.make(author_of(request), noun, values, reason=data.reason, once=once)
        return _done(request, noun, outcome, status=201)

    async def change(request: Request[Any, Any, Any], data: Any, **given: Any) -> Any:
        outcome = await commands.update(
            author_of(request),
            _place(noun, given),
            given_values(data, (*noun.changeable, "metadata")),
            reason=data.reason,
            if_match=given["if_match"],
            once=await once_of(request, given["idempotency_key"]),
        )
        return _done(request, noun, outcome)

    def command(run: Callable[..., Awaitable[Outcome]]) -> Callable[..., Awaitable[Any]]:
        async def handle(request: Request[Any, Any, Any], data: Any, **given: Any) -> Any:
            outcome = await run(
                author_of(request),
                _place(noun, given),
                reason=data.reason,
                if_match=given["if_match"],
                once=await once_of(request, given["idempotency_key"]),
            )
            return _done(request, noun, outcome)

        return handle

    async def move(request: Request[Any, Any, Any], data: GroupMove, **given: Any) -> Any:
        outcome = await commands.move(
            author_of(request),
            _place(noun, given),
            given_values(data, ("parent_group_id", "key")),
            reason=data.reason,
            if_match=given["if_match"],
            once=await once_of(request, given["idempotency_key"]),
        )
        return _done(request, noun, outcome)

    writes: dict[str, Any] = {"if_match": (IfMatch, None), "idempotency_key": (IdempotencyKey, None)}
    listed = {
        **in_space,
        **{_argument(name): (_filter(name), None) for name in noun.filters},
        "status": (_filter("status", Literal["active", noun.ending.status]), None),
        "limit": (Limit, DEFAULT_LIMIT),
        "cursor": (CursorText, None),
        "at_least_revision": (AtLeast, 0),
    }
    known = {*noun.filters, "status", "limit", "cursor", "at_least_revision"}
    reading: dict[str, Any] = {"permission": "authz:read"}
    writing: dict[str, Any] = {"permission": "authz:write"}
    ending = noun.ending
    reason = DemandedReason if ending.demands_reason else Reason
    handlers = [
        get(
            prefix,
            opt=reading | {"query": known},
            summary=f"List {noun.words}s",
            tags=[noun.path],
            operation_id=f"list_{noun.name}s",
        )(_typed(list_rows, f"list_{noun.name}s", _of(Listing, FORMS[noun.name]), listed)),
        post(prefix, opt=writing, summary=f"Make {a_noun}", tags=[noun.path], operation_id=f"create_{noun.name}")(
            _typed(
                create,
                f"create_{noun.name}",
                answer,
                {"data": _of(JSONBody, creation_form(noun)), **in_space, "idempotency_key": (IdempotencyKey, None)},
            )
        ),
        get(
            row,
            opt=reading | {"query": {"at_least_revision"}},
            summary=f"Read {a_noun}",
            tags=[noun.path],
            operation_id=f"get_{noun.name}",
        )(_typed(read, f"get_{noun.name}", answer, of_row | {"at_least_revision": (AtLeast, 0)})),
        patch(row, opt=writing, summary=f"Change {a_noun}", tags=[noun.path], operation_id=f"update_{noun.name}")(
            _typed(change, f"update_{noun.name}", answer, {"data": _of(JSONBody, patch_form(noun)), **of_row, **writes})
        ),
        _command(
            noun,
            ending.command,
            row,
            _typed(command(commands.end), "", answer, {"data": _of(JSONBody, reason), **of_row, **writes}),
        ),
    ]
    if ending.back is not None:
        typed = _typed(command(commands.restore), "", answer, {"data": JSONBody[Reason], **of_row, **writes})
        handlers.append(_command(noun, ending.back, row, typed))
    if noun.name == "group":
        typed = _typed(move, "", answer, {"data": JSONBody[GroupMove], **of_row, **writes})
        handlers.append(_command(noun, "move", row, typed))
    return handlers


def _argument(name: str) -> str:
    """Name the argument of a filter: Litestar keeps some names for itself."""
    return f"{name}_" if name in RESERVED_KWARGS else name


def _filter(name: str, kind: Any = str) -> Any:
    """Make the type of a filter."""
    if kind is str:
        return Annotated[
            str | None, QueryParameter(name=name, min_length=1, max_length=320, pattern=whole(r"[^\x00]+"))
        ]
    return Annotated[kind | None, QueryParameter(name=name)]


def _of(generic: Any, inner: Any) -> Any:
    """Return a generic type for an inner one that is made at run time."""
    return generic[inner]


def _command(noun: Noun, verb: str, row: str, handler: Callable[..., Any]) -> HTTPRouteHandler:
    name = handler.__name__ = f"{verb}_{noun.name}"
    summary = f"{verb.capitalize()} a {noun.words}"
    return post(
        f"{row}/{verb}",
        opt={"permission": "authz:write"},
        status_code=200,
        summary=summary,
        tags=[noun.path],
        operation_id=name,
    )(handler)


def _typed(handler: Callable[..., Any], name: str, returns: Any, parameters: dict[str, Any]) -> Callable[..., Any]:
    """Give a handler its name and signature: `parameters` are types, or a type and a default."""
    handler.__name__ = name
    typed = {"request": Request[Any, Any, Any], **parameters}
    pairs = {
        key: value if isinstance(value, tuple) else (value, inspect.Parameter.empty) for key, value in typed.items()
    }
    handler.__annotations__ = {key: kind for key, (kind, _) in pairs.items()} | {"return": returns}
    handler.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what inspect looks at first
        [inspect.Parameter(key, _UNNAMED, default=default, annotation=kind) for key, (kind, default) in pairs.items()],
        return_annotation=returns,
    )
    return handler


def _row_parameters(noun: Noun) -> tuple[str, ...]:
    """Name the segments of a row's path: its id, for a resource its type and id."""
    own = f"{noun.name}_id"
    return (own,) if noun.identity == ("id",) else ("resource_type", own)


def _place(noun: Noun, given: dict[str, Any]) -> Place:
    *resource_type, own = _row_parameters(noun)
    # The id of a Space is its own, not the one it lies in.
    space_id = given["space_id"] if noun.in_space else None
    return Place(noun, given[own], space_id, given["resource_type"] if resource_type else None)


def _done(request: Request[Any, Any, Any], noun: Noun, outcome: Outcome, status: int = 200) -> Response[Any]:
    row = msgspec.convert(outcome.data, FORMS[noun.name])
    headers = {}
    if status == 201:
        place = "/".join(outcome.data[field] for field in noun.identity)
        headers["location"] = f"{request.scope['path']}/{place}"
    return answered(
        request, row, revision=outcome.data["revision"], is_repeated=outcome.is_repeated, status=status, **headers
    )
