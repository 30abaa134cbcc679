"""A file is cut into batches that hold every line once, within bounds, and the same again from wherever one begins."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.ctl import import_file
from shared.ctl.import_file import Batch, Place, read_batches

BEGINNING = Place()
LINES = st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")), max_size=40)


@pytest.fixture(autouse=True, scope="module")
def _small_bounds():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_file, "MAX_LINE_BYTES", 8)
        patch.setattr(import_file, "MAX_BATCH_BYTES", 20)
        patch.setattr(import_file, "_HEAD_BYTES", 3)
        yield


def batches_of(content: bytes, most_lines: int, begin: Place = BEGINNING) -> list[Batch]:
    file = io.BytesIO(content)
    file.seek(begin.offset)
    return list(read_batches(file, begin, most_lines))


def is_good(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return len(line) <= 8 or (len(line) == 9 and line.endswith(b"\n"))


@given(LINES, st.integers(1, 5), st.booleans())
def test_every_line_is_in_one_batch_in_its_order_or_told_to_be_bad(lines, most_lines, ends):
    content = b"".join(line + b"\n" for line in lines)
    content = content if ends else content.removesuffix(b"\n")
    kept = [part + b"\n" for part in content.split(b"\n")]
    kept[-1] = kept[-1].removesuffix(b"\n")  # what stands after the last line break
    batches = batches_of(content, most_lines)
    assert b"".join(batch.content for batch in batches) == b"".join(line if is_good(line) else b"\n" for line in kept)
    bad = [n for n, line in enumerate(kept, start=1) if not is_good(line)]
    assert [fault.line for batch in batches for fault in batch.faults] == bad


@given(LINES, st.integers(1, 5))
def test_batches_follow_each_other_within_their_bounds(lines, most_lines):
    content = b"".join(line + b"\n" for line in lines)
    place = BEGINNING
    for batch in batches_of(content, most_lines):
        assert batch.begin == place
        assert batch.content.count(b"\n") == batch.end.line - batch.begin.line <= most_lines
        assert len(batch.content) <= 20
        place = batch.end
    assert place == Place(len(content), len(lines))


@given(LINES, st.integers(1, 5), st.data())
def test_who_goes_on_at_a_batch_gets_the_same_batches(lines, most_lines, data):
    content = b"".join(line + b"\n" for line in lines)
    batches = batches_of(content, most_lines)
    at = data.draw(st.integers(0, len(batches)))
    begin = batches[at].begin if at < len(batches) else Place(len(content), len(lines))
    assert batches_of(content, most_lines, begin) == batches[at:]
