"""`plystractl import`: sends the rows of a file to authz, batch by batch, and can go on where it was stopped.

What is acknowledged is remembered; what was sent and not acknowledged is sent again under the same `Idempotency-Key`, so it
is done once.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Self

import httpx
import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from shared.compression import CODING, new_compressor
from shared.ctl.client import ask, authz_client
from shared.ctl.console import ERR, OUT, Format
from shared.ctl.import_file import Batch, LineFault, identify, read_batches
from shared.ctl.import_progress import ProgressBar
from shared.ctl.import_state import ImportState, load_state, save_state
from shared.ctl.reports import Report, print_report
from shared.migrations.errors import ExitCode, UsageError

IMPORT_PATH: Final = "/api/v1/import"
STANDARD_INPUT: Final = "-"
INTERRUPTED: Final = 130  # as shells have it: 128 and the number of SIGINT


class _Report(msgspec.Struct):
    created: int
    unchanged: int
    failed: int
    errors: list[LineFault]
    revision: int


class _Answer(msgspec.Struct):
    data: _Report


_ANSWER: Final = msgspec.json.Decoder(_Answer)


class ImportReport(Report, frozen=True, kw_only=True, tag="plystractl.import/1"):
    """How many rows are in by now; the rate is that of this run."""

    exit_code: ExitCode
    created: int
    unchanged: int
    failed: int
    revision: int
    lines: int
    seconds: float
    rows_per_second: int


def import_(
    file: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    url: str | None = None,
    batch: Annotated[int, Parameter(validator=Number(gte=1, lte=1_000))] = 500,
    state: Path | None = None,
    restart: Annotated[bool, Parameter(negative="")] = False,
    errors: Path | None = None,
    patience: Annotated[int, Parameter(validator=Number(gte=0))] = 60,
    format: Format = "human",
) -> int:
    """Make users, members, bindings, grants and resources from newline-delimited JSON; may be stopped and started again.

    Each line is one object: its noun (user, member, user_member, member_role, resource), its space_id unless it is a user,
    and the fields of the request that makes such a row. Good lines are written, bad ones are told with their number.

    Parameters
    ----------
    file
        The file, or - for standard input, which can't be gone on with.
    url
        Where authz is; PLYSTRA_AUTHZ_URL unless told otherwise. The key is PLYSTRA_ADMIN_KEY.
    batch
        How many lines are sent at once. An import that goes on keeps the number that it began with.
    state
        Where it is remembered how far the import has come; FILE.progress unless told otherwise.
    restart
        Begin at the first line, whatever is remembered.
    errors
        A file for the errors of lines, one JSON object each, instead of standard error.
    patience
        For how many seconds a batch is sent again while authz can't be reached.
    format
        For people, or one JSON document.
    """
    with contextlib.ExitStack() as stack:
        if file == STANDARD_INPUT:
            if state is not None or restart:
                raise UsageError(
                    "Standard input has no --state and no --restart.",
                    why="What has gone by can't be read again.",
                    remedy="write it to a file first, or leave the option out.",
                )
            source: BinaryIO = sys.stdin.buffer
            at, remembered = ImportState(file=None, batch=batch), None
        else:
            source, remembered = stack.enter_context(_opened(Path(file))), state or Path(f"{file}.progress")
            at = _begin(source, remembered, batch, restart=restart)
        client = stack.enter_context(authz_client(url))
        faults = stack.enter_context(_Faults(errors, goes_on=at.line > 0))
        bar = stack.enter_context(ProgressBar(at))
        importing = _Import(client, at, remembered, faults, bar, patience)
        started = time.monotonic()
        try:
            importing.run(source)
        except KeyboardInterrupt:
            bar.close()
            ERR.print(f"Stopped; everything up to line {importing.at.line} is in. {_way_on(remembered)}")
            return INTERRUPTED
    return _tell(at, importing.at, time.monotonic() - started, format)


class _Import:
    """One run of the command."""

    def __init__(
        self,
        client: httpx.Client,
        at: ImportState,
        remembered: Path | None,
        faults: _Faults,
        bar: ProgressBar,
        patience: int,
    ) -> None:
        self._client = client
        self._remembered = remembered
        self._faults = faults
        self._bar = bar
        self._patience = patience
        self._compress = new_compressor()
        self.at = at

    def run(self, source: BinaryIO) -> None:
        """Send what is left of the source."""
        if self.at.is_complete:
            return
        for batch in read_batches(source, self.at.place, self.at.batch):
            report = self._send(batch)
            # In this order: an error that is told twice is better than one that is told never.
            found = [msgspec.structs.replace(e, line=batch.begin.line + e.line) for e in report.errors]
            self._faults.tell(sorted([*batch.faults, *found], key=lambda fault: fault.line))
            self._remember(
                offset=batch.end.offset,
                line=batch.end.line,
                created=self.at.created + report.created,
                unchanged=self.at.unchanged + report.unchanged,
                failed=self.at.failed + report.failed + len(batch.faults),
                revision=report.revision,
            )
        self._remember(is_complete=True)

    def _send(self, batch: Batch) -> _Report:
        digest = hashlib.sha256(batch.content).hexdigest()[:32]
        headers = {
            "content-type": "application/x-ndjson",
            "content-encoding": CODING,
            "idempotency-key": f"import-{self.at.run}-{batch.begin.offset}-{digest}",
        }
        answer = ask(
            self._client,
            "POST",
            IMPORT_PATH,
            patience=self._patience,
            on_retry=self._bar.note,
            content=self._compress(batch.content),
            headers=headers,
        )
        return _ANSWER.decode(answer.content).data

    def _remember(self, **changes: int) -> None:
        self.at = msgspec.structs.replace(self.at, **changes)
        if self._remembered is not None:
            save_state(self._remembered, self.at)
        self._bar.show(self.at)


class _Faults:
    """Where the errors of lines are told."""

    def __init__(self, path: Path | None, *, goes_on: bool) -> None:
        self._file: BinaryIO | None = None
        if path is not None:
            try:
                self._file = path.open("ab" if goes_on else "wb")
            except OSError as error:
                raise UsageError(
                    f"{path} can't be written: {error.strerror}.",
                    why="Errors would be lost.",
                    remedy="name a file that can be written with --errors.",
                ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def tell(self, faults: list[LineFault]) -> None:
        """Write faults; when this returns, the system has them."""
        if self._file is not None:
            self._file.writelines(msgspec.json.encode(fault) + b"\n" for fault in faults)
            self._file.flush()
        else:
            for fault in faults:
                ERR.print(f"line {fault.line}: {fault.code}: {fault.detail}")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(
            f"{path} can't be read: {error.strerror}.",
            why="There is nothing to import.",
            remedy="name a file that can be read, or - for standard input.",
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"Another plystractl is importing {path}.",
                why="Two of them would each believe to know how far the import has come.",
                remedy="wait for it, or stop it first.",
            ) from error
        yield file


def _begin(source: BinaryIO, remembered: Path, batch: int, *, restart: bool) -> ImportState:
    """Return where to go on, or begin; the source stands there afterwards."""
    identity = identify(source)
    at = None if restart else load_state(remembered, identity)
    if at is None:
        at = ImportState(file=identity, batch=batch)
        try:
            save_state(remembered, at)
        except OSError as error:
            raise UsageError(
                f"{remembered} can't be written: {error.strerror}.",
                why="It couldn't be remembered how far the import has come.",
                remedy="name a file that can be written with --state.",
            ) from error
    elif at.is_complete:
        ERR.print(f"{remembered} says that the whole file is in already; --restart begins anew.")
    else:
        ERR.print(f"Going on after line {at.line}.")
    source.seek(at.offset)
    return at


def _way_on(remembered: Path | None) -> str:
    if remembered is None:
        return "Standard input can't be gone on with."
    return "Run the same command again to go on."


def _tell(before: ImportState, at: ImportState, seconds: float, format: Format) -> ExitCode:
    exit_code = ExitCode.FINDINGS if at.failed else ExitCode.CLEAN
    rows = sum((at.created, at.unchanged, at.failed)) - sum((before.created, before.unchanged, before.failed))
    rate = rows / seconds if seconds else 0.0
    if format == "json":
        counts = {name: getattr(at, name) for name in ("created", "unchanged", "failed", "revision")}
        rates = {"seconds": round(seconds, 3), "rows_per_second": round(rate)}
        print_report(msgspec.convert({"exit_code": exit_code, "lines": at.line, **counts, **rates}, ImportReport))
        return exit_code
    told = f"{at.created:,} created, {at.unchanged:,} unchanged, {at.failed:,} failed"
    mark, style = ("✗", "red") if at.failed else ("✓", "green")
    OUT.print(f"{mark} import: {told}; {rows:,} rows in {seconds:.1f} s ({rate:,.0f} rows/s).", style=style)
    return exit_code
