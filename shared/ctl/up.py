"""`plystractl up` and `demo`: a whole Plystra on this machine, from nothing to six answered questions.

    home and ports → PostgreSQL → migrate, verify → keys → dev.env → audit, authz → seed → questions → serve → stop

What is started is stopped in the opposite order: authz answers what is in flight and its relay delivers what it can,
then audit, then PostgreSQL.
"""

from __future__ import annotations

import contextlib
import shlex
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Final, Literal, NoReturn

from rich.table import Table

from shared.ctl.configuration import load_operator_settings
from shared.ctl.console import OUT, print_table
from shared.ctl.databases import Databases, opened
from shared.ctl.home import Home
from shared.ctl.keys import local_keys, store_keys
from shared.ctl.programs import Program, ProgramFailed
from shared.ctl.questions import QUESTIONS, Answer, ask_all
from shared.migrations.bootstrap import SERVICES
from shared.migrations.errors import ExitCode, OperatorError, UsageError
from shared.migrations.runner import HasFindings, migrate_up
from shared.migrations.verify import verify

Seed = Literal["finance-reviewer", "none"]

HOST: Final = "127.0.0.1"
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STOP_SECONDS: Final = 40.0
_WATCH_SECONDS: Final = 0.5


class Stopped(KeyboardInterrupt):
    """Somebody asked us to stop, by whatever signal; on a KeyboardInterrupt, drivers take back what they are doing."""


def up(
    *, home: Path = Path(".plystra"), authz_port: int = 8080, audit_port: int = 8081, seed: Seed = "finance-reviewer"
) -> ExitCode:
    """Run authz and audit on this machine, ask the six questions of the worked example, and serve until Ctrl-C.

    PostgreSQL is started too, unless PLYSTRA_AUTHZ_DSN and PLYSTRA_AUDIT_DSN name one. A second run on the same home
    goes on with the same data and the same keys.

    Parameters
    ----------
    home
        Folder of data, logs, secrets and dev.env; made if it isn't there.
    authz_port
        Port of authz on 127.0.0.1.
    audit_port
        Port of audit on 127.0.0.1.
    seed
        Example data to load, and to ask the questions of.
    """
    try:
        with _until_stopped(), _running(home, {"authz": authz_port, "audit": audit_port}) as pair:
            if seed != "none":
                pair.seed(seed)
                pair.ask()
            pair.explain()
            pair.watch()
    except Stopped:
        OUT.print("Stopped.")
    return ExitCode.CLEAN


def demo(*, home: Path = Path(".plystra"), authz_port: int = 8080, audit_port: int = 8081) -> ExitCode:
    """Do as `up` does, and end: with 0 when all six answers and their audit records are as expected.

    Parameters
    ----------
    home
        Folder of data, logs, secrets and dev.env; made if it isn't there.
    authz_port
        Port of authz on 127.0.0.1.
    audit_port
        Port of audit on 127.0.0.1.
    """
    try:
        with _until_stopped(), _running(home, {"authz": authz_port, "audit": audit_port}) as pair:
            pair.seed("finance-reviewer")
            answers = pair.ask()
    except Stopped:
        raise ProgramFailed(
            "The demo was stopped before its end.", why="Not all questions were asked.", remedy="run it again."
        ) from None
    wrong = sum(bool(answer.differences) for answer in answers)
    if wrong:
        OUT.print(f"✗ {wrong} of {len(answers)} answers are not as expected.", style="red")
        return ExitCode.FINDINGS
    OUT.print(f"✓ All {len(answers)} answers and their audit records are as expected.", style="green")
    return ExitCode.CLEAN


