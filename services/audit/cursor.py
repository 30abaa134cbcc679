"""The place where the next page of a search begins, as opaque text for the client."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from services.audit.store import Filters
from shared.web.cursor import no_cursor, open_place, seal_place

_VERSION: Final = 1
_FORM: Final = struct.Struct(">BQQ")


class Cursor(NamedTuple):
    """Everything up to the index `before` is on earlier pages; `log_size` is that of the first page's moment.

    An insert-only log read downwards from a fixed size neither repeats nor skips an entry, however it grows meanwhile.
    """

    before: int
    log_size: int


def write_cursor(cursor: Cursor, filters: Filters) -> str:
    """Return the cursor's text, bound to the filters that it belongs to."""
    return seal_place(_FORM.pack(_VERSION, cursor.before, cursor.log_size), filters)


def read_cursor(text: str, filters: Filters) -> Cursor:
    """Return the cursor of a text, or raise the problem `invalid_cursor`; the filters must be those it was made for."""
    try:
        version, before, log_size = _FORM.unpack(open_place(text, filters, kind="search"))
    except struct.error as error:
        raise no_cursor() from error
    if version != _VERSION or not 0 < before < log_size < 2**63:
        raise no_cursor()
    return Cursor(before, log_size)
