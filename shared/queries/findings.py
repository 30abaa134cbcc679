"""The closed list of what can be wrong with a statement on a live database, each with why it matters and what to do."""

from __future__ import annotations

import re
from typing import Final

import msgspec

_AS_EXPECTED: Final = "See what differs, and the SQL that restores it: plystractl schema check --service {service}"
_PLACE: Final = re.compile(r"(?P<file>\S+\.sql):(?P<line>[0-9]+)")

# code -> (why it matters, what to do next); `{service}` and `{app}` are filled in.
FAULTS: Final[dict[str, tuple[str, str]]] = {
    "query_lock_stale": (
        "What the code expects of this statement isn't written down, so it can't be compared.",
        "This release isn't whole: install it anew; in a repository: plystractl schema lock-queries",
    ),
    "table_missing": ("The statement fails wherever {service} sends it.", _AS_EXPECTED),
    "column_missing": ("The statement fails wherever {service} sends it.", _AS_EXPECTED),
    "function_missing": ("The statement fails wherever {service} sends it.", _AS_EXPECTED),
    "type_missing": ("The statement fails wherever {service} sends it.", _AS_EXPECTED),
    "right_missing": (
        "{service} connects as {app}, which may not do this: the statement fails wherever it is sent.",
        "Grant to {app} what its migration says.",
    ),
    "rights_unknown": (
        "A statement that only the owner may run fails in {service}, and nothing was found out about that.",
        "Name the service's own DSN in PLYSTRA_{upper}_APP_DSN, and check again.",
    ),
    "not_preparable": ("The statement fails wherever {service} sends it.", _AS_EXPECTED),
    "parameters_changed": ("{service} sends values of other types than the database takes.", _AS_EXPECTED),
    "columns_changed": ("The rows don't fill what {service} reads them into.", _AS_EXPECTED),
    "column_type_changed": ("{service} reads a value of another type than it knows.", _AS_EXPECTED),
    "column_may_be_null": ("{service} may find null where it expects a value.", _AS_EXPECTED),
    "column_origin_changed": ("The value comes from elsewhere than {service} thinks.", _AS_EXPECTED),
}


class QueryFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One fault; `subject` is the statement with the file and line that it stands on."""

    service: str
    code: str
    subject: str
    seen: str

    @property
    def why(self) -> str:
        """Why it matters."""
        return self._fill(FAULTS[self.code][0])

    @property
    def remedy(self) -> str:
        """What to do next."""
        return self._fill(FAULTS[self.code][1])

    @property
    def file(self) -> str | None:
        """The file that the statement stands in, within the repository."""
        match = _PLACE.match(self.subject)
        return match["file"] if match else None

    @property
    def line(self) -> int | None:
        """The line that it begins on."""
        match = _PLACE.match(self.subject)
        return int(match["line"]) if match else None

    def describe(self) -> dict[str, str]:
        """Return everything there is to say, for a machine."""
        return {**msgspec.structs.asdict(self), "why": self.why, "next": self.remedy}

    def _fill(self, text: str) -> str:
        return text.format(service=self.service, app=f"{self.service}_app", upper=self.service.upper())
