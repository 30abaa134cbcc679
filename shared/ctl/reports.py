"""What `--format json` prints: one document a command, each a Struct, so that its form is known and can be published.

The member `schema` of a document names its form and the version of that, such as `plystractl.backup.verify/1`. Within a
version members are only added; what is taken away, renamed or means something else gets the next version.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import msgspec


class Report(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema"):
    """A document that a command prints; each kind of it gives its name as `tag="plystractl.<command>/<version>"`."""


def print_report(report: Report) -> None:
    """Print a report as one JSON document."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n")


def report_kinds(root: type[Report] = Report) -> Iterator[type[Report]]:
    """Yield every kind of report that has been defined by the modules loaded so far."""
    for kind in root.__subclasses__():
        if kind.__struct_config__.tag is not None:
            yield kind
        yield from report_kinds(kind)
