"""`plystractl reset`: deletes a local Plystra for good."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Final

from shared.ctl.console import OUT
from shared.ctl.home import Home
from shared.embedded.place import RECORD
from shared.embedded.server import EmbeddedPostgres
from shared.migrations.errors import ExitCode, UsageError

_OURS: Final = ("secrets.json", RECORD, "dev.env")


def reset(*, home: Path = Path(".plystra")) -> ExitCode:
    """Delete a local Plystra with its data, keys and logs, wherever the data lies; a running one is left alone.

    Parameters
    ----------
    home
        The folder that `up` was given.
    """
    if not home.exists():
        OUT.print(f"✓ There is no {home}.", style="green")
        return ExitCode.CLEAN
    if not any((home / name).exists() for name in _OURS):
        raise UsageError(
            f"{home} isn't the home of a local Plystra: it holds none of {', '.join(_OURS)}.",
            why="Nothing else is to be deleted by accident.",
            remedy="name the folder that `plystractl up` was given, with --home.",
        )
    with Home(home).in_use():
        EmbeddedPostgres(home).remove()
        for name in (*_OURS, "postgres.password", "lock"):
            (home / name).unlink(missing_ok=True)
        shutil.rmtree(home / "logs", ignore_errors=True)
    with contextlib.suppress(OSError):  # something in it isn't ours
        home.rmdir()
    OUT.print(f"✓ {home} is deleted.", style="green")
    return ExitCode.CLEAN
