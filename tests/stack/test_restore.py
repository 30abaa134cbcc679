"""authz goes back to a backup while audit goes on: no change is lost, and nothing is in the log twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared.ctl.__main__ import main
from shared.ctl.questions import QUESTIONS
from shared.migrations.errors import ExitCode
from tests.stack.going_back import ACME, CATCH_UP, GRANT, backup, change, decide, faults, log, put_back, revision
from tests.stack.pair import Pair
from tests.stack.process import wait_until


@pytest.fixture(autouse=True)
def operator(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """plystractl is told of both databases."""
    monkeypatch.setenv("PLYSTRA_ENVIRONMENT", "test")
    for service, database in pair.databases.items():
        monkeypatch.setenv(f"PLYSTRA_{service.upper()}_DSN", database.owner_dsn)


def change_much(pair: Pair) -> None:
    """Change every kind of thing that a replay treats in its own way: new rows, a subtree that moves, a revoked grant."""
    change(pair, "POST", f"{ACME}/members", {"id": "member_bot", "display_name": "Bot"})
    change(pair, "PATCH", f"{ACME}/members/member_bot", {"display_name": "Robot"})
    change(pair, "POST", f"{ACME}/groups/group_finance/move", {"parent_group_id": "group_legal"})
    change(pair, "PATCH", f"{ACME}/groups/group_finance_apac", {"name": "APAC, moved along before"})
    change(pair, "POST", f"{ACME}/groups/group_finance/move", {"parent_group_id": None})
    change(pair, "POST", f"{GRANT}/revoke", {"reason": "left"})


def test_an_authz_that_went_back_catches_up_and_goes_on_as_if_nothing_had_happened(pair: Pair, tmp_path: Path) -> None:
    decide(pair)
    pair.wait_drained()
    folder = backup("authz", tmp_path)
    backup("audit", tmp_path)
    before = decide(pair)
    change_much(pair)
    decided, reached = decide(pair), revision(pair)
    assert decided != before
    pair.wait_drained()
    logged = log(pair)

    put_back(pair, folder)
    pair.restart(pair.authz)
    with pair.client("authz") as client:  # started too early it does nothing, whoever asks
        wait_until(lambda: pair.readiness("authz")[0] == 503, what="authz")
        refused = client.post(f"{ACME}/members", json={"display_name": "Early"})
    assert (refused.status_code, refused.json()["code"]) == (503, "maintenance")
    assert "plystractl authz catch-up --from-audit" in refused.json()["detail"]
    pair.authz.terminate()
    pair.authz.wait_gone()
    assert main(["authz", "catch-up", "--check"]) == ExitCode.FINDINGS
    assert revision(pair) < reached
    assert main(CATCH_UP) == 0
    assert main(["authz", "catch-up", "--check"]) == 0
    assert revision(pair) == reached
    assert main(CATCH_UP) == 0
    assert main(["authz", "verify-projections"]) == 0

    assert main(["maintenance", "off"]) == 0
    pair.restart(pair.authz)
    pair.wait_ready()
    assert decide(pair) == decided
    assert change(pair, "PATCH", f"{ACME}/members/member_bot", {"display_name": "After"}) == reached + 1
    pair.wait_drained()
    assert log(pair)[: len(logged)] == logged
    assert len(log(pair)) == len(logged) + len(QUESTIONS) + 1
    assert faults(pair) == []
    assert main(["authz", "verify-projections"]) == 0
    assert main(["authz", "replay"]) == 0


def test_a_backup_with_undelivered_events_delivers_none_of_them_twice(pair: Pair, tmp_path: Path) -> None:
    pair.wait_drained()
    pair.audit.kill()
    decide(pair)
    change(pair, "POST", f"{ACME}/members", {"id": "member_early", "display_name": "Early"})
    folder = backup("authz", tmp_path)
    pair.restart(pair.audit)
    pair.wait_ready()
    change_much(pair)
    pair.wait_drained()
    logged = log(pair)

    put_back(pair, folder)
    assert main(CATCH_UP) == 0
    assert main(["maintenance", "off"]) == 0
    pair.restart(pair.authz)
    pair.wait_ready()
    pair.wait_drained()
    assert log(pair) == logged
    assert faults(pair) == []


def test_an_authz_that_ran_ahead_before_it_caught_up_is_refused(pair: Pair, tmp_path: Path, capsys: Any) -> None:
    pair.wait_drained()
    folder = backup("authz", tmp_path)
    change(pair, "POST", f"{ACME}/members", {"id": "member_one", "display_name": "One"})
    pair.wait_drained()
    put_back(pair, folder)
    assert main(["maintenance", "off"]) == 0  # against what the restore said
    pair.restart(pair.authz)
    pair.wait_ready()
    ahead = change(pair, "POST", f"{ACME}/members", {"id": "member_two", "display_name": "Two"})
    assert main(["authz", "catch-up", "--check"]) == ExitCode.REFUSED
    assert main(CATCH_UP) == ExitCode.REFUSED
    assert f"Revision {ahead} is the change" in capsys.readouterr().err
    assert revision(pair) == ahead
