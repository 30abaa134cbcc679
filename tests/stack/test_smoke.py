"""`plystractl smoke` on a running pair: everything passes on any installation, and each failure says what to do next."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from shared.ctl.__main__ import main
from shared.ctl.smoke import steps as smoke_steps
from shared.embedded.server import EmbeddedPostgres
from tests.conftest import CloneDatabase, connect
from tests.stack.conftest import OpenPair
from tests.stack.pair import Pair
from tests.stack.process import stopped, wait_until

NAMES = [step.name for step in smoke_steps.steps(seeded=True)]
TABLES = (
    "event",
    "user",
    "space",
    "member",
    "user_member",
    "role",
    "member_role",
    "resource",
    "resource_type",
    "permission",
)

Run = Callable[..., tuple[int, dict[str, dict[str, Any]]]]


@pytest.fixture(scope="module")
def running(open_pair: OpenPair) -> Iterator[Pair]:
    """A pair with the worked example, which the tests of this module share."""
    with open_pair() as pair:
        yield pair.start()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs the command on a pair: its exit code, and the steps by name; settings can be changed."""

    def run(pair: Pair, *arguments: str, **changes: str | None) -> tuple[int, dict[str, dict[str, Any]]]:
        settings = {
            "AUTHZ_URL": pair.urls["authz"],
            "AUDIT_URL": pair.urls["audit"],
            "CALLER_KEY": pair.secrets.caller_key,
            "AUDITOR_KEY": pair.secrets.auditor_key,
            "ADMIN_KEY": pair.secrets.admin_key,
        } | changes
        for name in [name for name in os.environ if name.startswith("PLYSTRA_")]:
            monkeypatch.delenv(name)
        for name, value in settings.items():
            if value is not None:
                monkeypatch.setenv(f"PLYSTRA_{name}", value)
        capsys.readouterr()
        code = main(["smoke", "--format", "json", *arguments])
        document = json.loads(capsys.readouterr().out)
        assert (document["schema"], document["exit_code"]) == ("plystractl.smoke/1", code)
        return code, {step["name"]: step for step in document["steps"]}

    return run


def failed(steps: dict[str, dict[str, Any]]) -> set[str]:
    """The names of the steps that failed, each with what was expected, what came and what is next."""
    names = {name for name, step in steps.items() if step["state"] == "failed"}
    assert all(steps[name]["expected"] and steps[name]["came"] and steps[name]["next"] for name in names)
    return names


def counts(pair: Pair) -> dict[str, int]:
    """How many rows the graph's tables hold."""
    with connect(pair.databases["authz"].superuser_dsn) as connection:
        return {t: connection.execute(f'select count(*) from authz."{t}"').fetchone()[0] for t in TABLES}  # type: ignore[index] # one row always


def test_everything_passes_and_nothing_stored_is_changed(running: Pair, run: Run) -> None:
    before = counts(running)
    code, steps = run(running, "--seeded")
    assert (code, list(steps), failed(steps)) == (0, NAMES, set())
    assert {step["state"] for step in steps.values()} == {"passed"}
    assert counts(running) == before


def test_on_an_empty_installation_only_what_needs_the_registry_is_left_out(
    clone_database: CloneDatabase, server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, run: Run
) -> None:
    with (
        clone_database("authz") as authz,
        clone_database("audit") as audit,
        Pair(authz, audit, tmp_path_factory.mktemp("empty")) as pair,
    ):
        pair.start()
        code, steps = run(pair)
    left_out = {name for name, step in steps.items() if step["state"] == "not_applicable"}
    assert (code, failed(steps), left_out) == (0, set(), {"check_allow", "explain_allow"})


def test_the_lines_for_people_have_a_mark_a_time_and_the_next_step(
    running: Pair, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(running)
    assert main(["smoke"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("✓ ") and " ms  " in line for line in lines) == len(NAMES) - 1
    monkeypatch.setenv("PLYSTRA_CALLER_KEY", "ply_nobody")
    assert main(["smoke"]) == 1
    text = capsys.readouterr().out
    assert "✗ check_allow" in text
    assert "    next:     export PLYSTRA_CALLER_KEY=$(plystractl credential create --service authz" in text


@pytest.mark.parametrize(
    "changes, wrong, next",
    [
        ({"CALLER_KEY": None}, {"check_allow", "check_deny", "explain_allow", "explain_deny"}, "credential create"),
        ({"AUDITOR_KEY": None}, {"audit", "correlation"}, "credential create"),
        ({"ADMIN_KEY": "ply_nobody"}, {"registry"}, "credential create"),
    ],
)
def test_a_key_that_is_missing_or_not_taken_fails_the_steps_that_use_it(
    running: Pair, run: Run, changes: dict[str, str | None], wrong: set[str], next: str
) -> None:
    code, steps = run(running, **changes)
    assert code == 1
    assert failed(steps) == wrong
    assert all(next in steps[name]["next"] for name in wrong)
    assert len(steps) == len(NAMES) - 1


def test_urls_that_are_swapped_are_seen(running: Pair, run: Run) -> None:
    code, steps = run(running, AUTHZ_URL=running.urls["audit"], AUDIT_URL=running.urls["authz"])
    assert code == 1
    assert {"authz_health", "audit_health"} <= failed(steps)
    assert steps["authz_health"]["next"] == "put right PLYSTRA_AUTHZ_URL"


def test_another_release_is_seen(running: Pair, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke_steps, "SERVICE_VERSION", "99.0.0")
    code, steps = run(running)
    assert (code, failed(steps)) == (1, {"authz_version", "audit_version"})


def test_a_schema_that_lacks_a_migration_is_seen(running: Pair, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke_steps, "required_migrations", lambda _: ("9999.of_the_next_release",))
    _, steps = run(running)
    assert failed(steps) == {"authz_version", "audit_version"}
    assert steps["authz_version"]["next"] == "plystractl migrate up --service authz"


def test_decisions_that_do_not_arrive_in_the_log_are_seen(running: Pair, run: Run) -> None:
    relay = running.authz.relay()
    assert relay is not None
    with stopped(relay):
        code, steps = run(running, "--patience", "0.3")
    assert (code, failed(steps)) == (1, {"audit", "correlation"})
    assert "relay" in steps["audit"]["next"]
    running.wait_drained()


def test_without_urls_the_configuration_is_at_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("PLYSTRA_")]:
        monkeypatch.delenv(name)
    assert main(["smoke"]) == 2
    assert "PLYSTRA_AUTHZ_URL isn't set" in capsys.readouterr().err


def test_maintenance_that_was_left_on_is_named_with_the_way_out(
    pair: Pair, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLYSTRA_AUTHZ_DSN", pair.databases["authz"].owner_dsn)
    assert main(["maintenance", "on", "--reason", "forgotten"]) == 0
    wait_until(lambda: pair.readiness("authz")[0] == 503, what="the maintenance")
    code, steps = run(pair)
    assert code == 1
    assert steps["authz_health"]["state"] == steps["authz_version"]["state"] == "passed"
    assert {steps[name]["next"] for name in failed(steps)} == {"plystractl maintenance off"}


def test_services_that_are_away_fail_every_step_that_asks_them(pair: Pair, run: Run) -> None:
    pair.authz.kill()
    code, steps = run(pair)
    assert code == 1
    assert {name for name in failed(steps) if not name.startswith("authz")} >= {
        "registry",
        "check_deny",
        "explain_deny",
    }
    assert steps["audit_ready"]["state"] == "passed"
    assert "plystra-authz serve" in steps["registry"]["next"]
