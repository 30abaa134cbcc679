"""Whenever a migrate is cut off, a plain second run finishes its work.

A proxy between the tool and the server counts what the tool sends and cuts both connections before or after the n-th
message reached the server, for every n. "After" includes a commit that took effect and whose answer nobody heard. And a
process ends where its n-th statement would be sent, for every n.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from shared.migrations.errors import OperatorError
from shared.migrations.ledger import lock_key
from shared.migrations.runner import migrate_up
from shared.migrations.verify import verify
from tests.database.crash_points import CUT
from tests.database.waiting import DEADLINE_SECONDS, wait_for


class CuttingProxy:
    """Forwards one TCP connection to the server until the tool has sent `cut_at` messages."""

    def __init__(self, port: int, cut_at: int, *, deliver_last: bool) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._target = port
        self._cut_at = cut_at
        self._deliver_last = deliver_last
        self.sent = 0
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        # A second connection, such as the watch for blockers, isn't part of the story: it is refused.
        self._listener.close()
        server = socket.create_connection(("127.0.0.1", self._target))
        with client, server, selectors.DefaultSelector() as both:
            both.register(client, selectors.EVENT_READ)
            both.register(server, selectors.EVENT_READ)
            while True:
                for key, _ in both.select():
                    with contextlib.suppress(ConnectionError):
                        data = key.fileobj.recv(1 << 16)
                        if not data:
                            return
                        if key.fileobj is client:
                            self.sent += 1
                            if self.sent == self._cut_at:
                                if self._deliver_last:
                                    server.sendall(data)
                                    server.recv(1)  # it has been acted on
                                return
                            server.sendall(data)
                        else:
                            client.sendall(data)


def through(proxy, dsn):
    return dsn.replace(f":{urlsplit(dsn).port}/", f":{proxy.port}/") + "?gssencmode=disable&sslmode=disable"


def length_of_a_run(database, folder) -> int:
    with CuttingProxy(database.server.port, 1_000_000, deliver_last=True) as proxy:
        migrate_up("authz", through(proxy, database.owner_dsn), folder.path)
    return proxy.sent


def reset(database):
    with psycopg.connect(database.superuser_dsn, autocommit=True) as connection:
        connection.execute("drop owned by authz_owner cascade")
        connection.execute("grant create, usage on schema public to authz_owner")


@pytest.mark.parametrize("deliver_last", [False, True], ids=["before", "after"])
def test_every_point_of_a_run_can_be_its_last(empty_database, two_tables, deliver_last):
    two_tables.add(
        "0003.index",
        "create index concurrently second_idx on authz.second (id);",
        transactional="false",
        indexes="+authz.second_idx",
    )
    two_tables.lock()
    points = length_of_a_run(empty_database, two_tables)
    assert points > 20
    for point in range(1, points + 1):
        reset(empty_database)
        proxy = CuttingProxy(empty_database.server.port, point, deliver_last=deliver_last)
        with proxy, contextlib.suppress(OperatorError, psycopg.Error):
            migrate_up("authz", through(proxy, empty_database.owner_dsn), two_tables.path)
        migrate_up("authz", empty_database.owner_dsn, two_tables.path)
        assert verify("authz", empty_database.owner_dsn, two_tables.path) == [], point
        with psycopg.connect(empty_database.superuser_dsn) as connection:
            bad = connection.execute("select count(*) from pg_index where not indisvalid").fetchone()
            logged = connection.execute("select count(*) from public._yoyo_log").fetchone()
        assert (bad, logged) == ((0,), (3,)), point


INDEX = "create unique index concurrently second_key on authz.second (id);"
SEEN = "update authz.second set seen = true where id in (select id from authz.second where not seen limit 2);"


def test_a_process_may_end_before_any_statement(empty_database, two_tables):
    filled = "create table authz.second (id int, seen bool not null default false);"
    two_tables.add(
        "0002.second", f"{filled} insert into authz.second select generate_series(1, 5);", depends="0001.first"
    )
    two_tables.add("0003.index", INDEX, transactional="false", indexes="+authz.second_key")
    two_tables.add("0004.seen", SEEN, transactional="false", kind="data", phase="migrate")
    two_tables.lock()
    ended = []
    command = [sys.executable, "-m", "tests.database.crash_points", empty_database.owner_dsn, str(two_tables.path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as program:
        while 0 not in ended:
            reset(empty_database)
            program.stdin.write(f"{len(ended) + 1}\n")
            program.stdin.flush()
            ended.append(int(program.stdout.readline()))
            # A lock that outlived its holder would keep this one waiting.
            migrate_up("authz", empty_database.owner_dsn, two_tables.path, wait_seconds=2)
            assert verify("authz", empty_database.owner_dsn, two_tables.path) == [], len(ended)
            assert remains(empty_database) == (0, 4, 5, 0), len(ended)
    assert set(ended) == {CUT, 0}
    assert len(ended) > 60


def remains(database):
    """How many invalid indexes, log entries, changed rows, and lock tables of yoyo there are."""
    with psycopg.connect(database.superuser_dsn) as connection:
        return connection.execute(
            "select (select count(*) from pg_index where not indisvalid), (select count(*) from public._yoyo_log),"
            " (select count(*) from authz.second where seen), (select count(*) from pg_class where relname = 'yoyo_lock')"
        ).fetchone()


SLEEPING = "select 1 from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'"


def test_a_killed_migrate_leaves_nothing_and_lets_the_next_one_through_within_two_seconds(empty_database, two_tables):
    quick = type(two_tables)(two_tables.path.with_name("quick"))
    shutil.copytree(two_tables.path, quick.path)
    quick.add("0003.slow", "create table authz.third (id int);")
    quick.lock()
    two_tables.add("0003.slow", "create table authz.third (id int); select pg_sleep(600);")
    two_tables.lock()
    program = "import sys; from pathlib import Path; from shared.migrations.runner import migrate_up; "
    program += "migrate_up('authz', sys.argv[1], Path(sys.argv[2]))"
    command = [sys.executable, "-c", program, empty_database.owner_dsn, str(two_tables.path)]
    process = subprocess.Popen(command)
    waiting = "select 1 from pg_locks where locktype = 'advisory' and not granted"
    with psycopg.connect(empty_database.superuser_dsn, autocommit=True) as connection, ThreadPoolExecutor(1) as pool:
        wait_for(lambda: connection.execute(SLEEPING).fetchone())
        waiter = pool.submit(migrate_up, "authz", empty_database.owner_dsn, quick.path)
        wait_for(lambda: connection.execute(waiting).fetchone())
        killed_at = time.monotonic()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        # The server looks after its client once a second (client_connection_check_interval), even while it sleeps.
        wait_for(lambda: not connection.execute(waiting).fetchone())
        assert time.monotonic() - killed_at < 2
        assert waiter.result() == ["0003.slow"]
    assert verify("authz", empty_database.owner_dsn, quick.path) == []


COMMAND = """
import sys; from pathlib import Path; from shared.migrations import files; from shared.ctl.__main__ import main
files.default_folder = lambda _: Path(sys.argv[1])
sys.exit(main(["migrate", "up"]))
"""


@pytest.mark.parametrize(
    "migration, header, code, said",
    [
        ("create table authz.third (id int); select pg_sleep(600);", {}, 5, "It was rolled back"),
        (
            "update authz.first set id = id where pg_sleep(600) is not null;",
            {"transactional": "false", "kind": "data"},
            6,
            "those before it are committed and stay",
        ),
    ],
)
def test_ctrl_c_stops_a_running_statement_and_says_what_is_left(
    empty_database, two_tables, migration, header, code, said
):
    two_tables.add("0003.more", "insert into authz.first values (1);")
    two_tables.add("0004.slow", migration, **header)
    two_tables.lock()
    environment = {
        **os.environ,
        "PLYSTRA_ENVIRONMENT": "test",
        "PLYSTRA_AUTHZ_DSN": empty_database.owner_dsn,
        "PLYSTRA_AUDIT_DSN": "postgresql://nobody@127.0.0.1:1/x",  # it isn't gone on with
    }
    command = [sys.executable, "-c", COMMAND, str(two_tables.path)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with psycopg.connect(empty_database.superuser_dsn, autocommit=True) as connection:
        wait_for(lambda: connection.execute(SLEEPING).fetchone())
        process.send_signal(signal.SIGINT)
        text = process.communicate(timeout=DEADLINE_SECONDS)[0]
        assert process.returncode == code, text
        assert "0004.slow.sql failed: it was interrupted" in text
        assert said in text
        assert "plystractl migrate up --service authz" in text
        assert "audit" not in text
        assert connection.execute(SLEEPING).fetchone() is None
        assert connection.execute("select to_regclass('authz.third')").fetchone() == (None,)
        assert connection.execute("select pg_try_advisory_lock(%s)", [lock_key("authz")]).fetchone() == (True,)
