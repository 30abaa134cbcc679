"""Import over HTTP: newline-delimited JSON in, a report of its lines out."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import msgspec
from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema

from services.authz.importing import IMPORTED, MAX_DECODED_BYTES, MAX_LINES, Importing, ImportReport
from services.authz.routes.administration import API, IdempotencyKey, answered, author_of, once_of
from shared.web.answers import Answer

IMPORT_PATH: Final = f"{API}/import"
NDJSON: Final = "application/x-ndjson"


@dataclasses.dataclass
class _Lines(Operation):
    """An operation whose body is lines, which Litestar doesn't know of: the handler reads them by itself."""

    def __post_init__(self) -> None:
        """Describe the body."""
        nouns = ", ".join(f"`{name}`" for name in IMPORTED)
        about = (
            f"One JSON object a line, at most {MAX_LINES} lines. `noun` is one of {nouns}; `space_id` stands in those of a "
            "Space; the other fields are those of the request that makes such a row."
        )
        schema = Schema(description=about)  # of any kind: what is no such object is told as an error of its line
        self.request_body = RequestBody(content={NDJSON: OpenAPIMediaType(schema=schema)}, required=True)


def import_handlers(importing: Importing) -> list[HTTPRouteHandler]:
    """Make the route."""

    @post(
        IMPORT_PATH,
        opt={"permission": "authz:write", "media": NDJSON, "zstd": MAX_DECODED_BYTES},
        status_code=200,
        summary="Make many rows at once",
        tags=["import"],
        operation_class=_Lines,
    )
    async def import_rows(
        request: Request[Any, Any, Any], idempotency_key: IdempotencyKey = None
    ) -> Response[Answer[ImportReport]]:
        """Writes the good lines in their order, in one transaction, and tells of each bad one its number and what is wrong.

        The first line is 1; lines of blanks count and are passed over. A line whose id is there already with the values
        that it gives is `unchanged`; with others it is refused (`duplicate_id`). A grant that was revoked is granted again,
        unless the line has its id. The body may come with `Content-Encoding: zstd`; it then holds 4 MiB at most.
        """
        once = await once_of(request, idempotency_key)
        outcome = await importing.write(author_of(request), await request.body(), once)
        return answered(request, msgspec.convert(outcome.data, ImportReport), is_repeated=outcome.is_repeated)

    return [import_rows]
