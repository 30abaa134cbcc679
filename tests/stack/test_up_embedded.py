"""The embedded PostgreSQL: goes on with its data, ends with its parent, and widens no folder's permissions."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psycopg
import pytest

from shared.embedded.errors import EmbeddedPostgresError
from shared.embedded.place import RECORD, Place
from shared.embedded.server import EmbeddedPostgres
from shared.process import Account, children_of, is_alive, tied

DEADLINE_SECONDS = 30
REPOSITORY = Path(__file__).parents[2]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run the server as somebody else")


@pytest.fixture
def home(passable_folder):
    """A home folder that the server's account can enter, also when we are root."""
    return passable_folder


def wait_for(condition):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def execute(server, statement):
    with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def modes(*roots):
    """The mode and owner of every folder on the way to and everything below each root."""
    found = {}
    for root in roots:
        for path in (*root.parents, root, *root.rglob("*")):
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                found[path] = (stat.filemode(status.st_mode), status.st_uid, status.st_gid)
    return found


def test_a_second_start_goes_on_with_the_same_data_port_and_password(home):
    with EmbeddedPostgres(home, fast=True) as server:
        execute(server, "create table kept (a int)")
        first = server.superuser_dsn
    with EmbeddedPostgres(home, fast=True) as server:
        assert server.superuser_dsn == first
        assert execute(server, "select count(*) from kept") == [(0,)]
    assert not server.is_running


def test_what_was_committed_survives_a_crash(home):
    with EmbeddedPostgres(home) as server:
        execute(server, "create table kept as select 1 as a")
        pids = [server.pid, *children_of(server.pid)]
        assert len(pids) > 3
        server.kill()
        assert not any(map(is_alive, pids))
        server.start()
        assert execute(server, "select a from kept") == [(1,)]
        assert execute(server, "show fsync") == [("on",)]


def test_only_who_has_the_password_gets_in_also_by_the_socket(home):
    with EmbeddedPostgres(home, fast=True) as server:
        for host in ("127.0.0.1", str(server.socket_folder)):
            with pytest.raises(psycopg.OperationalError, match="no password supplied"):
                psycopg.connect(host=host, port=server.port, user="postgres", dbname="postgres", passfile="/dev/null")
        assert stat.S_IMODE((home / "postgres.password").stat().st_mode) == 0o600


def test_another_port_is_taken_when_the_remembered_one_is_not_free(home):
    with EmbeddedPostgres(home, fast=True) as server:
        port = server.port
    with socket.create_server(("127.0.0.1", port)):
        with EmbeddedPostgres(home, fast=True) as server:
            assert server.port != port
        with pytest.raises(EmbeddedPostgresError, match=f"Port {port} on 127.0.0.1"):
            EmbeddedPostgres(home, port, fast=True).start()


def test_two_servers_never_share_one_home(home):
    with EmbeddedPostgres(home, fast=True) as server:
        with pytest.raises(EmbeddedPostgresError, match=f"Process {server.pid} already serves"):
            EmbeddedPostgres(home, fast=True, patience=0.1).start()
        assert execute(server, "select 1") == [(1,)]


def test_a_pid_file_that_names_some_other_process_is_stale(home):
    with EmbeddedPostgres(home, fast=True) as server:
        place = msgspec.json.decode((home / RECORD).read_bytes(), type=Place)
        owner = place.data.stat()
        server.kill()
    # As in a container that was restarted: the pid is in use again, by another process of the server's own account.
    account = Account("the server's", owner.st_uid, owner.st_gid) if os.geteuid() == 0 else None
    other = subprocess.Popen(tied(["/bin/sleep", "600"], account=account))
    try:
        pid_file = place.data / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
        with EmbeddedPostgres(home, fast=True) as server:
            assert execute(server, "select 1") == [(1,)]
    finally:
        other.kill()
        other.wait()


