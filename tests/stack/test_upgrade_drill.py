"""The upgrade from the release before, as docs/operating.md has it: every step as `upgrade plan` prints it, in production."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from shared.ctl.__main__ import main
from shared.ctl.backups.folder import newest_backup
from shared.ctl.questions import QUESTIONS
from shared.ctl.upgrade.steps import steps
from shared.embedded.server import EmbeddedPostgres
from shared.migrations.bootstrap import SERVICES
from shared.release import SERVICE_VERSION
from tests.conftest import connect, fresh_database
from tests.releases.previous import install_previous
from tests.stack.backups import leave_backup
from tests.stack.pair import Pair
from tests.stack.process import wait_until

# Steps that can't be taken of the release before; of this one, upgraded once more, they are.
LEFT_OUT: Final = {"stop": "its processes don't run here: only its data and its schema are kept"}
# What a doctor rightly finds after it: the data holds an event that audit had refused.
DOCTOR_FINDS: Final = {("authz", "refused")}
# And for a minute: what waited in the outbox all through the upgrade was delivered late.
FOR_A_MINUTE: Final = {("authz", "delivery")}


@contextmanager
def previous_pair(server: EmbeddedPostgres, logs: Path) -> Iterator[Pair]:
    """Both databases as the release before left them, and the services of this one, not started."""
    with ExitStack() as stack:
        databases = {service: stack.enter_context(fresh_database(server, service)) for service in SERVICES}
        for service, database in databases.items():
            install_previous(service, database.owner_dsn, database.superuser_dsn)
        yield stack.enter_context(Pair(databases["authz"], databases["audit"], logs))


class Operator:
    """Types commands, with the settings of somebody who may do all of it in production."""

    def __init__(self, pair: Pair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch = monkeypatch
        self.capsys = capsys
        for name in [name for name in os.environ if name.startswith("PLYSTRA_")]:
            monkeypatch.delenv(name)
        for role in ("admin", "auditor", "caller"):
            monkeypatch.setenv(f"PLYSTRA_{role.upper()}_KEY", getattr(pair.secrets, f"{role}_key"))
        for name, database in pair.databases.items():
            monkeypatch.setenv(f"PLYSTRA_{name.upper()}_URL", pair.urls[name])
            monkeypatch.setenv(f"PLYSTRA_{name.upper()}_DSN", database.owner_dsn)
            monkeypatch.setenv(f"PLYSTRA_{name.upper()}_APP_DSN", database.app_dsn)

    def type(self, *words: str, code: int = 0) -> str:
        """Run a command, which must end with this code, and return what it printed."""
        self.capsys.readouterr()
        ended = main(list(words))
        printed = self.capsys.readouterr()
        assert ended == code, f"{' '.join(words)}: {ended}\n{printed.out}\n{printed.err}"
        return printed.out

    def ask(self, *words: str, code: int = 0) -> dict[str, Any]:
        """Run a command for its JSON document."""
        document: dict[str, Any] = json.loads(self.type(*words, "--format", "json", code=code))
        return document


class Drill:
    """Takes steps as they are printed, and looks after some of them whether it is as it should be then."""

    def __init__(self, pair: Pair, operator: Operator, backups: Path) -> None:
        self.pair = pair
        self.operator = operator
        self.backups = backups
        self.looks = {
            "backup": self.look_at_backups,
            "schema check": self.look_before_the_start,
            "start": self.look_whether_closed,
            "maintenance off": self.look_whether_open,
        }

    def plan(self, code: int) -> dict[str, Any]:
        return self.operator.ask("upgrade", "plan", "--backups", str(self.backups), code=code)

    def take(self, planned: list[dict[str, Any]], left_out: set[str]) -> None:
        """Take every step but the plan itself, which was."""
        for step in planned[1:]:
            name, words = step["name"], shlex.split(step["command"])
            if name in left_out:
                continue
            if name == "stop":
                self.stop()
            elif name == "start":
                self.pair.audit.start()
                self.pair.authz.start()
            elif name == "doctor":
                self.examine(words[1:])
            elif name == "verify":
                lines = self.operator.ask(*words[1:])["lines"]
                assert {line["state"] for line in lines} == {"well"}
                assert {"schema", "statements", "projections", "ready", "rows"} < {line["name"] for line in lines}
            else:
                self.operator.type(*words[1:])
            if name in self.looks:
                self.looks[name]()

    def stop(self) -> None:
        assert self.refusal() == ("maintenance", "30", 200)
        for service in (self.pair.authz, self.pair.audit):
            service.terminate()
            assert service.wait_ended() == 0
            service.wait_gone()

    def look_at_backups(self) -> None:
        server = self.pair.databases["authz"].server.superuser_dsn
        for service in SERVICES:
            made = newest_backup(self.backups, service)
            assert made is not None
            folder = str(self.backups / made.id)
            self.operator.type("backup", "verify", folder)
            self.operator.type("backup", "restore-test", folder, "--server", server)
        assert ticked(self.plan(code=0))["backup"] is True

    def look_before_the_start(self) -> None:
        early = self.operator.ask("upgrade", "verify", "--backups", str(self.backups), code=1)
        assert findings(early) == {"running"}

    def look_whether_closed(self) -> None:
        self.pair.wait_ready("audit")
        wait_until(lambda: self.pair.readiness("authz")[0] == 503, what="an authz that is closed")
        assert self.refusal() == ("maintenance", "30", 200)

    def look_whether_open(self) -> None:
        self.pair.wait_ready()
        self.pair.wait_drained()
        wait_until(lambda: delivers(self.pair), what="the end of the trouble that the release before had noted")

    def refusal(self) -> tuple[str | None, str | None, int]:
        """What a check is answered while maintenance is on, with when to ask again, and the status of /health."""
        with self.pair.client("authz", self.pair.secrets.caller_key) as caller:
            wait_until(lambda: self.ask(caller).status_code == 503, what="a refusal")
            answer = self.ask(caller)
            health = caller.get("/api/v1/health").status_code
        return answer.json()["code"], answer.headers.get("retry-after"), health

    def ask(self, caller: httpx.Client) -> httpx.Response:
        return caller.post("/api/v1/authz/check", json=QUESTIONS[0].body)

    def examine(self, words: list[str]) -> None:
        examined = self.operator.ask(*words, code=1)
        found = {(check["service"], check["name"]) for check in examined["checks"] if check["state"] == "findings"}
        assert found - FOR_A_MINUTE == DOCTOR_FINDS


def ticked(plan: dict[str, Any]) -> dict[str, bool]:
    return {step["name"]: step["is_done"] for step in plan["steps"]}


def findings(report: dict[str, Any]) -> set[str]:
    return {line["name"] for line in report["lines"] if line["state"] not in ("well", "note")}


def delivers(pair: Pair) -> bool:
    """Whether the relay has noted no trouble since its last delivery."""
    with connect(pair.databases["authz"].superuser_dsn) as connection:
        return connection.execute("select last_error is null from authz.relay").fetchone() == (True,)


def test_an_upgrade_from_the_release_before_and_the_next_one_step_by_step(own_server, tmp_path, monkeypatch, capsys):
    with previous_pair(own_server, tmp_path) as pair:
        operator = Operator(pair, monkeypatch, capsys)
        drill = Drill(pair, operator, tmp_path / "kept backups")

        plan = drill.plan(code=1)
        assert findings(plan) == {"backup"}
        assert list(ticked(plan)) == [step.name for step in steps(knows_maintenance=False)]
        assert [name for name, is_done in ticked(plan).items() if is_done] == ["plan"]
        (outbox,) = (line for line in plan["lines"] if line["name"] == "outbox")
        assert outbox["seen"].startswith("6 events wait")
        assert all("All of them expand" in line["seen"] for line in plan["lines"] if line["name"] == "migrations")
        operator.type("migrate", "up", code=7)  # nothing but what was looked at is done in production
        drill.take(plan["steps"], set(LEFT_OUT))

        with pair.client("audit") as audit:  # what the release before had left in its outbox is in the log
            found = audit.get("/api/v1/audit/decisions", params={"request_id": "kept-0"}).json()["data"]
        assert len(found) == 1

        again = drill.plan(code=0)
        assert list(ticked(again)) == [step.name for step in steps(knows_maintenance=True)]
        done = {name for name, is_done in ticked(again).items() if is_done}
        assert done == {"plan", "backup", "migrate plan", "migrate up", "start"}
        drill.take(again["steps"], set())
        assert {line["seen"] for line in again["lines"] if line["name"] == "running"} == {
            f"Release {SERVICE_VERSION} answers."
        }


@pytest.fixture
def old_pair(server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Pair]:
    """Both databases as the release before left them; no service runs."""
    with previous_pair(server, tmp_path) as pair:
        yield pair


@pytest.fixture
def operator(old_pair: Pair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Operator:
    """Somebody who looks at them."""
    return Operator(old_pair, monkeypatch, capsys)


def test_a_database_of_a_newer_release_is_left_alone(old_pair, operator):
    with connect(old_pair.databases["authz"].superuser_dsn) as superuser:
        superuser.execute("update public._migration_ledger set tool_version = '99.0.0' where ordinal = 6")
    plan = operator.ask("upgrade", "plan", code=7)
    assert "release" in findings(plan)
    assert plan["steps"] == []
    (line,) = (line for line in plan["lines"] if line["state"] == "refused")
    assert "99.0.0" in line["seen"]
    assert "install plystractl of release 99.0.0" in line["next"]


def test_a_database_that_is_away_is_no_finding_about_it(operator, monkeypatch):
    monkeypatch.setenv("PLYSTRA_AUDIT_DSN", "postgresql://nobody@127.0.0.1:1/nothing")
    report = operator.ask("upgrade", "plan", code=3)
    assert {line["service"] for line in report["lines"] if line["state"] == "unreachable"} == {"audit"}


def test_backups_are_counted_and_compared_by_their_manifests(operator, tmp_path):
    now = datetime.now(UTC)
    backups = tmp_path / "backups"

    def seen(*words, code):
        report = operator.ask("upgrade", *words, "--backups", str(backups), code=code)
        return {line["service"]: line["seen"] for line in report["lines"] if line["name"] in ("backup", "rows")}

    leave_backup(backups, "audit", now, entry=42)
    assert "There is none in" in seen("plan", code=1)["authz"]
    leave_backup(backups, "authz", now - timedelta(days=2), event=36)
    assert "more than a day ago" in seen("plan", code=1)["authz"]
    leave_backup(backups, "authz", now - timedelta(hours=1), event=36)
    assert "from before the last migration" in seen("plan", code=1)["authz"]
    leave_backup(backups, "authz", now, event=37)
    assert set(seen("plan", code=0).values()) == {
        f"The newest is of {now:%Y-%m-%d %H:%M:%S%z}, with what is applied now."
    }
    assert seen("verify", code=1) == {
        "authz": "authz.event has 36 rows, not 37.",
        "audit": "No table has fewer rows than the backup.",
    }


def test_drift_and_a_row_that_no_event_made_are_found_afterwards(old_pair, operator):
    with connect(old_pair.databases["authz"].superuser_dsn) as superuser:
        superuser.execute("alter table authz.space alter column name drop not null")
        superuser.execute("update authz.space set name = 'Renamed by hand'")
    found = findings(operator.ask("upgrade", "verify", code=1))
    assert {"schema: schema_differs", "projections: row_differs"} < found
