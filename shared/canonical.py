"""Canonical JSON for values that callers give freely: the RFC 8785 profile of the event contract.

Sorted ASCII keys, no floats, integers within 2^53-1. What can't be written so is refused, with the place and the way out.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

MAX_INTEGER: Final = 2**53 - 1
MAX_DEPTH: Final = 32
_ENCODER: Final = msgspec.json.Encoder(order="sorted")


class NotCanonical(ValueError):
    """A value that has no canonical form; `pointer` (RFC 6901) says where, `detail` what and the way out."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(f"{pointer or 'the value'}: {detail}")
        self.pointer = pointer
        self.detail = detail


def canonical_json(value: Any) -> bytes:
    """Write plain JSON values (dict, list, str, int, bool, None) as canonical bytes, or raise `NotCanonical`."""
    _check(value, 0)
    return _ENCODER.encode(value)


def _check(value: Any, depth: int) -> None:
    """Raise `NotCanonical`; the place is put together on the way out, so that what is right costs nothing for it."""
    if depth > MAX_DEPTH:
        raise NotCanonical("", f"is nested deeper than {MAX_DEPTH}")
    if isinstance(value, str):
        if "\x00" in value:
            raise NotCanonical("", "holds the character NUL; leave it out")
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise NotCanonical("", "holds half of a surrogate pair, which UTF-8 cannot write; leave it out")
    elif value is None or isinstance(value, bool):
        return
    elif isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise NotCanonical("", "is an integer beyond 2^53-1; write it as a string")
    elif isinstance(value, dict):
        for key, child in value.items():
            if not isinstance(key, str) or not key.isascii() or not key.isprintable():
                raise NotCanonical("", f"has the key {str(key)[:50]!r}; keys are printable ASCII")
            try:
                _check(child, depth + 1)
            except NotCanonical as error:
                raise _below(key.replace("~", "~0").replace("/", "~1"), error) from None
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            try:
                _check(child, depth + 1)
            except NotCanonical as error:
                raise _below(str(index), error) from None
    elif isinstance(value, float):
        raise NotCanonical("", "is a number with a fraction or exponent; write it as a string")
    else:
        raise NotCanonical("", f"is a {type(value).__name__}, which JSON does not have")


def _below(token: str, error: NotCanonical) -> NotCanonical:
    return NotCanonical(f"/{token}{error.pointer}", error.detail)
