"""The upgrade from the release before, as docs/operating.md has it: every step with the real command, as in production."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from shared.ctl.upgrade.steps import STEPS
from shared.embedded.server import EmbeddedPostgres
from shared.migrations.bootstrap import SERVICES, create_database
from shared.release import SERVICE_VERSION
from tests.conftest import ServiceDatabase, connect
from tests.releases.previous import install_previous
from tests.stack.pair import Pair
from tests.stack.process import wait_until

# Steps that this drill doesn't take, each with the reason.
LEFT_OUT: Final = {
    "backup": "there is no command for it yet in this tree; add it here and name the folder of backups to plan and verify",
    "maintenance on": "the release before knows no maintenance: it is stopped instead, and plan says so",
    "maintenance off": "as above",
    "stop": "the release before doesn't run here: only its data and its schema are kept",
}
# What a doctor rightly finds after it: no backups were named, and the data holds an event that audit had refused.
DOCTOR_FINDS: Final = {("authz", "backup"), ("audit", "backup"), ("authz", "refused")}
# And for a minute: what waited in the outbox all through the upgrade was delivered late.
FOR_A_MINUTE: Final = {("authz", "delivery")}


@pytest.fixture
def old_pair(own_server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Pair]:
    """Both databases as the release before left them, and the services of this one, not started."""
    databases = {service: ServiceDatabase(service, f"plystra_{service}", own_server) for service in SERVICES}
    with connect(own_server.superuser_dsn) as connection:
        for service, database in databases.items():
            create_database(connection, service, database.name)
            install_previous(service, database.owner_dsn, database.superuser_dsn)
    with Pair(databases["authz"], databases["audit"], tmp_path) as pair:
        yield pair


class Operator:
    """Types commands, with the settings of somebody who may do all of it in production."""

    def __init__(self, pair: Pair) -> None:
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("PLYSTRA_")} | {
            "PLYSTRA_ADMIN_KEY": pair.secrets.admin_key,
            "PLYSTRA_AUDITOR_KEY": pair.secrets.auditor_key,
            "PLYSTRA_CALLER_KEY": pair.secrets.caller_key,
            **{f"PLYSTRA_{name.upper()}_URL": url for name, url in pair.urls.items()},
            **{f"PLYSTRA_{name.upper()}_DSN": database.owner_dsn for name, database in pair.databases.items()},
            **{f"PLYSTRA_{name.upper()}_APP_DSN": database.app_dsn for name, database in pair.databases.items()},
        }

    def type(self, *words: str, code: int = 0) -> str:
        """Run a command, which must end with this code, and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "shared.ctl", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == code, f"{' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def ask(self, *words: str, code: int = 0) -> dict[str, Any]:
        """Run a command for its JSON document."""
        document: dict[str, Any] = json.loads(self.type(*words, "--format", "json", code=code))
        return document


def ticked(plan: dict[str, Any]) -> dict[str, bool]:
    return {step["name"]: step["is_done"] for step in plan["steps"]}


def findings(report: dict[str, Any]) -> set[str]:
    return {line["name"] for line in report["lines"] if line["state"] not in ("well", "note")}


def delivers(pair: Pair) -> bool:
    """Whether the relay has noted no trouble since its last delivery."""
    with connect(pair.databases["authz"].superuser_dsn) as connection:
        return connection.execute("select last_error is null from authz.relay").fetchone() == (True,)


