"""What a person sees of an import while it runs: a bar on standard error, if that is a terminal."""

from __future__ import annotations

from typing import Self

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from shared.ctl.console import ERR
from shared.ctl.import_state import ImportState


class ProgressBar:
    """The bytes of the file that are in, lines a second, and how many lines failed."""

    def __init__(self, at: ImportState) -> None:
        self._first_line = at.line
        self._progress = Progress(
            TextColumn("import"),
            BarColumn(),
            DownloadColumn(),
            TextColumn("{task.fields[rate]:,.0f} lines/s"),
            TextColumn("{task.fields[failed]:,} errors"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=ERR,
            disable=not ERR.is_terminal,
        )
        total = None if at.file is None else at.file.size
        self._task = self._progress.add_task(
            "import", total=total, completed=at.offset, rate=0.0, failed=at.failed, note=""
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._progress.stop()

    def show(self, at: ImportState) -> None:
        """Show how far the import has come."""
        seconds = self._progress.tasks[0].elapsed
        rate = (at.line - self._first_line) / seconds if seconds else 0.0
        self._progress.update(self._task, completed=at.offset, rate=rate, failed=at.failed, note="")

    def note(self, failure: str) -> None:
        """Say why it doesn't go on at present."""
        self._progress.update(self._task, note=failure.splitlines()[0][:60])
