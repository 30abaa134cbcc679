"""How far an import has come: a small file beside the input, replaced after each batch that the service has acknowledged."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import msgspec

from shared.ctl.import_file import FileIdentity, Place
from shared.migrations.errors import UsageError


class ImportState(msgspec.Struct, frozen=True, kw_only=True):
    """How far it has come, and what came of the lines before.

    `run` is in each request's key: what was sent and never acknowledged is sent again under the same one, and a new beginning
    has others. `batch` stays what it was at the beginning, so that what is sent again is the same.
    """

    file: FileIdentity | None
    batch: int
    run: str = msgspec.field(default_factory=lambda: secrets.token_hex(8))
    offset: int = 0
    line: int = 0
    created: int = 0
    unchanged: int = 0
    failed: int = 0
    revision: int = 0
    is_complete: bool = False

    @property
    def place(self) -> Place:
        """Where to go on."""
        return Place(self.offset, self.line)


def load_state(path: Path, file: FileIdentity) -> ImportState | None:
    """Return how far the import of a file has come, None if it never began; raises `UsageError` for another file's."""
    try:
        state = msgspec.json.decode(path.read_bytes(), type=ImportState)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise UsageError(
            f"{path} doesn't say how far an import has come: {error}.",
            why="Where to go on can't be told.",
            remedy="name another file with --state, or begin anew with --restart, which replaces it.",
        ) from error
    if state.file != file:
        raise UsageError(
            f"{path} is about another file, or the file was changed since: size, time or beginning differ.",
            why="Going on in the middle of another file would leave out lines.",
            remedy="begin anew with --restart: lines whose ids are there already with the same values are left as they are.",
        )
    return state


def save_state(path: Path, state: ImportState) -> None:
    """Write how far it has come, so that a reader finds either the old or the new."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(msgspec.json.encode(state))
    unfinished.replace(path)
