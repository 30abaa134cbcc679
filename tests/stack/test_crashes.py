"""Guarantees 1 and 2 through kill -9 of every process, under load: what was answered is in the log, once and unchanged."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from contextlib import suppress

import psycopg
import pytest

from shared.embedded.server import EmbeddedPostgres
from tests.stack.load import Load
from tests.stack.pair import Pair, held, session_of, waiting_sessions
from tests.stack.process import Service, wait_until
from tests.stack.proof import faults_of

Crash = Callable[[], None]

CONNECTIONS = 8


def kill_process(service: Service, find: Callable[[], int | None]) -> None:
    os.kill(wait_until(find, what=f"a process of {service.command}"), signal.SIGKILL)


def crash_service(pair: Pair, service: Service) -> None:
    service.kill()
    pair.restart(service)


def crash_relay(pair: Pair) -> None:
    """Nothing more: the service starts its relay again."""
    kill_process(pair.authz, pair.authz.relay)


def crash_postgres(server: EmbeddedPostgres) -> None:
    server.kill()
    server.start()


def crash_postmaster(server: EmbeddedPostgres) -> None:
    """Leave it to PostgreSQL's own processes to notice that their parent is gone."""
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not server.is_running, what="the end of the postmaster")
    server.start()


def crash_session(server: EmbeddedPostgres, name: str) -> None:
    """Kill the server process behind one session, upon which PostgreSQL ends all others and recovers."""
    with suppress(ProcessLookupError, psycopg.OperationalError):
        os.kill(session_of(server, name), signal.SIGKILL)


def service_crashes(pair: Pair) -> dict[str, Crash]:
    return {
        "authz": lambda: crash_service(pair, pair.authz),
        "the relay": lambda: crash_relay(pair),
        "audit": lambda: crash_service(pair, pair.audit),
    }


def database_crashes(server: EmbeddedPostgres) -> dict[str, Crash]:
    return {
        "PostgreSQL": lambda: crash_postgres(server),
        "the postmaster": lambda: crash_postmaster(server),
        "the session that records": lambda: crash_session(server, "outbox"),
        "the session that relays": lambda: crash_session(server, "/relay"),
        "the session that writes the log": lambda: crash_session(server, "sequencer"),
    }


def assert_nothing_is_lost(pair: Pair, load: Load) -> None:
    """Bring everything back, let it come to rest, and look at both databases."""
    load.wait_answers(20)
    load.stop()
    pair.wait_ready()
    pair.wait_drained()
    assert faults_of(pair, load.asked) == []


def crash_under_load(pair: Pair, crashes: list[Crash], chance: random.Random, name: str) -> None:
    with Load(pair.urls["authz"], pair.secrets.caller_key, name=name) as load:
        for crash in crashes:
            # Now and then nothing has recovered yet from the crash before.
            load.wait_answers(chance.choice([0, 5, 15, 30, 50]))
            crash()
        assert_nothing_is_lost(pair, load)


def test_no_answer_leaves_before_its_decision_is_committed(pair: Pair) -> None:
    pair.wait_drained()
    key = pair.secrets.caller_key
    with Load(pair.urls["authz"], key, name="early", connections=CONNECTIONS, rate=1_000) as load:
        load.wait_answers(20)
        with held(pair.databases["authz"], "authz.outbox"):
            answered = load.answered
            wait_until(lambda: waiting_sessions(pair.databases["authz"]), what="a commit that waits")
            wait_until(lambda: load.in_flight == CONNECTIONS, what="a question without answer on each connection")
            crash_service(pair, pair.authz)
            # What was committed before the lock was granted may have been on its way.
            assert load.answered <= answered + CONNECTIONS
        assert_nothing_is_lost(pair, load)
    assert load.ended("cut")


def test_nothing_counts_as_delivered_before_audit_has_committed_it(pair: Pair) -> None:
    pair.wait_drained()
    size = pair.log_size()
    with Load(pair.urls["authz"], pair.secrets.caller_key, name="unheard") as load:
        with held(pair.databases["audit"], "audit.entry"):
            wait_until(lambda: waiting_sessions(pair.databases["audit"]), what="an append that waits")
            load.wait_answers(50)
            answered = load.answered
            # The log stands still, so what it doesn't have must wait for another delivery.
            assert pair.waiting() >= size + answered - pair.log_size()
            pair.audit.kill()
        pair.audit.start()
        assert_nothing_is_lost(pair, load)


@pytest.mark.parametrize(
    "names",
    [
        ["authz"] * 6,
        ["the relay"] * 8,
        ["audit"] * 6,
    ],
    ids=["authz", "relay", "audit"],
)
def test_a_service_that_is_killed_loses_no_answer(pair: Pair, names: list[str]) -> None:
    crashes = service_crashes(pair)
    crash_under_load(pair, [crashes[name] for name in names], random.Random(11), "service")


def test_a_database_that_is_killed_loses_no_answer(own_pair: Pair, own_server: EmbeddedPostgres) -> None:
    crashes = database_crashes(own_server)
    crash_under_load(own_pair, list(crashes.values()), random.Random(12), "database")


def test_no_answer_is_lost_in_a_long_series_of_crashes(own_pair: Pair, own_server: EmbeddedPostgres) -> None:
    chance = random.Random(13)
    crashes = [*service_crashes(own_pair).values(), *database_crashes(own_server).values()]
    series = [*crashes, *chance.choices(crashes, k=6)]
    chance.shuffle(series)
    crash_under_load(own_pair, series, chance, "series")
