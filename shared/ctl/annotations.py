"""Prints findings for those who show them beside a change: GitHub's workflow commands, and SARIF."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from shared.ctl.console import Fault
from shared.release import SERVICE_VERSION

AnnotationFormat = Literal["human", "json", "github", "sarif"]

SARIF_VERSION: Final = "2.1.0"
_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


class Located(Fault, Protocol):
    """A fault that may have a place: a file, by its path, and a line of it."""

    @property
    def file(self) -> str | None: ...  # noqa: D102  # said above
    @property
    def line(self) -> int | None: ...  # noqa: D102


def print_github(findings: Iterable[Located]) -> None:
    """Print findings as GitHub's workflow commands, each shown at its line of the change."""
    for finding in findings:
        properties = {"file": _relative(finding.file), "line": finding.line, "title": finding.code}
        written = ",".join(f"{key}={_escape_property(str(value))}" for key, value in properties.items() if value)
        message = f"{finding.subject}: {finding.seen}\nwhy: {finding.why}\nnext: {finding.remedy}"
        sys.stdout.write(f"::error {written}::{_escape(message)}\n")


def print_sarif(tool_name: str, rules: Mapping[str, str], findings: Sequence[Located]) -> None:
    """Print findings as one SARIF document; `rules` says of each code why it matters, codes beyond them are added."""
    texts = dict(rules)
    for finding in findings:
        texts.setdefault(finding.code, finding.why)
    codes = list(texts)
    driver = {
        "name": tool_name,
        "version": SERVICE_VERSION,
        "rules": [{"id": code, "shortDescription": {"text": texts[code]}} for code in codes],
    }
    run = {"tool": {"driver": driver}, "results": [_result(each, codes.index(each.code)) for each in findings]}
    json.dump({"$schema": _SCHEMA, "version": SARIF_VERSION, "runs": [run]}, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def _result(finding: Located, rule: int) -> dict[str, Any]:
    text = f"{finding.subject}: {finding.seen} {finding.why} Next: {finding.remedy}"
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": "error",
        "message": {"text": text},
    }
    if finding.file:
        physical: dict[str, Any] = {"artifactLocation": {"uri": _relative(finding.file)}}
        if finding.line:
            physical["region"] = {"startLine": finding.line}
        result["locations"] = [{"physicalLocation": physical}]
    return result


def _relative(file: str | None) -> str | None:
    """Return a path as seen from the current folder, with `/`; one that isn't below it stays as it is."""
    if file is None:
        return None
    path = Path(file)
    if path.is_absolute() and path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return path.as_posix()


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")
