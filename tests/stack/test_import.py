"""`plystractl import` against the running pair: killed at any moment and started again, nothing is lost and nothing doubled."""

from __future__ import annotations

import itertools
import os
import pty
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.ctl.import_file import MAX_LINE_BYTES
from shared.ctl.projections import compare_projections
from tests.conftest import connect
from tests.stack.importing import SPACE, Import, counts, resource, write_lines
from tests.stack.pair import Pair, held, waiting_sessions
from tests.stack.process import wait_until


def imported(pair: Pair) -> list[str]:
    """The external ids of what was imported, in the order of the events."""
    with connect(pair.databases["authz"].superuser_dsn) as connection:
        rows = connection.execute(
            "select after ->> 'external_id' from authz.event where kind = 'resource.registered'"
            " and after ->> 'external_id' like 'n-%' order by revision"
        ).fetchall()
    return [row[0] for row in rows]


def demand_once(pair: Pair, count: int) -> None:
    """Each line must be one event and one row, in the file's order, and the history whole."""
    assert imported(pair) == [f"n-{n}" for n in range(count)]
    assert compare_projections(pair.databases["authz"].owner_dsn).differences == []


def line_of(state: Path) -> int:
    """How far an import has come, by what it remembers."""
    try:
        return int(msgspec.json.decode(state.read_bytes())["line"])
    except FileNotFoundError:
        return -1


def test_a_file_is_imported_and_errors_are_told_with_their_line(pair: Pair, tmp_path: Path):
    rows: list[Any] = [resource(n) for n in range(1_200)]
    rows[3] = b'{"noun":"resource","display_name":"\xff"}'
    rows[700] = resource(700, colour="red")
    rows[801] = b" " * MAX_LINE_BYTES + b"{}"
    rows[1_199] = resource(1_199, group_id="nowhere")
    file, errors = write_lines(tmp_path / "rows.ndjson", rows), tmp_path / "errors.ndjson"
    code, report, said = Import(pair, file, "--errors", str(errors)).end()
    assert (code, counts(report), said) == (1, (1_196, 0, 4), "")
    assert report["lines"] == 1_200
    told = [msgspec.json.decode(line) for line in errors.read_bytes().splitlines()]
    assert [(one["line"], one["code"], one.get("pointer")) for one in told] == [
        (4, "malformed_json", None),
        (701, "validation_failed", "/colour"),
        (802, "malformed_json", None),
        (1_200, "reference_unknown", "/group_id"),
    ]
    assert len(imported(pair)) == 1_196

    # It is known to be done; begun anew, what has no id would be made again, so this file has ids.
    code, report, said = Import(pair, file).end()
    assert (code, counts(report), report["seconds"] < 5) == (1, (1_196, 0, 4), True)
    assert "--restart" in said
    assert len(imported(pair)) == 1_196


def test_an_import_begun_anew_leaves_what_is_there_and_mends_what_failed(pair: Pair, tmp_path: Path):
    rows = [resource(n, id=f"r_{n}") for n in range(30)]
    file = write_lines(tmp_path / "rows.ndjson", [*rows, resource(30, id="r_30", group_id="group_later")])
    code, report, said = Import(pair, file).end()
    assert (code, counts(report)) == (1, (30, 0, 1))
    assert "line 31: reference_unknown" in said
    with pair.client("authz") as client:
        group = {"id": "group_later", "key": "later", "name": "Later"}
        assert client.post(f"/api/v1/spaces/{SPACE}/groups", json=group).status_code == 201
    assert counts(Import(pair, file, "--restart").end()[1]) == (1, 30, 0)
    demand_once(pair, 31)


