"""Whenever a migrate is cut off, a plain second run finishes its work.

A proxy between the tool and the server counts what the tool sends and cuts both connections before or after the n-th
message reached the server, for every n. "After" includes a commit that took effect and whose answer nobody heard.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import psycopg
import pytest

from shared.migrations.errors import OperatorError
from shared.migrations.ledger import lock_key
from shared.migrations.runner import migrate_up
from shared.migrations.verify import verify

DEADLINE_SECONDS = 20


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


def test_a_killed_migrate_lets_go_of_the_lock_and_leaves_nothing(empty_database, two_tables):
    two_tables.add("0003.slow", "create table authz.third (id int); select pg_sleep(600);")
    two_tables.lock()
    program = "import sys; from pathlib import Path; from shared.migrations.runner import migrate_up; "
    program += "migrate_up('authz', sys.argv[1], Path(sys.argv[2]))"
    command = [sys.executable, "-c", program, empty_database.owner_dsn, str(two_tables.path)]
    process = subprocess.Popen(command)
    with psycopg.connect(empty_database.superuser_dsn, autocommit=True) as connection:
        sleeping = "select 1 from pg_stat_activity where datname = %s and wait_event = 'PgSleep'"
        wait_for(lambda: connection.execute(sleeping, [empty_database.name]).fetchone())
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        # The server looks after its client once a second (client_connection_check_interval), even while it sleeps.
        connection.execute("set lock_timeout = '20s'")
        connection.execute("select pg_advisory_lock(%s)", [lock_key("authz")])
        assert connection.execute("select to_regclass('authz.second'), to_regclass('authz.third')").fetchone() == (
            "authz.second",
            None,
        )


def wait_for(condition):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
