"""A folder that comes to be as a whole or not at all, and never in the place of something that is there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from shared.migrations.errors import UsageError


def write_new_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files, by their paths, into a folder that doesn't exist yet; raises `UsageError` with nothing left behind."""
    folder = folder.absolute()
    try:
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise _cannot(folder, error) from error
    try:
        _fill(unfinished, files)
        _claim(folder)
        try:
            # Takes the place of the empty folder that was claimed; anything that somebody put into it meanwhile refuses this.
            unfinished.rename(folder)
        except BaseException:
            _let_go(folder)
            raise
    except OSError as error:
        raise _cannot(folder, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def refuse_existing(folder: Path) -> None:
    """Raise `UsageError` when something has that name already, be it a link that leads nowhere."""
    if os.path.lexists(folder):
        raise _exists(folder)


def _fill(folder: Path, files: Mapping[str, bytes]) -> None:
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(exist_ok=True, parents=True)
        mode = 0o777 if file.suffix == ".sh" else 0o666
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
    # mkdtemp lets nobody else in; the folder is to be as any that is made here.
    umask = os.umask(0)
    os.umask(umask)
    folder.chmod(0o777 & ~umask)


def _claim(folder: Path) -> None:
    try:
        folder.mkdir()
    except FileExistsError as error:
        raise _exists(folder) from error


def _let_go(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return  # it isn't empty, so it isn't ours any more


def _exists(folder: Path) -> UsageError:
    return UsageError(
        f"{folder} exists already.",
        why="A template is written into a new folder alone, so that nothing of yours is overwritten.",
        remedy="give --out a name that isn't taken, or move away what has it.",
    )


def _cannot(folder: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{folder} can't be written: {error.strerror}.",
        why="The folder is written as a whole or not at all; nothing of it was left behind.",
        remedy="see that the folder above it exists, may be written to and has room, then run the command again.",
    )
