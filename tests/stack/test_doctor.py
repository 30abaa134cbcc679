"""The doctor on a whole installation: it is clean, each fault fails exactly its check, and what it prints mends the fault."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from services.authz.seeding import load_example
from shared.ctl.__main__ import main
from shared.ctl.doctor.checks import CHECKS
from shared.ctl.doctor.context import Context
from shared.ctl.doctor.examination import examine
from shared.ctl.doctor.findings import Check, Finding
from shared.ctl.doctor.limits import Limits
from shared.embedded.server import EmbeddedPostgres
from shared.migrations.bootstrap import SERVICES, create_database, create_roles
from shared.migrations.runner import migrate_up
from tests.conftest import PASSWORD, ServiceDatabase, connect, passable
from tests.stack.conftest import EXAMPLE
from tests.stack.faults import FAULTS, Fault
from tests.stack.installation import World, ask
from tests.stack.pair import Pair, session_of
from tests.stack.process import Service

RELAY = "relay-under-test"


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pair, Service, EmbeddedPostgres]]:
    """A durable PostgreSQL, both services and a relay of its own, which the tests of this module break and mend."""
    with passable() as home:
        server = EmbeddedPostgres(home)
        try:
            server.start()
            with connect(server.superuser_dsn) as connection:
                connection.execute("alter system set max_prepared_transactions = 5")
                for service in SERVICES:
                    create_roles(connection, service, migrator_password=PASSWORD, app_password=PASSWORD)
            server.stop()
            server.start()
            databases = {service: ServiceDatabase(service, f"plystra_{service}", server) for service in SERVICES}
            with connect(server.superuser_dsn) as connection:
                for service, database in databases.items():
                    create_database(connection, service, database.name)
                    migrate_up(service, database.owner_dsn)
            asyncio.run(load_example(databases["authz"].app_dsn, EXAMPLE))
            logs = tmp_path_factory.mktemp("doctor")
            with Pair(databases["authz"], databases["audit"], logs, {"PLYSTRA_AUTHZ_RELAY": "off"}) as pair:
                relay = pair.relay(RELAY)
                relay.start()
                pair.start().wait_drained()
                ask(pair)  # what was seeded was delivered late: there was nobody to deliver it to
                pair.wait_drained()
                session_of(server, f"{RELAY}/relay")
                yield pair, relay, server
        finally:
            server.remove()


@pytest.fixture
def world(
    installation: tuple[Pair, Service, EmbeddedPostgres],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> World:
    """The installation, and an environment that is right for it."""
    pair, relay, server = installation
    environment = {
        "PLYSTRA_ENVIRONMENT": "production",
        "PLYSTRA_ADMIN_KEY": pair.secrets.admin_key,
        "PLYSTRA_CALLER_KEY": pair.secrets.caller_key,
        "PLYSTRA_AUDITOR_KEY": pair.secrets.auditor_key,
    }
    for service, database in pair.databases.items():
        environment[f"PLYSTRA_{service.upper()}_DSN"] = database.owner_dsn
        environment[f"PLYSTRA_{service.upper()}_APP_DSN"] = database.app_dsn
        environment[f"PLYSTRA_{service.upper()}_URL"] = pair.urls[service]
    world = World(pair, relay, server, tmp_path / "backups", environment, capsys, monkeypatch)
    world.back_up()
    # Somebody revokes this one: who is next begins with good keys.
    world.sql("authz", "update authz.credential set status = 'active', revoked_at = null")
    return world


def failing(world: World) -> dict[str, list[str]]:
    """What isn't clean: the checks by title, with what each saw."""
    return {title: [f.seen for f in r.findings] for title, r in world.examine().items() if r.findings}


