"""What the routes of administration have in common: their parameters, who asks, and how they are answered."""

from __future__ import annotations

from typing import Annotated, Any, Final

from litestar import Request, Response
from litestar.params import HeaderParameter, PathParameter, QueryParameter

from services.authz.directory import etag
from services.authz.idempotency import Once, once_for
from services.authz.journal import Author
from shared.canonical import MAX_INTEGER
from shared.envelope import ID_FORM, whole
from shared.web.answers import Answer
from shared.web.context import context_of

API: Final = "/api/v1"
PathId = Annotated[str, PathParameter(pattern=whole(ID_FORM))]
AtLeast = Annotated[
    int,
    QueryParameter(
        name="at_least_revision",
        ge=0,
        le=MAX_INTEGER,
        description="what is read is of this revision or later; 503 `revision_not_reached` when it doesn't come in 2 s",
    ),
]
IfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match", max_length=1_000, description="the row's `ETag` as it was read; 412 when it changed since"
    ),
]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+\Z",
        description="the same key and request again, within a day, is answered as it was at first, and done once",
    ),
]


def author_of(request: Request[Any, Any, Any]) -> Author:
    """Return who makes the change that a request asks for."""
    context = context_of(request.scope)
    return Author(
        credential_id=context.credential_id,
        ip=context.ip,
        request_id=context.request_id,
        trace_id=context.trace_id,
        user_agent=context.user_agent,
    )


async def once_of(request: Request[Any, Any, Any], key: str | None) -> Once | None:
    """Return what the Idempotency-Key of a request stands for; None without one."""
    if key is None:
        return None
    # If-Match is part of what is asked: the same body under another condition is another request.
    condition = request.headers.get("if-match", "").encode("latin-1", "replace")
    body = condition + b"\n" + await request.body()
    asked = f"{request.scope['path']}?{request.scope['query_string'].decode('latin-1')}"
    return once_for(context_of(request.scope).credential_id or "", key, request.method, asked, body)


def answered(
    request: Request[Any, Any, Any],
    data: Any,
    *,
    revision: int | None = None,
    is_repeated: bool = False,
    status: int = 200,
    **headers: str,
) -> Response[Any]:
    """Answer with data, tagged by the revision that it is of, if it is of one; a repeated answer says that it is one."""
    if revision is not None:
        headers["etag"] = etag(revision)
    if is_repeated:
        headers["idempotency-replayed"] = "true"
    answer = Answer(data=data, request_id=context_of(request.scope).request_id)
    return Response(answer, status_code=status, headers={"cache-control": "no-store", **headers})
