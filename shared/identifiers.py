"""The form of ids, and how new ones are made: `<prefix>_<uuidv7 hex>` for rows, plain UUIDv7 for events."""

from __future__ import annotations

import os
import random
import re
import time
from typing import Annotated, Final

import msgspec

ID_PATTERN: Final = r"^[A-Za-z0-9_.:@-]{1,128}$"
# msgspec matches with `search`, and `$` would admit a trailing newline: `\Z` admits none.
Id = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.:@-]{1,128}\Z", description="1–128 of A–Z a–z 0–9 _ . : @ -")]

_REQUEST_ID: Final = re.compile(rb"[\x21\x23-\x5b\x5d-\x7e]{1,128}")


# Ids must be unique, not secret: a generator seeded from the system once is enough, and ten times faster than asking the
# system each time. A forked child would repeat its parent's ids, so it gets a seed of its own.
_random = random.Random(os.urandom(32))
os.register_at_fork(after_in_child=lambda: _random.seed(os.urandom(32)))


def _uuid7() -> str:
    """Make a UUIDv7 (RFC 9562 §5.7) as 32 hex digits: 48 bits of Unix milliseconds, then 74 random bits."""
    bits = _random.getrandbits(74)
    variant = 0x8000_0000_0000_0000 | (bits & 0x3FFF_FFFF_FFFF_FFFF)
    return f"{time.time_ns() // 1_000_000:012x}7{bits >> 62:03x}{variant:016x}"


def new_uuid7() -> str:
    """Make a UUIDv7 in its usual form."""
    digits = _uuid7()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def new_id(prefix: str) -> str:
    """Make an id for a new row, such as `member_0199c3…`."""
    return f"{prefix}_{_uuid7()}"


def request_id_from(header: bytes | None) -> str:
    """Keep a caller's request id of 1–128 printable ASCII characters without quotes, backslash, space; else make one."""
    if header is not None and _REQUEST_ID.fullmatch(header):
        return header.decode("ascii")
    return new_id("req")
