"""The place where the next page of a list begins: behind the row of an identity."""

from __future__ import annotations

import re
from collections.abc import Mapping

from shared.envelope import ID_FORM
from shared.web.cursor import no_cursor, open_place, seal_place


def write_cursor(last: tuple[str, ...], asked: Mapping[str, str | None]) -> str:
    """Return the text of a cursor behind the row of this identity, bound to the list that it belongs to."""
    return seal_place("\n".join(last).encode(), asked)


def read_cursor(text: str, asked: Mapping[str, str | None], parts: int) -> tuple[str, ...]:
    """Return the identity behind which a page begins, or raise `invalid_cursor`; the list must be the same."""
    last = tuple(open_place(text, asked, kind="list").decode("latin-1").split("\n"))
    if len(last) != parts or not all(re.fullmatch(ID_FORM, part) for part in last):
        raise no_cursor()
    return last
