"""`plystractl up` and `demo`: from nothing to answered questions, again on the same home, and down in order."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import psycopg
import pytest

from shared.embedded.server import EmbeddedPostgres
from shared.process import children_of, is_alive

DEADLINE_SECONDS = 120
REPOSITORY = Path(__file__).parents[2]
PLAIN_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PLYSTRA_")}


class Running:
    """A `plystractl` process with what it has printed so far."""

    def __init__(self, *arguments, environment=None):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "shared.ctl", *map(str, arguments)],
            cwd=REPOSITORY,
            env=PLAIN_ENVIRONMENT | (environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.printed = []
        self._lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    @property
    def text(self):
        return "".join(self.printed)

    def until(self, wanted):
        """Read until a line holds the text; fail when the process ends or takes too long."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            line = self._lines.get(timeout=max(0.01, deadline - time.monotonic()))
            assert line is not None, f"{wanted!r} was never printed:\n{self.text}"
            self.printed.append(line)
            if wanted in line:
                return line

    def end(self, number=None):
        """Send a signal if one is given, and return the exit code once the process has ended."""
        if number is not None:
            self.process.send_signal(number)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while (line := self._lines.get(timeout=max(0.01, deadline - time.monotonic()))) is not None:
            self.printed.append(line)
        return self.process.wait(DEADLINE_SECONDS)


@pytest.fixture
def home(passable_folder):
    return passable_folder / "home"


@pytest.fixture
def start():
    """A function that starts `plystractl`; what still runs at the end of the test is ended."""
    started = []

    def run(*arguments, environment=None):
        started.append(Running(*arguments, environment=environment))
        return started[-1]

    yield run
    for running in started:
        if running.process.poll() is None:
            running.process.terminate()
            running.process.wait(DEADLINE_SECONDS)
        running.process.stdout.close()


def free_ports():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        return [one.getsockname()[1], two.getsockname()[1]]


def local(home):
    authz, audit = free_ports()
    return ["--home", home, "--authz-port", authz, "--audit-port", audit]


def env_of(home):
    lines = (home / "dev.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def descendants(pid):
    children = children_of(pid)
    return children + [each for child in children for each in descendants(child)]


def wait_for(condition):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def log_size(home):
    env = env_of(home)
    headers = {"Authorization": f"Bearer {env['PLYSTRA_AUDITOR_KEY']}"}
    url = f"{env['PLYSTRA_AUDIT_URL']}/api/v1/audit/events"
    newest = httpx.get(url, params={"limit": 1}, headers=headers).json()["data"][0]
    return newest["log_index"] + 1


def test_up_answers_serves_stops_in_order_and_goes_on_with_the_same_data(home, start):
    first = start("up", *local(home))
    first.until("Serving; Ctrl-C stops.")
    assert stat.S_IMODE((home / "dev.env").stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "secrets.json").stat().st_mode) == 0o600
    env = env_of(home)
    names = {
        "ENVIRONMENT",
        "AUTHZ_URL",
        "AUDIT_URL",
        "ADMIN_KEY",
        "CALLER_KEY",
        "AUDITOR_KEY",
        "AUTHZ_DSN",
        "AUDIT_DSN",
    }
    assert set(env) == {f"PLYSTRA_{name}" for name in names}
    assert len(re.findall(r"up-[0-9a-f]{16} ", first.text)) == 6
    ask_by_curl(home, first.text)
    size = log_size(home)

    second = start("up", *local(home))
    assert second.end() == 2
    assert f"Another plystractl (process {first.process.pid}) is using" in second.text

    family = descendants(first.process.pid)
    assert len(family) > 6
    assert first.end(signal.SIGTERM) == 0, first.text
    assert not any(map(is_alive, family))
    logs = {name: (home / "logs" / f"{name}.log").read_text() for name in ("authz", "audit", "postgres")}
    assert '"event":"stopped"' in logs["authz"]
    assert '"event":"stopped"' in logs["audit"]
    assert "database system is shut down" in logs["postgres"]

    # As somebody who sourced dev.env: those DSNs are ours, so it is still the embedded PostgreSQL.
    third = start("up", *local(home), environment=env)
    third.until("Serving; Ctrl-C stops.")
    again = env_of(home)
    assert [again[name] for name in env if name.endswith("_KEY")] == [
        env[name] for name in env if name.endswith("_KEY")
    ]
    assert log_size(home) >= size + 6
    family = descendants(third.process.pid)
    third.process.kill()
    third.end()
    wait_for(lambda: not any(map(is_alive, family)))

    demo = start("demo", *local(home))
    assert demo.end() == 0, demo.text
    assert "All 6 answers and their audit records are as expected." in demo.text


def ask_by_curl(home, printed):
    """Do exactly what the text says, in a shell; the second command with the request id of the first one's answer."""
    commands = [line for line in printed.split("Ask one yourself:")[1].splitlines() if line.startswith("  ")]
    one, two = "\n".join(commands[:4]), "\n".join([commands[0], *commands[4:]])
    answer = subprocess.run(["bash", "-euc", one], capture_output=True, text=True, check=True, cwd=home).stdout
    assert '"allow":true' in answer
    request_id = re.search(r'"request_id":"([^"]+)"', answer)[1]

    def found():
        command = two.replace("<request id>", request_id)
        answer = subprocess.run(["bash", "-euc", command], capture_output=True, text=True, check=True, cwd=home).stdout
        return answer.count('"event_id"') == 1

    wait_for(found)


