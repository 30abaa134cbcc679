"""SIGTERM answers what was asked, writes down what was promised and leaves nothing behind; so does the end of a parent."""

from __future__ import annotations

import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from shared.ctl.questions import QUESTIONS
from tests.conftest import connect
from tests.stack.conftest import OpenPair
from tests.stack.load import Load
from tests.stack.pair import HOST, Pair, held, waiting_sessions
from tests.stack.process import Service, wait_until
from tests.stack.proof import faults_of
from tests.stack.test_outage import stray_event

HELD = 12


def is_listening(pair: Pair, name: str) -> bool:
    host, port = pair.urls[name].removeprefix("http://").split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def ask_at_once(pair: Pair, pool: ThreadPoolExecutor) -> list[Any]:
    """Send questions that will wait for their commit, and return when all are sent; the futures have the answers."""
    sent = threading.Semaphore(0)

    def notice(event: str, _: dict[str, Any]) -> None:
        if event == "http11.send_request_body.complete":
            sent.release()

    def ask(number: int) -> httpx.Response:
        with pair.client("authz") as client:
            question = QUESTIONS[number % len(QUESTIONS)]
            return client.post(
                "/api/v1/authz/check",
                json=question.body,
                headers={"x-request-id": f"held-{number}"},
                extensions={"trace": notice},
            )

    answers = [pool.submit(ask, number) for number in range(HELD)]
    for _ in range(HELD):
        assert sent.acquire(timeout=10), "a question could not be sent"
    return answers


def test_authz_answers_all_that_was_asked_before_it_ends(pair: Pair) -> None:
    pair.authz.wait_logged("relay_leads")
    with ThreadPoolExecutor(HELD) as pool:
        with held(pair.databases["authz"], "authz.outbox"):
            answers = ask_at_once(pair, pool)
            wait_until(lambda: waiting_sessions(pair.databases["authz"]), what="a commit that waits")
            pair.authz.terminate()
            wait_until(lambda: not is_listening(pair, "authz"), what="the end of listening")
            time.sleep(1)  # as long as a server that doesn't wait would need to end
            assert pair.authz.is_running
        responses = [answer.result() for answer in answers]
    # Those that came in while the first commit was waiting were queued behind it, and are answered as well.
    assert {response.status_code for response in responses} == {200}
    assert pair.authz.wait_ended() == 0
    pair.authz.wait_gone()
    assert pair.is_drained()
    recorded = {row[0] for row in decisions(pair)}
    assert recorded == {response.json()["data"]["decision_id"] for response in responses}


def decisions(pair: Pair) -> list[tuple[Any, ...]]:
    with connect(pair.databases["audit"].superuser_dsn) as connection:
        query = "select event_id::text from audit.entry where kind = 'decision.made'"
        return connection.execute(query).fetchall()


def test_a_stop_under_load_cuts_no_question_and_delivers_what_it_recorded(pair: Pair) -> None:
    for number in range(2):
        pair.authz.wait_logged("relay_leads")
        with Load(pair.urls["authz"], pair.secrets.caller_key, name=f"stop-{number}", connections=16) as load:
            load.wait_answers(60)
            pair.authz.terminate()
            assert pair.authz.wait_ended() == 0
        assert load.ended("cut") == []
        assert {one.status for one in load.ended("answered")} == {200}
        assert pair.is_drained()
        pair.authz.wait_gone()
        pair.authz.start()
        pair.wait_ready("authz")


def test_audit_answers_the_batch_that_it_has_before_it_ends(pair: Pair) -> None:
    pair.wait_drained()
    event = stray_event(0)

    def send() -> httpx.Response:
        with pair.client("audit") as client:
            headers = {"content-type": "application/json"}
            return client.post("/api/v1/events", content=b'{"events":[' + event + b"]}", headers=headers)

    with ThreadPoolExecutor(1) as pool:
        with held(pair.databases["audit"], "audit.entry"):
            answer = pool.submit(send)
            wait_until(lambda: waiting_sessions(pair.databases["audit"]), what="an append that waits")
            pair.audit.terminate()
            wait_until(lambda: not is_listening(pair, "audit"), what="the end of listening")
            time.sleep(1)  # as above
        assert answer.result().json()["data"]["entries"][0]["status"] == "appended"
    assert pair.audit.wait_ended() == 0
    pair.audit.wait_gone()
    assert pair.log_size() == 36 + 1


def test_audit_can_be_stopped_and_started_under_load(pair: Pair) -> None:
    with Load(pair.urls["authz"], pair.secrets.caller_key, name="audit") as load:
        for _ in range(2):
            pair.wait_logged(40)
            pair.audit.terminate()
            assert pair.audit.wait_ended() == 0
            pair.restart(pair.audit)
    assert load.answered == len(load.asked)
    pair.wait_drained()
    assert faults_of(pair, load.asked) == []


def test_a_client_that_says_nothing_or_only_half_holds_up_no_stop(open_pair: OpenPair) -> None:
    with open_pair(PLYSTRA_DRAIN_SECONDS="2") as pair:
        pair.start()
        for service, begun in ((pair.authz, b""), (pair.authz, b"POST /api/v1/authz/check HTTP/1.1\r\ncontent-le")):
            with socket.create_connection((HOST, int(pair.urls["authz"].rpartition(":")[2]))) as client:
                client.sendall(b"GET /api/v1/health HTTP/1.1\r\nhost: authz\r\n\r\n")
                assert client.recv(65_536).startswith(b"HTTP/1.1 200")
                client.sendall(begun)
                service.terminate()
                assert service.wait_ended(15) == 0
            pair.restart(service)
            pair.wait_ready("authz")


@pytest.mark.parametrize("name", ["authz", "audit"])
def test_a_main_process_that_is_killed_at_any_moment_leaves_nothing_behind(pair: Pair, name: str) -> None:
    service: Service = getattr(pair, name)
    chance = random.Random(14)
    for _ in range(5):
        # From its first breath to well after it has begun to serve.
        time.sleep(chance.uniform(0, 1.5))  # the moment is what is tried out
        service.kill()
        service.wait_gone(5)
        service.start()


@pytest.mark.parametrize("name", ["authz", "audit"])
def test_a_stop_during_the_start_is_heard(pair: Pair, name: str) -> None:
    service: Service = getattr(pair, name)
    chance = random.Random(15)
    for _ in range(4):
        service.kill()
        pair.restart(service)
        time.sleep(chance.uniform(0, 1))  # the moment is what is tried out
        service.terminate()
        service.wait_ended(10)
        service.wait_gone(5)
