"""How an operator's command ends when it isn't clean: an exit code, what was found, why it matters, what to do next."""

from __future__ import annotations

import enum
from typing import ClassVar


class ExitCode(enum.IntEnum):
    """What a script may rely on after a command."""

    CLEAN = 0
    FINDINGS = 1
    USAGE = 2
    UNREACHABLE = 3
    BUSY = 4
    APPLY_FAILED = 5
    NEEDS_REPAIR = 6
    REFUSED = 7
    CANNOT_COMPARE = 8


class OperatorError(Exception):
    """A command can't go on; `found`, `why` and `remedy` are sentences for the operator."""

    exit_code: ClassVar[ExitCode] = ExitCode.USAGE

    def __init__(self, found: str, *, why: str, remedy: str) -> None:
        """Keep the three sentences; the exception's text is all of them."""
        super().__init__(f"{found}\n{why}\nNext: {remedy}")
        self.found = found
        self.why = why
        self.remedy = remedy


class UsageError(OperatorError):
    """The command or its configuration is wrong."""


class Unreachable(OperatorError):
    """The database or the service can't be reached, or doesn't let this user in."""

    exit_code = ExitCode.UNREACHABLE


class Busy(OperatorError):
    """Another migrate of this service is running."""

    exit_code = ExitCode.BUSY


class ApplyFailed(OperatorError):
    """A migration failed and was rolled back: the database is as before it."""

    exit_code = ExitCode.APPLY_FAILED


class NeedsRepair(OperatorError):
    """A migration may have left traces: it couldn't run in a transaction, or its end is unknown."""

    exit_code = ExitCode.NEEDS_REPAIR


class Refused(OperatorError):
    """What is asked for isn't done here, though it could be."""

    exit_code = ExitCode.REFUSED


class CannotCompare(OperatorError):
    """The bookkeeping or the catalogue can't be read or set beside another, so nothing can be said about it."""

    exit_code = ExitCode.CANNOT_COMPARE
