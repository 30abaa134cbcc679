"""Makes one change of a schema, tries again while somebody else's lock is in the way, and says how it ended if it failed."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from typing import Final, Literal

import psycopg

from shared.migrations.backend import LedgerBackend
from shared.migrations.blockers import BlockerWatch
from shared.migrations.errors import ApplyFailed, NeedsRepair, OperatorError, Unreachable

LOCK_ATTEMPTS: Final = 5
_PAUSE_SECONDS: Final = 0.5


@dataclasses.dataclass(frozen=True)
class Change:
    """The text of one file and how it is run: as a whole, outside of a transaction, or batch by batch."""

    name: str
    text: str
    kind: Literal["whole", "bare", "batched"]
    run: Callable[[], None]
    again: str
    note: Callable[[str], None] = lambda _: None  # keeps how it failed, where it stays begun


def make_change(backend: LedgerBackend, dsn: str, change: Change, attempts: int) -> None:
    """Make a change, raising what tells whether anything of it is left when it fails or Ctrl-C stops it."""
    for attempt in range(1, attempts + 1):
        with BlockerWatch(dsn, backend.connection.info.backend_pid) as blockers:
            try:
                change.run()
            except psycopg.errors.LockNotAvailable as error:
                if attempt == attempts:
                    cause = f"it didn't get its locks in {attempt} attempts, because of {blockers}"
                    _note(backend, change, cause)
                    raise _failure(backend, change, cause, blockers.remedy) from error
            except psycopg.Error as error:
                cause = _place(error, change)
                _note(backend, change, cause)
                raise _failure(backend, change, cause) from error
            except KeyboardInterrupt as error:
                raise _failure(backend, change, "it was interrupted", "start it again when you like") from error
            else:
                return
        time.sleep(_PAUSE_SECONDS * attempt)


def make_bookkeeping(backend: LedgerBackend, dsn: str, attempts: int = LOCK_ATTEMPTS) -> None:
    """Make the bookkeeping tables, or what a ledger of an earlier release lacks; raises what `make_change` does."""
    again = f"plystractl migrate up --service {backend.service}"
    name = "The preparation of the bookkeeping tables"
    make_change(backend, dsn, Change(name=name, text="", kind="whole", run=backend.bootstrap, again=again), attempts)


def _note(backend: LedgerBackend, change: Change, cause: str) -> None:
    """Keep how a change failed that stays begun; where that can't be done it counts as interrupted."""
    if not backend.connection.closed:
        with contextlib.suppress(psycopg.Error):
            change.note(cause)


def _failure(backend: LedgerBackend, change: Change, cause: str, first: str = "mend the cause") -> OperatorError:
    if backend.connection.closed:
        return Unreachable(
            f"The connection was lost while {change.name} was being applied: {cause}.",
            why="It is applied as a whole if its commit was reached, and otherwise not at all.",
            remedy=f"bring the server back, then: {change.again}",
        )
    match change.kind:
        case "whole":
            return ApplyFailed(
                f"{change.name} failed: {cause}.",
                why="It was rolled back: the database is as it was before this migration; earlier ones stay applied.",
                remedy=f"{first}, then: {change.again}",
            )
        case "batched":
            return NeedsRepair(
                f"{change.name} failed: {cause}.",
                why="The batch it was at was rolled back; those before it are committed and stay.",
                remedy=f"{first}, then: {change.again} (it goes on with what is left)",
            )
        case "bare":
            return NeedsRepair(
                f"{change.name} failed: {cause}.",
                why="It can't run in a transaction, so it may have left something behind, such as an invalid index.",
                remedy=f"{first}, then: {change.again} (what is left of the indexes in its header is dropped first)",
            )


def _place(error: psycopg.Error, change: Change) -> str:
    """Return what the server said, with the line of the file that it said it of."""
    message = (error.diag.message_primary or str(error)).strip()
    detail = f" ({error.diag.message_detail})" if error.diag.message_detail else ""
    position = error.diag.statement_position
    if position is None:
        return f"{message}{detail}"
    line = change.text.count("\n", 0, int(position) - 1) + 1
    return f"line {line}: {message}{detail}"