def test_an_interrupted_first_start_is_begun_anew(home):
    (home / "postgres" / "initdb").mkdir(parents=True)
    (home / "postgres").chmod(0o711)
    (home / "postgres" / "initdb" / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(home, fast=True) as server:
        assert execute(server, "select 1") == [(1,)]


def test_data_of_another_major_version_is_left_alone(home):
    with EmbeddedPostgres(home, fast=True):
        pass
    place = msgspec.json.decode((home / RECORD).read_bytes(), type=Place)
    (place.data / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedPostgresError, match="is of PostgreSQL 17, the installed programs are of 18"):
        EmbeddedPostgres(home, fast=True).start()


def test_it_ends_with_the_process_that_started_it(home):
    program = (
        "import sys, time; from pathlib import Path; from shared.embedded.server import EmbeddedPostgres\n"
        "server = EmbeddedPostgres(Path(sys.argv[1]), fast=True); server.start(); print(server.pid, flush=True)\n"
        "time.sleep(600)"
    )
    command = [sys.executable, "-c", program, str(home)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    pid = int(parent.stdout.readline())
    assert is_alive(pid)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: not is_alive(pid))
    with EmbeddedPostgres(home, fast=True) as server:
        assert execute(server, "select 1") == [(1,)]


@as_root
def test_below_a_closed_folder_the_data_goes_elsewhere_and_no_permission_is_widened(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    wheel = Path(sys.prefix) / "lib"
    before = modes(closed, wheel)
    server = EmbeddedPostgres(closed / "home", fast=True)
    try:
        with server:
            place = msgspec.json.decode((server.home / RECORD).read_bytes(), type=Place).root
            assert not place.is_relative_to(closed)
            assert stat.S_IMODE((place / "data").stat().st_mode) == 0o700
            execute(server, "create table kept (a int)")
            after = modes(closed, wheel)
            assert {path: after[path] for path in before} == before
        with server:
            assert execute(server, "select count(*) from kept") == [(0,)]
            assert server.socket_folder is not None
    finally:
        server.remove()
    assert not place.exists()


@as_root
@pytest.mark.parametrize("replacement", ["a link", "another's folder", "a folder that all can write", "nothing"])
def test_a_place_that_is_no_longer_ours_is_not_trusted(tmp_path, replacement):
    server = EmbeddedPostgres(tmp_path / "home", fast=True)
    with server:
        pass
    place = msgspec.json.decode((server.home / RECORD).read_bytes(), type=Place).root
    aside = place.rename(place.with_name(place.name + "-aside"))
    nobody = Account.named("nobody")
    assert nobody is not None
    try:
        if replacement == "a link":
            place.symlink_to(aside)
        elif replacement != "nothing":
            place.mkdir()
            if replacement == "another's folder":
                os.chown(place, nobody.uid, nobody.gid)
            else:
                place.chmod(0o777)
        said = "that is gone" if replacement == "nothing" else "isn't to be trusted"
        with pytest.raises(EmbeddedPostgresError, match=said):
            server.start()
    finally:
        if place.is_symlink():
            place.unlink()
        elif place.exists():
            place.rmdir()
        aside.rename(place)
        server.remove()


@as_root
def test_an_ordinary_user_runs_it_as_himself(home):
    nobody = Account.named("nobody")
    assert nobody is not None
    theirs = home / "theirs"
    theirs.mkdir()
    os.chown(theirs, nobody.uid, nobody.gid)
    program = (
        "import sys; from pathlib import Path; from shared.embedded.server import EmbeddedPostgres\n"
        "with EmbeddedPostgres(Path(sys.argv[1]), fast=True) as server: print(server.pid, server.superuser_dsn)"
    )
    command = [sys.executable, "-c", program, str(theirs / "home")]
    as_nobody = {"user": nobody.uid, "group": nobody.gid, "extra_groups": [], "cwd": "/"}
    try:
        subprocess.run([sys.executable, "-c", "import shared"], check=True, capture_output=True, **as_nobody)
    except (PermissionError, subprocess.CalledProcessError):
        pytest.skip("the interpreter or the checkout lies where an ordinary user can't enter")
    done = subprocess.run(command, capture_output=True, text=True, check=False, **as_nobody)
    assert done.returncode == 0, done.stderr
    assert (theirs / "home" / "postgres" / "data").stat().st_uid == nobody.uid
    assert stat.S_IMODE((theirs / "home").stat().st_mode) == 0o700
