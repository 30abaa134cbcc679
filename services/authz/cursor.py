"""The place where the next page of a list begins, as opaque text for the client."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec

from shared.problems import Problem, ProblemError

_DIGEST_BYTES: Final = 16
_ENCODER: Final = msgspec.json.Encoder(order="sorted")


def write_cursor(last: tuple[str, ...], asked: Mapping[str, str | None]) -> str:
    """Return the text of a cursor behind the row of this identity, bound to the list that it belongs to."""
    return base64.urlsafe_b64encode(_digest(asked) + "\n".join(last).encode()).decode().rstrip("=")


def read_cursor(text: str, asked: Mapping[str, str | None], parts: int) -> tuple[str, ...]:
    """Return the identity behind which a page begins, or raise `invalid_cursor`; the list must be the same."""
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        last = tuple(packed[_DIGEST_BYTES:].decode("ascii").split("\n"))
    except (binascii.Error, ValueError) as error:
        raise _invalid("is not a cursor of this service") from error
    if len(last) != parts or not all(part and part.isprintable() for part in last):
        raise _invalid("is not a cursor of this service")
    if packed[:_DIGEST_BYTES] != _digest(asked):
        raise _invalid("belongs to a list with other filters")
    return last


def _digest(asked: Mapping[str, str | None]) -> bytes:
    return hashlib.sha256(_ENCODER.encode(asked)).digest()[:_DIGEST_BYTES]


def _invalid(what: str) -> Problem:
    return Problem(
        "invalid_cursor",
        f"The cursor {what}; begin again without one, or keep the filters as they were.",
        errors=[ProblemError(parameter="cursor", detail=what)],
    )
