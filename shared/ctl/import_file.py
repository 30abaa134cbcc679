"""The lines of a file in batches, read as they are needed: memory is that of one batch, however long the file is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

import msgspec

# What one request may hold, with room to spare: it then fits into a request however badly it can be compressed.
MAX_BATCH_BYTES: Final = 1_000_000
# No row that the database takes needs a longer one.
MAX_LINE_BYTES: Final = 131_072
_HEAD_BYTES: Final = 65_536
_EMPTY: Final = b"\n"


class LineFault(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a line of the file, the first being 1."""

    line: int
    code: str
    detail: str
    pointer: str | None = None


class Place(NamedTuple):
    """A place between two lines: how many bytes and lines are before it."""

    offset: int = 0
    line: int = 0


class Batch(NamedTuple):
    """Lines to be sent together, and where they begin and end. A line that can't be sent is an empty one, and a fault."""

    begin: Place
    end: Place
    content: bytes
    faults: list[LineFault]


class FileIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What tells a file from another one under its name."""

    size: int
    modified_ns: int
    head_sha256: str


def identify(file: BinaryIO) -> FileIdentity:
    """Return what tells an open file from others; it is read from its beginning afterwards."""
    status = os.fstat(file.fileno())
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    return FileIdentity(
        size=status.st_size, modified_ns=status.st_mtime_ns, head_sha256=hashlib.sha256(head).hexdigest()
    )


def read_batches(file: BinaryIO, begin: Place, most_lines: int) -> Iterator[Batch]:
    """Read batches from the place that the file stands at; the same file gives the same batches from there on."""
    content: list[bytes] = []
    faults: list[LineFault] = []
    end, size = begin, 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        length, fault = len(line), None
        if length > MAX_LINE_BYTES and not line.endswith(b"\n"):
            length += _skip_line(file)
            fault = f"The line has {length} bytes; at most {MAX_LINE_BYTES} are taken."
        elif not line.isascii():
            fault = _fault_of(line)
        sent = line if fault is None else _EMPTY
        if len(content) == most_lines or size + len(sent) > MAX_BATCH_BYTES:
            yield Batch(begin, end, b"".join(content), faults)
            content, faults, begin, size = [], [], end, 0
        end = Place(end.offset + length, end.line + 1)
        content.append(sent)
        size += len(sent)
        if fault is not None:
            faults.append(LineFault(line=end.line, code="malformed_json", detail=fault))
    if content:
        yield Batch(begin, end, b"".join(content), faults)


def _skip_line(file: BinaryIO) -> int:
    skipped = 0
    while part := file.readline(_HEAD_BYTES):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped


def _fault_of(line: bytes) -> str | None:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"The line is not UTF-8: byte {error.start + 1} of it is {line[error.start]:#04x}."
    return None
