"""What `--format json` prints: one document a command, each a Struct, so that its form is known and can be published.

The member `schema` of a document names its form and the version of that, such as `plystractl.backup.verify/1`. Within a
version members are only added; what is taken away, renamed or means something else gets the next version.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence

import msgspec

from shared.migrations.errors import ExitCode, OperatorError


class Report(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema"):
    """A document that a command prints; each kind of it gives its name as `tag="plystractl.<command>/<version>"`."""


class ErrorReport(Report, frozen=True, kw_only=True, tag="plystractl.error/1"):
    """Why a command couldn't go on, instead of the document that it would have printed."""

    exit_code: ExitCode
    found: str
    why: str
    next: str


def wants_json(arguments: Sequence[str]) -> bool:
    """Tell whether a command line asks for JSON, also one that can't be parsed."""
    return ("--format", "json") in itertools.pairwise(arguments) or "--format=json" in arguments


def print_error_report(error: OperatorError) -> None:
    """Print what stopped a command as its JSON document."""
    print_report(ErrorReport(exit_code=error.exit_code, found=error.found, why=error.why, next=error.remedy))


def print_report(report: Report) -> None:
    """Print a report as one JSON document."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n")


def report_kinds(root: type[Report] = Report) -> Iterator[type[Report]]:
    """Yield every kind of report that has been defined by the modules loaded so far."""
    for kind in root.__subclasses__():
        if kind.__struct_config__.tag is not None:
            yield kind
        yield from report_kinds(kind)