class Pair:
    """The two running services, and what is known about them."""

    def __init__(self, home: Home, databases: Databases, ports: dict[str, int]) -> None:
        """Prepare the programs; nothing runs yet."""
        self._home = home
        self._databases = databases
        self._secrets = home.secrets()
        self.urls = {service: f"http://{HOST}:{ports[service]}" for service in SERVICES}
        authz = {
            "PLYSTRA_AUTHZ_APP_DSN": databases.app["authz"],
            "PLYSTRA_AUTHZ_HOST": HOST,
            "PLYSTRA_AUTHZ_PORT": str(ports["authz"]),
            "PLYSTRA_AUDIT_URL": self.urls["audit"],
            "PLYSTRA_AUTHZ_AUDIT_KEY": self._secrets.relay_key,
        }
        audit = {
            "PLYSTRA_AUDIT_APP_DSN": databases.app["audit"],
            "PLYSTRA_AUDIT_HOST": HOST,
            "PLYSTRA_AUDIT_PORT": str(ports["audit"]),
        }
        self._authz = Program("authz", authz, home.logs, self.urls["authz"])
        self._audit = Program("audit", audit, home.logs, self.urls["audit"])

    def prepare(self) -> None:
        """Migrate and verify both databases, store the keys, and write dev.env."""
        for service in SERVICES:
            dsn = self._databases.owner[service]
            try:
                applied = migrate_up(service, dsn)
            except OperatorError as error:
                if isinstance(error.__cause__, Stopped):  # what was being applied is rolled back
                    raise Stopped from error
                raise
            if faults := verify(service, dsn):
                raise HasFindings(faults)
            _say(f"{service}: {f'{len(applied)} migrations applied' if applied else 'nothing to migrate'}, verified")
            store_keys(service, dsn, local_keys(service, self._secrets))
        variables = {
            "PLYSTRA_ENVIRONMENT": "development",
            "PLYSTRA_AUTHZ_URL": self.urls["authz"],
            "PLYSTRA_AUDIT_URL": self.urls["audit"],
            "PLYSTRA_ADMIN_KEY": self._secrets.admin_key,
            "PLYSTRA_CALLER_KEY": self._secrets.caller_key,
            "PLYSTRA_AUDITOR_KEY": self._secrets.auditor_key,
            "PLYSTRA_AUTHZ_DSN": self._databases.owner["authz"],
            "PLYSTRA_AUDIT_DSN": self._databases.owner["audit"],
        }
        self._home.write_env(variables, embedded=self._databases.server is not None)

    def start(self) -> None:
        """Start both services and wait until both are ready."""
        for program in (self._audit, self._authz):
            program.start()
        for program in (self._audit, self._authz):
            program.wait_ready()
            _say(f"{program.service} is ready on {program.url}")

    def stop(self) -> None:
        """Stop authz, which drains and delivers, then audit."""
        self._authz.stop(_STOP_SECONDS)
        self._audit.stop(_STOP_SECONDS)

    def seed(self, example: Seed) -> None:
        """Load an example, which leaves alone what is there already."""
        _say(self._authz.run("seed", example) or f"{example} is loaded")

    def ask(self) -> list[Answer]:
        """Ask the six questions, print the table, and return the answers."""
        keys = {"caller_key": self._secrets.caller_key, "auditor_key": self._secrets.auditor_key}
        answers = list(ask_all(self.urls["authz"], self.urls["audit"], **keys))
        table = Table()
        for heading in ("question", "decision", "deny code", "request id", "log index"):
            table.add_column(heading, no_wrap=True)
        for answer in answers:
            index = "-" if answer.log_index is None else str(answer.log_index)
            row = (answer.question.text, answer.decision, answer.deny_code or "-", answer.request_id, index)
            table.add_row(*row, style="red" if answer.differences else None)
        print_table(table)
        for answer in answers:
            for difference in answer.differences:
                OUT.print(f"  ✗ {answer.question.text}: {difference}", style="red")
        return answers

    def explain(self) -> None:
        """Say how to ask a question oneself."""
        body = str(QUESTIONS[0].body).replace("'", '"')
        OUT.print(
            f"\nAsk one yourself:\n\n"
            f"  . {shlex.quote(str(self._home.env_file))}\n"
            f"  curl -sS $PLYSTRA_AUTHZ_URL/api/v1/authz/check \\\n"
            f'    -H "Authorization: Bearer $PLYSTRA_CALLER_KEY" -H "Content-Type: application/json" \\\n'
            f"    -d '{body}'\n\n"
            f"and find the decision again, by the request id of the answer:\n\n"
            f'  curl -sS "$PLYSTRA_AUDIT_URL/api/v1/audit/decisions?request_id=<request id>" \\\n'
            f'    -H "Authorization: Bearer $PLYSTRA_AUDITOR_KEY"\n\n'
            f"Logs are in {self._home.logs}. Serving; Ctrl-C stops."
        )

    def watch(self) -> NoReturn:
        """Serve until told to stop; raise when one of the processes ends by itself."""
        while True:
            for program in (self._authz, self._audit):
                program.require_running()
            server = self._databases.server
            if server is not None and not server.is_running:
                raise ProgramFailed(
                    f"PostgreSQL ended by itself. The end of {server.log}:\n{server.log_tail()}",
                    why="Both services keep everything in it.",
                    remedy="mend what the log names, then run this command again; it recovers what was committed.",
                )
            time.sleep(_WATCH_SECONDS)


@contextlib.contextmanager
def _running(folder: Path, ports: dict[str, int]) -> Iterator[Pair]:
    settings = load_operator_settings()
    home = Home(folder)
    with home.in_use():
        for service, port in ports.items():
            _require_free(service, port)
        with opened(home, settings) as databases:
            _say("PostgreSQL is ready" + ("" if databases.server is None else f" on {HOST}:{databases.server.port}"))
            pair = Pair(home, databases, ports)
            try:
                pair.prepare()
                pair.start()
                yield pair
            finally:
                _ignore_signals()
                _say("stopping")
                pair.stop()


@contextlib.contextmanager
def _until_stopped() -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and a closed terminal into `Stopped`, wherever we are."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        _ignore_signals()  # once is enough: what follows is the orderly way down
        raise Stopped

    before = {number: signal.signal(number, stop) for number in _STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _require_free(service: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UsageError(
                f"Port {port} on {HOST}, wanted for {service}, is not to be had: {error.strerror}.",
                why=f"{service} couldn't listen there, or callers would reach another program.",
                remedy=f"stop what uses it, or name another port with --{service}-port.",
            ) from error


def _say(text: str) -> None:
    OUT.print(f"· {text}")
    sys.stdout.flush()