def test_an_upgrade_from_the_release_before_step_by_step(old_pair):
    operator = Operator(old_pair)
    taken = []

    plan = operator.ask("upgrade", "plan", code=1)
    assert findings(plan) == {"backup"}
    assert ticked(plan)["migrate up"] is False
    assert not {"maintenance on", "maintenance off"} & set(ticked(plan))
    (outbox,) = (line for line in plan["lines"] if line["name"] == "outbox")
    assert outbox["seen"].startswith("6 events wait")
    assert all("All of them expand" in line["seen"] for line in plan["lines"] if line["name"] == "migrations")
    taken.append("plan")

    operator.type("migrate", "up", code=7)  # nothing but what was looked at is done in production
    digest = operator.type("migrate", "plan", "--digest").strip()
    (up,) = (step["command"] for step in plan["steps"] if step["name"] == "migrate up")
    assert up == f"plystractl migrate up --yes --plan {digest}"
    taken.append("migrate plan")
    operator.type(*up.split()[1:])
    taken.append("migrate up")
    operator.type("migrate", "verify")
    taken.append("migrate verify")
    operator.type("schema", "check", "--queries")
    taken.append("schema check")

    early = operator.ask("upgrade", "verify", code=1)
    assert findings(early) == {"running"}
    old_pair.start()
    old_pair.wait_drained()
    wait_until(lambda: delivers(old_pair), what="the end of the trouble that the release before had noted")
    taken.append("start")
    examined = operator.ask("doctor", code=1)
    found = {(check["service"], check["name"]) for check in examined["checks"] if check["state"] == "findings"}
    assert found - FOR_A_MINUTE == DOCTOR_FINDS
    taken.append("doctor")
    operator.type("smoke")
    taken.append("smoke")
    assert operator.ask("upgrade", "verify")["tool_version"] == SERVICE_VERSION
    taken.append("verify")
    operator.type("authz", "verify-projections")

    after = operator.ask("upgrade", "plan", code=1)
    assert all(ticked(after)[name] for name in ("plan", "migrate plan", "migrate up", "start"))
    assert [step.name for step in STEPS if step.name not in LEFT_OUT] == taken

    with old_pair.client("audit") as audit:  # what the release before had left in its outbox is in the log
        found = audit.get("/api/v1/audit/decisions", params={"request_id": "kept-0"}).json()["data"]
    assert len(found) == 1


def test_a_database_of_a_newer_release_is_left_alone(old_pair):
    operator = Operator(old_pair)
    with connect(old_pair.databases["authz"].superuser_dsn) as superuser:
        superuser.execute("update public._migration_ledger set tool_version = '99.0.0' where ordinal = 6")
    plan = operator.ask("upgrade", "plan", code=7)
    assert "release" in findings(plan)
    assert plan["steps"] == []
    (line,) = (line for line in plan["lines"] if line["state"] == "refused")
    assert "99.0.0" in line["seen"]
    assert "install plystractl of release 99.0.0" in line["next"]


def test_a_database_that_is_away_is_no_finding_about_it(old_pair):
    operator = Operator(old_pair)
    operator.environment["PLYSTRA_AUDIT_DSN"] = "postgresql://nobody@127.0.0.1:1/nothing"
    report = operator.ask("upgrade", "plan", code=3)
    assert {line["service"] for line in report["lines"] if line["state"] == "unreachable"} == {"audit"}


def test_backups_are_counted_and_compared_by_their_manifests(old_pair, tmp_path):
    operator = Operator(old_pair)

    def write(service, created_at, rows):
        folder = tmp_path / f"{service}-{created_at[:10]}Z"
        folder.mkdir()
        contents = {"migrations": [], "tables": [{"name": rows[0], "rows": rows[1]}]}
        manifest = {"service": service, "created_at": created_at, "contents": contents}
        (folder / "manifest.json").write_text(json.dumps(manifest))

    write("authz", "2020-01-01T00:00:00Z", ("authz.event", 36))
    write("audit", "2100-01-01T00:00:00Z", ("audit.entry", 42))
    plan = operator.ask("upgrade", "plan", "--backups", str(tmp_path), code=1)
    assert {line["service"]: line["state"] for line in plan["lines"] if line["name"] == "backup"} == {
        "authz": "finding",
        "audit": "well",
    }
    write("authz", "2100-01-01T00:00:00Z", ("authz.event", 37))
    plan = operator.ask("upgrade", "plan", "--backups", str(tmp_path))
    assert ticked(plan)["backup"] is True
    report = operator.ask("upgrade", "verify", "--backups", str(tmp_path), code=1)
    rows = {line["service"]: line["state"] for line in report["lines"] if line["name"] == "rows"}
    assert rows == {"authz": "finding", "audit": "well"}
    assert "authz.event has 36 rows, not 37" in str(report["lines"])
