"""Searches: decisions, events of every kind, and one event in full."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar import Request, get
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter
from msgspec import Meta, Raw

from services.audit.model import DecisionRow, EventRow
from services.audit.search import Search
from services.audit.store import Filters
from shared.envelope import DECISION_MADE, DenyCode, EventId, Kind, RequestId, Text
from shared.identifiers import Id
from shared.problems import Problem
from shared.web.answers import Answer, Listing, Page
from shared.web.context import context_of

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200
_PARAMETERS: Final = {*Filters.__struct_fields__, "from", "to", "limit", "cursor"} - {"since", "until"}
Moment = Annotated[datetime, Meta(tz=True)]
Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT)]
CursorText = Annotated[str, Meta(max_length=100)]


class EventDetail(EventRow, frozen=True, kw_only=True):
    """One event in full.

    `event` is the stored document, byte for byte as its producer sent it, in canonical form; `leaf_hash` is SHA-256 of a
    zero byte and those bytes, in hexadecimal; `trace` is the event's `data` if it is a decision, else null.
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
        opt={"permission": "audit:read", "query": _PARAMETERS},
        dependencies={"filters": Provide(read_filters, sync_to_thread=False)},
        summary="Search the decisions, newest first",
        tags=["audit"],
    )
    async def list_decisions(
        request: Request[Any, Any, Any],
        filters: Filters,
        limit: Limit = DEFAULT_LIMIT,
        cursor: CursorText | None = None,
    ) -> Listing[DecisionRow]:
        """Returns the decisions that pass every filter given, newest first, page by page."""
        request_id = context_of(request.scope).request_id
        if filters.kind not in (None, DECISION_MADE):
            return Listing(data=[], page=Page(next_cursor=None), request_id=request_id)
        asked = msgspec.structs.replace(filters, kind=DECISION_MADE)
        found = await search.find_page(asked, limit=limit, cursor=cursor)
        rows = [_as_decision(row) for row in found.rows]
        return Listing(data=rows, page=Page(next_cursor=found.next_cursor), request_id=request_id)

    @get(
        "/api/v1/audit/events",
        opt={"permission": "audit:read", "query": _PARAMETERS},
        dependencies={"filters": Provide(read_filters, sync_to_thread=False)},
        summary="Search the events of every kind, newest first",
        tags=["audit"],
    )
    async def list_events(
        request: Request[Any, Any, Any],
        filters: Filters,
        limit: Limit = DEFAULT_LIMIT,
        cursor: CursorText | None = None,
    ) -> Listing[EventRow]:
        """Returns the events that pass every filter given, newest first, page by page."""
        found = await search.find_page(filters, limit=limit, cursor=cursor)
        page = Page(next_cursor=found.next_cursor)
        return Listing(data=found.rows, page=page, request_id=context_of(request.scope).request_id)

    @get(
        "/api/v1/audit/events/{event_id:str}",
        opt={"permission": "audit:read"},
        summary="Read one event in full",
        tags=["audit"],
    )
    async def get_event(request: Request[Any, Any, Any], event_id: EventId) -> Answer[EventDetail]:
        """Returns the row of an event, the stored document and its hash; for a decision also its trace."""
        stored = await search.get_event(event_id)
        if stored is None:
            raise Problem("event_not_found", f"The log has no event {event_id}.")
        detail = EventDetail(
            **{name: getattr(stored, name) for name in EventRow.__struct_fields__},
            event=Raw(stored.leaf),
            leaf_hash=stored.leaf_hash.hex(),
            trace=msgspec.json.decode(stored.leaf, type=_Document).data
            if stored.kind == DECISION_MADE
            else Raw(b"null"),
        )
        return Answer(data=detail, request_id=context_of(request.scope).request_id)

    return [list_decisions, list_events, get_event]


def read_filters(
    space_id: Id | None = None,
    user_id: Id | None = None,
    member_id: Id | None = None,
    resource_type: Id | None = None,
    resource_id: Text | None = None,
    action: Id | None = None,
    decision: Literal["allow", "deny"] | None = None,
    deny_code: DenyCode | None = None,
    request_id: RequestId | None = None,
    kind: Kind | None = None,
    since: Annotated[Moment | None, Parameter(query="from", description="recorded at this time or later")] = None,
    until: Annotated[Moment | None, Parameter(query="to", description="recorded before this time")] = None,
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
        since=since,
        until=until,
    )


def _as_decision(row: EventRow) -> DecisionRow:
    return DecisionRow(**{name: getattr(row, name) for name in DecisionRow.__struct_fields__})
