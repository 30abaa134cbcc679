"""Runs squawk, which looks for long locks and rewrites, and reads what it found."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from shared.migrations.errors import UsageError
from shared.migrations.files import MigrationFile
from shared.migrations.lint_rules import LintFinding

# What each is left out for. `migrate lint` judges the last ones itself, by the header's phase and `transactional`.
EXCLUDED: Final = (
    "prefer-robust-stmts",  # a migration is applied as a whole; IF NOT EXISTS would hide that something else is there
    "require-lock-timeout",  # the runner sets it for every migration
    "require-statement-timeout",  # as above
    "ban-create-domain-with-constraint",  # a domain's constraint is the law in one place
    "prefer-bigint-over-smallint",  # the number of a slot needs no more room
    "ban-concurrent-index-creation-in-transaction",
    "ban-drop-column",
    "ban-drop-table",
    "renaming-column",
    "renaming-table",
    "transaction-nesting",
)
_CLEAN_OR_FINDINGS: Final = (0, 1)


class _Violation(msgspec.Struct, frozen=True):
    file: str
    line: int
    message: str
    rule_name: str
    help: str | None = None


def run_squawk(service: str, migrations: Sequence[MigrationFile], place: str) -> list[LintFinding]:
    """Return what squawk finds in migrations; rollbacks drop by their nature, and aren't looked at.

    Raises `UsageError` when squawk isn't there or can't do its work.
    """
    beside = Path(sys.executable).with_name("squawk")
    program = str(beside) if beside.exists() else shutil.which("squawk")
    if program is None:
        raise UsageError(
            "squawk isn't installed.",
            why="It finds the statements that would lock or rewrite a table for long, so nothing was looked at.",
            remedy="pip install squawk-cli (make lint does so), and run it again.",
        )
    if not migrations:
        return []
    command = [program, "--reporter", "json", "--pg-version", "15.0", "--assume-in-transaction"]
    command += ["--exclude", ",".join(EXCLUDED), *(str(migration.path) for migration in migrations)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    try:
        if done.returncode not in _CLEAN_OR_FINDINGS:
            raise ValueError(done.returncode)
        violations = msgspec.json.decode(done.stdout, type=list[_Violation])
    except ValueError as error:
        raise UsageError(
            f"squawk failed: {(done.stderr or done.stdout).strip()[:400]}",
            why="What it would have found is unknown.",
            remedy="see that it is the release in requirements/dev.txt, and run it again.",
        ) from error
    return [_finding(service, each, place) for each in violations]


def _finding(service: str, violation: _Violation, place: str) -> LintFinding:
    name = Path(violation.file).name
    return LintFinding(
        service=service,
        code=violation.rule_name,
        subject=name,
        seen=violation.message,
        why="squawk looks for what locks or rewrites a table, or breaks those who use it.",
        remedy=violation.help or f"see squawk's page of the rule {violation.rule_name}.",
        file=f"{place}/{name}",
        line=violation.line + 1,
    )
