"""Cursors as clients see them: opaque text that holds a place, bound to the question that it belongs to.

A place is whatever bytes a service continues from. The digest of the question guards against mistakes, not against forgery:
a service checks the place that it gets back as it checks any input.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any, Final

import msgspec

from shared.problems import Problem, ProblemError

_DIGEST_BYTES: Final = 16
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


def seal_place(place: bytes, asked: Any) -> str:
    """Return the text of a place, bound to what was asked (any value of JSON)."""
    return base64.urlsafe_b64encode(_digest(asked) + place).decode().rstrip("=")


def open_place(text: str, asked: Any, *, kind: str) -> bytes:
    """Return the place of a text, or raise `invalid_cursor`; what is asked must be what it was made for, a `kind` of list."""
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise no_cursor() from error
    if len(packed) <= _DIGEST_BYTES:
        raise no_cursor()
    if packed[:_DIGEST_BYTES] != _digest(asked):
        raise _invalid(f"belongs to a {kind} with other filters")
    return packed[_DIGEST_BYTES:]


def no_cursor() -> Problem:
    """Make the problem of a text that no service has made."""
    return _invalid("is not a cursor of this service")


def _digest(asked: Any) -> bytes:
    return hashlib.sha256(_ENCODER.encode(asked)).digest()[:_DIGEST_BYTES]


def _invalid(what: str) -> Problem:
    return Problem(
        "invalid_cursor",
        f"The cursor {what}; begin again without one, or keep the filters as they were.",
        errors=[ProblemError(parameter="cursor", detail=what)],
    )
