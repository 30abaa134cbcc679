"""Every statement that authz sends, by the file that it stands in; one that is made for a noun is named with it.

`queries.lock.json` is written from this: the operator's tool imports no service, so a service says what it sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from services.authz.directory import LISTING, READING, READING_MANY
from services.authz.journal import MAKING, PROJECTING, WRITES
from services.authz.past import PAST
from services.authz.policies import READING_OF_SPACE, READS
from services.authz.store import SQL


def _filled(templates: Mapping[str, Mapping[str, str]], others: Mapping[str, str]) -> dict[str, str]:
    """Return a file's statements with each of its templates replaced by what is made of it."""
    made = {f"{name} {noun}": text for name, each in templates.items() for noun, text in each.items()}
    return {name: text for name, text in others.items() if name not in templates} | made


STATEMENTS: Final = {
    "queries.sql": SQL,
    "past.sql": PAST,
    "directory.sql": _filled({"read_row": READING, "read_rows": READING_MANY, "list_rows": LISTING}, {}),
    "journal.sql": _filled({"make": MAKING, "project": PROJECTING}, WRITES),
    "policies.sql": _filled({"read_rows_of_space": READING_OF_SPACE}, READS),
}
