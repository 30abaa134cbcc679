"""Searches: decisions, events of every kind, and one event in full."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Request, get
from litestar.di import NamedDependency, Provide
from litestar.handlers import HTTPRouteHandler
from litestar.params import PathParameter, QueryParameter
from msgspec import Raw

from services.audit.model import DecisionRow, EventRow
from services.audit.search import Search
from services.audit.store import Filters
from shared.envelope import (
    DECISION_AS_OF,
    DECISION_MADE,
    DENY_CODE_FORM,
    EVENT_ID_FORM,
    ID_FORM,
    KIND_FORM,
    REQUEST_ID_FORM,
    TEXT_FORM,
    whole,
)
from shared.problems import Problem, ProblemError
from shared.web.answers import Answer, Listing, Page
from shared.web.context import context_of

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200
_OF_EVENTS: Final = {*Filters.__struct_fields__, "from", "to", "limit", "cursor"} - {"since", "until"}
# A decision happens to no entity.
_OF_DECISIONS: Final = _OF_EVENTS - {"entity_type", "entity_id"}
# Litestar enforces its own constraints on parameters, not msgspec's.
OptionalId = Annotated[str | None, QueryParameter(pattern=whole(ID_FORM))]
OptionalText = Annotated[str | None, QueryParameter(min_length=1, max_length=256, pattern=whole(TEXT_FORM))]
OptionalDecision = Annotated[Literal["allow", "deny"] | None, QueryParameter()]
OptionalDenyCode = Annotated[str | None, QueryParameter(pattern=whole(DENY_CODE_FORM))]
OptionalRequestId = Annotated[str | None, QueryParameter(pattern=whole(REQUEST_ID_FORM))]
OptionalKind = Annotated[str | None, QueryParameter(pattern=whole(KIND_FORM))]
EntityType = Annotated[
    str | None,
    QueryParameter(pattern=whole(ID_FORM), description="the kind of what was changed, such as `member_role`"),
]
EntityId = Annotated[str | None, QueryParameter(pattern=whole(ID_FORM), description="the id of what was changed")]
# What msgspec takes for a time is more than RFC 3339, down to the text 0.5.
_RFC3339: Final = r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)"
_TIME: Final = {"type": "string", "format": "date-time", "pattern": f"^{_RFC3339}$"}
Since = Annotated[
    str | None, QueryParameter(name="from", description="recorded at this time or later; RFC 3339", schema_extra=_TIME)
]
Until = Annotated[
    str | None, QueryParameter(name="to", description="recorded before this time; RFC 3339", schema_extra=_TIME)
]
Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIMIT, description="most rows on a page")]
CursorText = Annotated[
    str | None, QueryParameter(max_length=100, description="where the page begins: `next_cursor` of the page before")
]
PathEventId = Annotated[str, PathParameter(pattern=whole(EVENT_ID_FORM), description="a UUIDv7 in lower case")]


class EventDetail(EventRow, frozen=True, kw_only=True):
    """One event in full.

    `event` is the stored document, byte for byte as its producer sent it, in canonical form; `leaf_hash` is SHA-256 of a
    zero byte and those bytes, in hexadecimal; `trace` is the event's `data` if it is a decision, live or about the past,
    else null.
    """

    event: Raw
    leaf_hash: str
    trace: Raw


class _Document(msgspec.Struct):
    data: Raw


def query_handlers(search: Search) -> list[HTTPRouteHandler]:
    """Make the routes."""

    @get(
        "/api/v1/audit/decisions",
        opt={"permission": "audit:read", "query": _OF_DECISIONS},
        dependencies={"filters": Provide(read_filters, sync_to_thread=False)},
        summary="Search the decisions, newest first",
        tags=["audit"],
    )
    async def list_decisions(
        request: Request[Any, Any, Any],
        filters: NamedDependency[Filters],
        limit: Limit = DEFAULT_LIMIT,
        cursor: CursorText = None,
    ) -> Listing[DecisionRow]:
        """Returns the decisions that pass every filter given, newest first, page by page.

        Answers about the past (`decision.as_of`) are no decisions; they are among the events.
        """
        request_id = context_of(request.scope).request_id
        if filters.kind not in (None, DECISION_MADE):
            return Listing(data=[], page=Page(next_cursor=None), request_id=request_id)
        asked = msgspec.structs.replace(filters, kind=DECISION_MADE)
        found = await search.find_page(asked, limit=limit, cursor=cursor)
        rows = [_as_decision(row) for row in found.rows]
        return Listing(data=rows, page=Page(next_cursor=found.next_cursor), request_id=request_id)

    @get(
        "/api/v1/audit/events",
        opt={"permission": "audit:read", "query": _OF_EVENTS},
        dependencies={
            "common": Provide(read_filters, sync_to_thread=False),
            "filters": Provide(read_event_filters, sync_to_thread=False),
        },
        summary="Search the events of every kind, newest first",
        tags=["audit"],
    )
    async def list_events(
        request: Request[Any, Any, Any],
        filters: NamedDependency[Filters],
        limit: Limit = DEFAULT_LIMIT,
        cursor: CursorText = None,
    ) -> Listing[EventRow]:
        """Returns the events that pass every filter given, newest first, page by page.

        A change of the permission graph has the row that it happened to as its entity: `entity_type=member_role` and
        `entity_id=mr_1` find the whole history of that grant. What the row was before and after is in the event in full.
        """
        found = await search.find_page(filters, limit=limit, cursor=cursor)
        page = Page(next_cursor=found.next_cursor)
        return Listing(data=found.rows, page=page, request_id=context_of(request.scope).request_id)

    @get(
        "/api/v1/audit/events/{event_id:str}",
        opt={"permission": "audit:read"},
        summary="Read one event in full",
        tags=["audit"],
    )
    async def get_event(request: Request[Any, Any, Any], event_id: PathEventId) -> Answer[EventDetail]:
        """Returns the row of an event, the stored document and its hash; for a decision also its trace.

        The `data` of a change has `actor` (with the id of the API key), `reason`, `before` (null for what was made) and
        `after`, each the whole row.
        """
        stored = await search.get_event(event_id)
        if stored is None:
            raise Problem("event_not_found", f"The log has no event {event_id}.")
        detail = EventDetail(
            **{name: getattr(stored, name) for name in EventRow.__struct_fields__},
            event=Raw(stored.leaf),
            leaf_hash=stored.leaf_hash.hex(),
            trace=msgspec.json.decode(stored.leaf, type=_Document).data
            if stored.kind in (DECISION_MADE, DECISION_AS_OF)
            else Raw(b"null"),
        )
        return Answer(data=detail, request_id=context_of(request.scope).request_id)

    return [list_decisions, list_events, get_event]


def read_filters(
    space_id: OptionalId = None,
    user_id: OptionalId = None,
    member_id: OptionalId = None,
    resource_type: OptionalId = None,
    resource_id: OptionalText = None,
    action: OptionalId = None,
    decision: OptionalDecision = None,
    deny_code: OptionalDenyCode = None,
    request_id: OptionalRequestId = None,
    kind: OptionalKind = None,
    since: Since = None,
    until: Until = None,
) -> Filters:
    """Gather the filters from the query."""
    return Filters(
        kind=kind,
        space_id=space_id,
        user_id=user_id,
        member_id=member_id,
        resource_type=resource_type,
        resource_id=resource_id,
        action=action,
        decision=decision,
        deny_code=deny_code,
        request_id=request_id,
        since=_moment("from", since),
        until=_moment("to", until),
    )


def read_event_filters(
    common: NamedDependency[Filters], entity_type: EntityType = None, entity_id: EntityId = None
) -> Filters:
    """Add the filters that only events of other kinds than decisions pass."""
    return msgspec.structs.replace(common, entity_type=entity_type, entity_id=entity_id)


def _moment(parameter: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        if re.fullmatch(_RFC3339, text):
            return msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        pass  # of the right form, but no such day or hour
    detail = f"{text[:40]!r} is not a time of RFC 3339; write it as 2026-01-31T12:00:00Z"
    raise Problem(
        "validation_failed",
        f"{parameter}: {detail}.",
        errors=[ProblemError(parameter=parameter, detail=detail)],
    )


def _as_decision(row: EventRow) -> DecisionRow:
    return DecisionRow(**{name: getattr(row, name) for name in DecisionRow.__struct_fields__})