def test_a_sound_installation_is_clean_and_every_check_applies(world: World) -> None:
    results = world.examine()
    assert {title: (r.state, [f.seen for f in r.findings]) for title, r in results.items() if r.state != "clean"} == {}
    assert len(results) == len(CHECKS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_fails_exactly_its_check_and_what_is_printed_mends_it(world: World, fault: Fault) -> None:
    with fault.inject(world):
        results = world.examine()
        found = {title: result for title, result in results.items() if result.findings}
        assert set(found) == set(fault.titles), {t: [f.seen for f in r.findings] for t, r in found.items()}
        for result in found.values():
            assert result.state == "findings"
            assert all(f.seen and f.why and f.next for f in result.findings)
        if fault.is_followed:
            done = set()
            for result in found.values():
                for finding in result.findings:
                    if finding.next not in done:
                        done.add(finding.next)
                        world.follow(result.service, finding.next)
            assert failing(world) == {}
    assert failing(world) == {}


def test_every_check_has_a_fault(world: World) -> None:
    assert {check.title.split()[-1] for check in CHECKS} == {title.split()[-1] for f in FAULTS for title in f.titles}


def test_a_clock_that_is_a_little_wrong_is_a_warning_and_no_finding(world: World) -> None:
    world.clock_offset = timedelta(seconds=3)
    states = {title: result.state for title, result in world.examine().items() if result.findings}
    assert set(states.values()) == {"warnings"}
    assert set(states) >= {"authz database_clock", "audit database_clock"}


def test_a_check_that_crashes_or_hangs_is_a_finding_and_the_others_are_run(world: World) -> None:
    world.limits = Limits(check_seconds=1.0)
    context = world.context()

    def crash(_: Context, __: str) -> list[Finding]:
        raise ZeroDivisionError("by the test")

    def hang(context: Context, service: str) -> list[Finding]:
        context.session(service).execute("select pg_sleep(600)")
        return []

    def look(context: Context, service: str) -> list[Finding]:
        assert context.row(service, "read_size")["bytes"] > 0
        return []

    checks = [Check(each.__name__, "runtime", "authz", "it works", each) for each in (crash, hang, look)]
    crashed, hung, looked = examine(context, checks)
    context.close()
    assert "ZeroDivisionError: by the test" in crashed.findings[0].seen
    assert "didn't end within 1 s" in hung.findings[0].seen
    assert (crashed.state, hung.state, looked.state) == ("findings", "findings", "clean")


def test_nothing_is_written(world: World) -> None:
    context = world.context()
    with pytest.raises(Exception, match="read-only transaction"):
        context.open("authz").execute("insert into authz.relay (singleton) values (true)")
    context.close()


@pytest.fixture
def run(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """A function that runs the command itself: its exit code and what it printed."""

    def run(*arguments: str) -> tuple[int, str, str]:
        for name in [name for name in os.environ if name.startswith("PLYSTRA_")]:
            monkeypatch.delenv(name)
        for name, value in world.environment.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        code = main(["doctor", "--backups", str(world.backups), "--home", str(world.server.home), *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_the_command_prints_a_line_for_each_check_and_one_document_as_json(world: World, run) -> None:
    code, text, _ = run()
    assert code == 0
    assert sum(line.startswith("✓ ") for line in text.splitlines()) == len(CHECKS)
    world.environment["PLYSTRA_ENVIRONMENT"] = "prod"
    code, text, _ = run()
    assert code == 1
    assert "✗ environment: 1 finding\n    seen: " in text
    code, text, _ = run("--format", "json")
    document = json.loads(text)
    assert (code, document["schema"], document["exit_code"]) == (1, "plystractl.doctor/1", 1)
    assert (document["findings"], document["clean"], len(document["checks"])) == (1, len(CHECKS) - 1, len(CHECKS))


def test_no_secret_is_shown(world: World, run) -> None:
    world.environment["PLYSTRA_AUTHZ_DSN"] = world.environment["PLYSTRA_AUTHZ_DSN"].replace(PASSWORD, "hunter2")
    _, text, _ = run("--format", "json")
    assert PASSWORD not in text
    assert "hunter2" not in text
    assert world.pair.secrets.admin_key not in text


def test_when_nothing_can_be_reached_the_exit_code_says_so(world: World, run) -> None:
    for name in [name for name in world.environment if name.endswith(("_DSN", "_URL"))]:
        del world.environment[name]
    world.environment["PLYSTRA_AUTHZ_DSN"] = "postgresql://authz_migrator:x@127.0.0.1:1/x"
    code, text, error = run()
    assert code == 3
    assert "✗ authz database: 1 finding" in text
    assert "✗ audit dsn: 1 finding" in text
    assert "Neither a database nor a service could be reached" in error