def test_standard_input_is_taken_line_by_line(pair: Pair):
    user = b'{"noun":"user","id":"user_eve","email":"eve@x.example"}\n'
    code, report, _ = Import(pair, "-").end(user + msgspec.json.encode(resource(0)))
    assert (code, counts(report), imported(pair)) == (0, (2, 0, 0), ["n-0"])
    code, _, said = Import(pair, "-", "--restart").end()
    assert (code, "can't be read again" in said) == (2, True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_command_that_is_ended_goes_on_where_it_was(pair: Pair, tmp_path: Path, number: signal.Signals):
    """The lines have no ids: whatever is sent twice under two keys would be there twice."""
    file, state = write_lines(tmp_path / "rows.ndjson", [resource(n) for n in range(4_000)]), tmp_path / "state"
    options = ("--batch", "40", "--state", str(state))
    ends = []
    for part in (400, 1_200, 2_500):
        running = Import(pair, file, *options)
        wait_until(lambda part=part: line_of(state) >= part, what=f"line {part}")  # type: ignore[misc] # mypy infers no lambda with a default
        running.signal(number)
        code, report, said = running.end()
        assert (code, report) == ((130 if number == signal.SIGINT else -9), {})
        if number == signal.SIGINT:
            assert f"up to line {line_of(state)} is in" in said
        ends.append(line_of(state))
    # Another size of batches doesn't change what is sent again.
    code, report, said = Import(pair, file, "--batch", "1000", "--state", str(state)).end()
    assert (code, counts(report)) == (0, (4_000, 0, 0))
    assert f"Going on after line {ends[-1]}." in said
    demand_once(pair, 4_000)


def test_a_command_that_is_killed_before_it_hears_of_a_commit_does_not_write_it_again(pair: Pair, tmp_path: Path):
    """The service is held within its transaction while the command dies; it commits, and nobody was told."""
    file, state = write_lines(tmp_path / "rows.ndjson", [resource(n) for n in range(100)]), tmp_path / "state"
    options = ("--batch", "50", "--state", str(state))
    with held(pair.databases["authz"], "authz.outbox"):
        running = Import(pair, file, *options)
        wait_until(lambda: waiting_sessions(pair.databases["authz"]) > 0, what="the transaction's wait")
        running.signal(signal.SIGKILL)
        running.end()
        assert line_of(state) == 0
    wait_until(lambda: len(imported(pair)) == 50, what="the commit that nobody heard of")
    assert counts(Import(pair, file, *options).end()[1]) == (100, 0, 0)
    demand_once(pair, 100)


def test_a_service_that_is_killed_again_and_again_loses_and_doubles_nothing(pair: Pair, tmp_path: Path):
    file, state = write_lines(tmp_path / "rows.ndjson", [resource(n) for n in range(4_000)]), tmp_path / "state"
    running = Import(pair, file, "--batch", "40", "--state", str(state))
    for part in (300, 1_500, 2_700):
        wait_until(lambda part=part: line_of(state) >= part, what=f"line {part}")  # type: ignore[misc] # as above
        pair.authz.kill()
        pair.restart(pair.authz)
    code, report, said = running.end()
    assert (code, counts(report)) == (0, (4_000, 0, 0)), said
    demand_once(pair, 4_000)


def test_who_cannot_be_reached_is_named_and_what_is_in_stays_in(pair: Pair, tmp_path: Path):
    file = write_lines(tmp_path / "rows.ndjson", [resource(n) for n in range(20)])
    code, _, said = Import(pair, file, "--patience", "1", url="http://127.0.0.1:9").end()
    assert (code, "http://127.0.0.1:9 can't be reached" in said) == (3, True)
    code, report, _ = Import(pair, file).end()
    assert (code, counts(report)) == (0, (20, 0, 0))


def test_another_file_under_the_name_is_refused(pair: Pair, tmp_path: Path):
    file = write_lines(tmp_path / "rows.ndjson", [resource(n) for n in range(3)])
    assert Import(pair, file).end()[0] == 0
    write_lines(file, [resource(n) for n in range(3, 6)])
    code, _, said = Import(pair, file).end()
    assert (code, "about another file" in said, len(imported(pair))) == (2, True, 3)
    (tmp_path / "rows.ndjson.progress").write_text("{")
    assert Import(pair, file).end()[0] == 2
    assert Import(pair, file, "--restart").end()[0] == 0
    demand_once(pair, 6)


def test_what_cannot_be_begun_is_a_fault_of_the_command(pair: Pair, tmp_path: Path):
    file = write_lines(tmp_path / "rows.ndjson", [resource(0)])
    for arguments in (
        (tmp_path / "missing", ()),
        (file, ("--state", str(tmp_path / "no" / "state"))),
        (file, ("--errors", str(tmp_path / "no" / "errors"))),
        (file, ("--url", "nowhere")),
    ):
        code, _, said = Import(pair, arguments[0], *arguments[1]).end()
        assert (code, "next:" in said) == (2, True), said


def test_who_looks_on_at_a_terminal_sees_a_bar(pair: Pair, tmp_path: Path):
    file = write_lines(tmp_path / "rows.ndjson", [resource(n) for n in range(50)])
    ours, theirs = pty.openpty()
    running = Import(pair, file, stderr=theirs)
    os.close(theirs)
    assert counts(running.end()[1]) == (50, 0, 0)
    seen = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "lines/s" in seen
    assert "0 errors" in seen


def test_memory_does_not_grow_with_the_file(pair: Pair, tmp_path: Path):
    """Blank lines are read, sent and passed over like any other; 40 MB of them take no more memory than 1 MB."""
    short, long = tmp_path / "short.ndjson", tmp_path / "long.ndjson"
    line = b" " * 199 + b"\n"
    short.write_bytes(line * 5_000)
    long.write_bytes(line * 200_000)
    most = []
    for file in (short, long):
        running = Import(pair, file, "--batch", "1000")
        peak = 0
        for _ in itertools.count():
            peak = max(peak, running.resident())
            if running.process.poll() is not None:
                break
        assert running.end()[1]["lines"] == file.stat().st_size // 200
        most.append(peak)
    assert most[1] - most[0] < 8_000_000
