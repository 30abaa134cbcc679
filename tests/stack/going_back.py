"""What it takes to see an authz go back to a backup while audit goes on, and to tell that nothing was lost by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from shared.ctl.__main__ import main
from shared.ctl.questions import QUESTIONS
from tests.conftest import connect
from tests.stack import proof
from tests.stack.pair import Pair

ACME: Final = "/api/v1/spaces/space_acme"
GRANT: Final = f"{ACME}/member-roles/mr_reviewer_finance_approver"
CATCH_UP: Final = ["authz", "catch-up", "--from-audit"]


def backup(service: str, out: Path) -> Path:
    """Take a backup of a service."""
    assert main(["backup", "create", "--service", service, "--out", str(out)]) == 0
    (folder,) = out.glob(f"{service}-*")
    return folder


def put_back(pair: Pair, folder: Path) -> None:
    """Stop authz and put a backup in the place of its database, as in production."""
    pair.authz.terminate()
    pair.authz.wait_gone()
    server = pair.databases["authz"].server.superuser_dsn
    arguments = ["backup", "restore", str(folder), "--service", "authz", "--replace", "--yes", "--server", server]
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


def decide(pair: Pair) -> list[Any]:
    """Ask all questions of the worked example; returns what was decided."""
    with pair.client("authz") as client:
        answers = [client.post("/api/v1/authz/check", json=question.body) for question in QUESTIONS]
    assert {answer.status_code for answer in answers} == {200}
    return [(data["decision"], data.get("deny_code")) for data in (answer.json()["data"] for answer in answers)]


def log(pair: Pair) -> list[Any]:
    """Everything in audit's log: each entry with its id, its bytes and what kind it is."""
    with connect(pair.databases["audit"].superuser_dsn) as connection:
        query = "select log_index, event_id, leaf, leaf_hash, recorded_at, kind from audit.entry order by log_index"
        return connection.execute(query).fetchall()


def revision(pair: Pair) -> int:
    """How far authz's history reaches."""
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
