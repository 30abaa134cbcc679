"""The place where the next page of a search begins, as opaque text for the client."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from typing import Final, NamedTuple

import msgspec

from services.audit.store import Filters
from shared.problems import Problem, ProblemError

_VERSION: Final = 1
_FORM: Final = struct.Struct(">BQQ16s")
_ENCODER: Final = msgspec.json.Encoder()


class Cursor(NamedTuple):
    """Everything up to the index `before` is on earlier pages; `log_size` is that of the first page's moment.

    An insert-only log read downwards from a fixed size neither repeats nor skips an entry, however it grows meanwhile.
    """

    before: int
    log_size: int


def write_cursor(cursor: Cursor, filters: Filters) -> str:
    """Return the cursor's text, bound to the filters that it belongs to."""
    packed = _FORM.pack(_VERSION, cursor.before, cursor.log_size, _digest(filters))
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def read_cursor(text: str, filters: Filters) -> Cursor:
    """Return the cursor of a text, or raise the problem `invalid_cursor`; the filters must be those it was made for."""
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        version, before, log_size, digest = _FORM.unpack(packed)
    except (binascii.Error, ValueError, struct.error) as error:
        raise _invalid("is not a cursor of this service") from error
    if version != _VERSION or not 0 < before < log_size < 2**63:
        raise _invalid("is not a cursor of this service")
    if digest != _digest(filters):
        raise _invalid("belongs to a search with other filters")
    return Cursor(before, log_size)


def _digest(filters: Filters) -> bytes:
    return hashlib.sha256(_ENCODER.encode(filters)).digest()[:16]


def _invalid(what: str) -> Problem:
    return Problem(
        "invalid_cursor",
        f"The cursor {what}; begin again without one, or keep the filters as they were.",
        errors=[ProblemError(parameter="cursor", detail=what)],
    )
