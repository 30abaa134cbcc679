"""Ingest: a batch of events in, a receipt for each out."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody
from msgspec import Meta, Raw

from services.audit.log import Log
from services.audit.model import Receipt
from shared.envelope import MAX_BATCH_BYTES, MAX_BATCH_EVENTS
from shared.problems import Problem, ProblemError
from shared.recorded import EventRefused, Recorded, read_event
from shared.web.answers import Answer
from shared.web.context import context_of

_SLICE: Final = 50


class EventBatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Events to append together: all of them or none."""

    events: Annotated[list[Raw], Meta(min_length=1, max_length=MAX_BATCH_EVENTS)]


class IngestData(msgspec.Struct, frozen=True, kw_only=True):
    """Where each event of the batch is, in the batch's order, and the log's size with them."""

    entries: list[Receipt]
    log_size: int


def ingest_handlers(log: Log) -> list[HTTPRouteHandler]:
    """Make the route."""

    @post(
        "/api/v1/events",
        opt={"permission": "audit:write", "zstd": MAX_BATCH_BYTES},
        status_code=200,
        summary="Append a batch of events to the log",
        tags=["events"],
    )
    async def append_events(request: Request[Any, Any, Any], data: JSONBody[EventBatch]) -> Answer[IngestData]:
        """Appends the batch whole or not at all, and answers once it is durable.

        An event that the log has already, byte for byte, is answered with its first index: a batch can be sent again at
        any time. Other bytes under a known id are refused (409). The body may come with `Content-Encoding: zstd`; it then
        holds 4 MiB of JSON at most.
        """
        context = context_of(request.scope)
        appended = await log.append(await _read(data.events), context)
        return Answer(
            data=IngestData(entries=appended.receipts, log_size=appended.log_size), request_id=context.request_id
        )

    return [append_events]


async def _read(events: list[Raw]) -> list[Recorded]:
    recorded = []
    for position, raw in enumerate(events):
        if position % _SLICE == 0:
            # The writer shares this thread: while a batch is read, it must go on feeding PostgreSQL with the one before.
            await asyncio.sleep(0)
        try:
            recorded.append(read_event(bytes(raw)))
        except EventRefused as refused:
            pointer = f"/events/{position}{refused.pointer}"
            raise Problem(
                "validation_failed",
                f"{pointer}: {refused.detail}. Nothing of the batch was appended.",
                errors=[ProblemError(pointer=pointer, detail=refused.detail)],
            ) from refused
    return recorded
