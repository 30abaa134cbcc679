"""authz goes back to a backup while audit goes on: no change is lost, and nothing is in the log twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from shared.ctl.__main__ import main
from shared.ctl.questions import QUESTIONS
from shared.migrations.errors import ExitCode
from tests.conftest import connect
from tests.stack import proof
from tests.stack.pair import Pair
from tests.stack.process import wait_until

ACME: Final = "/api/v1/spaces/space_acme"
GRANT: Final = f"{ACME}/member-roles/mr_reviewer_finance_approver"
CATCH_UP: Final = ["authz", "catch-up", "--from-audit"]


@pytest.fixture(autouse=True)
def operator(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """plystractl is told of both databases."""
    monkeypatch.setenv("PLYSTRA_ENVIRONMENT", "test")
    for service, database in pair.databases.items():
        monkeypatch.setenv(f"PLYSTRA_{service.upper()}_DSN", database.owner_dsn)


def backup(service: str, out: Path) -> Path:
    assert main(["backup", "create", "--service", service, "--out", str(out)]) == 0
    (folder,) = out.glob(f"{service}-*")
    return folder


def put_back(pair: Pair, folder: Path) -> None:
    """Stop authz and put a backup in the place of its database."""
    pair.authz.terminate()
    pair.authz.wait_gone()
    server = pair.databases["authz"].server.superuser_dsn
    arguments = ["backup", "restore", str(folder), "--service", "authz", "--replace", "--server", server]
    assert main(arguments) == 0
    with connect(server) as connection:
        like = [f"{pair.databases['authz'].name}\\_before%"]
        for (name,) in connection.execute("select datname from pg_database where datname like %s", like).fetchall():
            connection.execute(f'drop database "{name}"'.encode())


def change(pair: Pair, method: str, path: str, body: dict[str, Any]) -> int:
    """Make a change; returns its revision."""
    with pair.client("authz") as client:
        answer = client.request(method, path, json=body)
    assert answer.status_code < 300, answer.text
    return int(answer.json()["data"]["revision"])


def change_much(pair: Pair) -> None:
    """Change every kind of thing that a replay treats in its own way: new rows, a subtree that moves, a revoked grant."""
    change(pair, "POST", f"{ACME}/members", {"id": "member_bot", "display_name": "Bot"})
    change(pair, "PATCH", f"{ACME}/members/member_bot", {"display_name": "Robot"})
    change(pair, "POST", f"{ACME}/groups/group_finance/move", {"parent_group_id": "group_legal"})
    change(pair, "PATCH", f"{ACME}/groups/group_finance_apac", {"name": "APAC, moved along before"})
    change(pair, "POST", f"{ACME}/groups/group_finance/move", {"parent_group_id": None})
    change(pair, "POST", f"{GRANT}/revoke", {"reason": "left"})


def decide(pair: Pair) -> list[Any]:
    """Ask all questions of the worked example; returns what was decided."""
    with pair.client("authz") as client:
        answers = [client.post("/api/v1/authz/check", json=question.body) for question in QUESTIONS]
    assert {answer.status_code for answer in answers} == {200}
    return [(data["decision"], data.get("deny_code")) for data in (answer.json()["data"] for answer in answers)]


def log(pair: Pair) -> list[Any]:
    """Everything in audit's log."""
    with connect(pair.databases["audit"].superuser_dsn) as connection:
        query = "select log_index, event_id, leaf_hash, recorded_at from audit.entry order by log_index"
        return connection.execute(query).fetchall()


def revision(pair: Pair) -> int:
    with connect(pair.databases["authz"].superuser_dsn) as connection:
        return int((connection.execute("select max(revision) from authz.event").fetchone() or (0,))[0])


def faults(pair: Pair) -> list[str]:
    """What isn't as it must be in both databases, whoever asked."""
    with (
        connect(pair.databases["audit"].superuser_dsn) as audit,
        connect(pair.databases["authz"].superuser_dsn) as authz,
    ):
        broken = [f"{law}: {row}" for law, query in proof._LAWS.items() for row in audit.execute(query).fetchall()]
        return broken + proof._faults_of_bytes(audit, authz, complete=True)


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


def test_audit_records_of_a_failed_upgrade_survive_the_rollback_of_authz(pair: Pair, tmp_path: Path) -> None:
    pair.wait_drained()
    folder = backup("authz", tmp_path)
    decide(pair)
    change(pair, "POST", f"{ACME}/members", {"id": "member_upgrade", "display_name": "Made in the window"})
    pair.wait_drained()
    logged = log(pair)

    put_back(pair, folder)
    assert log(pair) == logged
    assert main(CATCH_UP) == 0
    assert main(["maintenance", "off"]) == 0
    pair.restart(pair.authz)
    pair.wait_ready()
    with pair.client("audit", pair.secrets.auditor_key) as client:
        kinds = [row["kind"] for row in client.get("/api/v1/audit/events", params={"limit": 50}).json()["data"]]
    assert kinds.count("decision.made") == len(QUESTIONS)
    with pair.client("authz") as client:
        assert client.get(f"{ACME}/members/member_upgrade").json()["data"]["display_name"] == "Made in the window"


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