def test_a_busy_port_is_named_with_the_option_that_changes_it(home, start):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        running = start("demo", "--home", home, "--authz-port", free_ports()[0], "--audit-port", port)
        assert running.end() == 2
    assert f"Port {port} on 127.0.0.1, wanted for audit" in running.text
    assert "--audit-port" in running.text
    assert not (home / "postgres").exists()


@pytest.mark.parametrize("victim", ["audit", "postgres"])
def test_when_a_process_dies_everything_stops_and_its_log_is_shown(home, start, victim):
    running = start("up", *local(home), "--seed", "none")
    running.until("Serving; Ctrl-C stops.")
    family = descendants(running.process.pid)
    pattern = "services.audit" if victim == "audit" else "/postgres"
    command_lines = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() for pid in family}
    os.kill(next(pid for pid, line in command_lines.items() if pattern in line), signal.SIGKILL)
    assert running.end() == 1
    assert f"{'PostgreSQL' if victim == 'postgres' else 'audit'} ended by itself" in running.text
    assert "log" in running.text
    wait_for(lambda: not any(map(is_alive, family)))


def test_a_stop_in_the_middle_of_starting_is_orderly_and_the_next_start_goes_on(home, start):
    # In the order in which a first start comes by them, so each is reached for the first time.
    for moment in ("PostgreSQL is ready", "audit: ", "audit is ready", "finance-reviewer"):
        running = start("up", *local(home))
        running.until(moment)
        family = descendants(running.process.pid)
        assert running.end(signal.SIGINT) == 0, running.text
        assert "Traceback" not in running.text
        assert not any(map(is_alive, family))
    demo = start("demo", *local(home))
    assert demo.end() == 0, demo.text


@pytest.fixture
def external(passable_folder):
    """A PostgreSQL of somebody else's making, with a role that may create roles and owns two databases."""
    with EmbeddedPostgres(passable_folder / "external", fast=True) as server:
        with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
            connection.execute("create role boss login createrole password 'p@ss/word'")
            connection.execute("create role clerk login password 'clerk'")
            for name in ("one", "two"):
                connection.execute(f"create database {name} owner boss")
        yield server


def owner_dsns(server, user, password):
    return {
        "PLYSTRA_AUTHZ_DSN": server.dsn(user, password, "one"),
        "PLYSTRA_AUDIT_DSN": server.dsn(user, password, "two"),
    }


def test_an_external_postgresql_is_taken_when_the_dsns_are_set(home, start, external):
    dsns = owner_dsns(external, "boss", "p@ss/word")
    for _ in range(2):
        demo = start("demo", *local(home), environment=dsns)
        assert demo.end() == 0, demo.text
    assert not (home / "postgres.json").exists()
    assert {name: env_of(home)[name] for name in dsns} == dsns
    with psycopg.connect(external.dsn("boss", "p@ss/word", "one")) as connection:
        owners = connection.execute("select distinct tableowner from pg_tables where schemaname = 'authz'").fetchall()
    assert owners == [("authz_owner",)]

    # Another home doesn't know the service's password, and doesn't change it.
    stranger = start("demo", *local(home.with_name("another")), environment=dsns)
    assert stranger.end() == 2
    assert "PLYSTRA_AUTHZ_APP_DSN" in stranger.text


def test_who_may_not_make_the_roles_is_told_which_ones_are_needed(home, start, external):
    with psycopg.connect(external.superuser_dsn, autocommit=True) as connection:
        for name in ("one", "two"):
            connection.execute(f"alter database {name} owner to clerk")
    running = start("demo", *local(home), environment=owner_dsns(external, "clerk", "clerk"))
    assert running.end() == 2
    assert "create role authz_owner nologin" in running.text
    assert "PLYSTRA_AUTHZ_APP_DSN" in running.text


def test_one_dsn_alone_and_an_unknown_setting_are_refused(home, start, external):
    for environment, said in (
        ({"PLYSTRA_AUTHZ_DSN": external.dsn("boss", "p@ss/word", "one")}, "PLYSTRA_AUDIT_DSN isn't set"),
        ({"PLYSTRA_AUTHZ_DNS": "x"}, "Did you mean PLYSTRA_AUTHZ_DSN?"),
    ):
        running = start("demo", *local(home), environment=environment)
        assert running.end() == 2
        assert said in running.text


def test_reset_deletes_what_up_made_and_nothing_else(home, start):
    demo = start("demo", *local(home))
    assert demo.end() == 0, demo.text
    (home / "mine.txt").write_text("not Plystra's")
    assert start("reset", "--home", home).end() == 0
    assert [path.name for path in home.iterdir()] == ["mine.txt"]
    with contextlib.suppress(FileNotFoundError):
        assert start("reset", "--home", home).end() == 2
