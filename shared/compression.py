"""Zstandard (RFC 8878) for events on their way: frames that can be joined without being looked into.

Traces of one service are much alike, so a commit of eleven takes a tenth of its size, for some 2 µs an event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import zstandard

CODING: Final = "zstd"
# Higher levels cost several times as much for a few percent.
_LEVEL: Final = 1


class NotCompressed(ValueError):
    """Bytes that aren't frames of Zstandard."""


class TooLong(ValueError):
    """Frames that hold more than the reader is willing to take."""


def new_compressor() -> Callable[[bytes], bytes]:
    """Return a function that writes one frame; it keeps its tables from call to call, so it is for one thread."""
    return zstandard.ZstdCompressor(level=_LEVEL).compress


def decompress(frames: bytes, limit: int) -> bytes:
    """Return what one or more frames hold together, at most `limit` bytes; raises `NotCompressed` or `TooLong`.

    What is cut off at the end is not found out here: whoever reads the content must know its end.
    """
    try:
        with zstandard.ZstdDecompressor().stream_reader(frames, read_across_frames=True) as reader:
            content: bytes = reader.read(limit + 1)
    except zstandard.ZstdError as error:
        raise NotCompressed(str(error)) from error
    if len(content) > limit:
        raise TooLong(f"more than {limit} bytes")
    return content
