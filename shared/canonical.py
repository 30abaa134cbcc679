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
    _check(value, "", 0)
    return _ENCODER.encode(value)


def _check(value: Any, pointer: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise NotCanonical(pointer, f"is nested deeper than {MAX_DEPTH}")
    match value:
        case float():
            raise NotCanonical(pointer, "is a number with a fraction or exponent; write it as a string")
        case bool() | None:
            return
        case int():
            if abs(value) > MAX_INTEGER:
                raise NotCanonical(pointer, "is an integer beyond 2^53-1; write it as a string")
        case str():
            if "\x00" in value:
                raise NotCanonical(pointer, "holds the character NUL; leave it out")
            if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
                raise NotCanonical(pointer, "holds half of a surrogate pair, which UTF-8 cannot write; leave it out")
        case dict():
            for key, child in value.items():
                if not isinstance(key, str) or not key.isascii() or not key.isprintable():
                    raise NotCanonical(pointer, f"has the key {str(key)[:50]!r}; keys are printable ASCII")
                _check(child, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}", depth + 1)
        case list() | tuple():
            for index, child in enumerate(value):
                _check(child, f"{pointer}/{index}", depth + 1)
        case _:
            raise NotCanonical(pointer, f"is a {type(value).__name__}, which JSON does not have")
