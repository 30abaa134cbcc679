"""A whole installation and what a doctor is told about it: looked at, operated, and mended as its findings say."""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.ctl.__main__ import main
from shared.ctl.doctor.checks import CHECKS
from shared.ctl.doctor.context import Context
from shared.ctl.doctor.examination import Result, examine
from shared.ctl.doctor.limits import Limits
from shared.ctl.questions import QUESTIONS
from shared.embedded.server import EmbeddedPostgres
from tests.conftest import connect
from tests.stack.backups import leave_backup
from tests.stack.pair import Pair
from tests.stack.process import Service, wait_until


@dataclasses.dataclass
class World:
    """A running pair and what a doctor is told about it; tests change both."""

    pair: Pair
    relay: Service
    server: EmbeddedPostgres
    backups: Path
    environment: dict[str, str]
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    limits: Limits = dataclasses.field(default_factory=Limits)
    clock_offset: timedelta = timedelta()

    def context(self) -> Context:
        """What `plystractl doctor` would make of this."""
        return Context(
            self.environment,
            home=self.server.home,
            backups=self.backups,
            limits=self.limits,
            clock=lambda: datetime.now(UTC) + self.clock_offset,
        )

    def examine(self) -> dict[str, Result]:
        """Run every check; the results by title."""
        context = self.context()
        results = list(examine(context, CHECKS))
        context.close()
        return {f"{result.service or ''} {result.name}".strip(): result for result in results}

    def sql(self, service: str, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run one statement as the superuser in a service's database."""
        with connect(self.pair.databases[service].superuser_dsn) as connection:
            cursor = connection.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def operate(self, command: str) -> str:
        """Run a command line of plystractl in this environment; what it printed."""
        for name in [name for name in os.environ if name.startswith("PLYSTRA_")]:
            self.monkeypatch.delenv(name)
        for name, value in self.environment.items():
            self.monkeypatch.setenv(name, value)
        self.capsys.readouterr()
        _, *arguments = shlex.split(command)
        assert main(arguments) == 0
        return self.capsys.readouterr().out.strip()

    def follow(self, service: str | None, command: str) -> None:
        """Do what a finding says is next, as an operator would who copies it."""
        program, _, rest = command.partition(" ")
        if command.endswith(";"):
            self.sql(service or "authz", command)
        elif command.startswith("plystractl migrate up "):
            # In production it says itself that it carries out a plan that was looked at, and what to type then.
            digest = self.operate(command.replace("migrate up", "migrate plan") + " --digest")
            self.operate(f"{command} --yes --plan {digest}")
        elif program == "plystractl":
            self.operate(command)
        elif program == "unset":
            del self.environment[rest]
        elif program == "export":
            name, _, value = rest.partition("=")
            inner = value.removeprefix("$(").removesuffix(")")
            self.environment[name] = self.operate(inner) if inner != value else value
        elif command == "plystra-authz relay":
            self.relay.start()
            wait_until(lambda: self.examine()["authz relay"].state == "clean", what="the lead of the relay")
        elif command in ("plystra-authz serve", "plystra-audit serve"):
            name = command.split(maxsplit=1)[0].removeprefix("plystra-")
            getattr(self.pair, name).start()
            self.pair.wait_ready(name)
        else:
            raise AssertionError(f"nobody can follow {command!r} blindly")

    def back_up(self) -> None:
        """Leave a backup of each service that was made now, and none else."""
        shutil.rmtree(self.backups, ignore_errors=True)
        leave_backup(self.backups, "authz", datetime.now(UTC))
        leave_backup(self.backups, "audit", datetime.now(UTC))


def ask(pair: Pair) -> None:
    """Let authz take a decision."""
    with pair.client("authz") as client:
        assert client.post("/api/v1/authz/check", json=QUESTIONS[0].body).status_code == 200
