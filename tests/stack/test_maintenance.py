"""Maintenance with the real processes: authz refuses, also one that is started later, and delivery to audit goes on."""

from __future__ import annotations

import time
from functools import partial

import httpx
import pytest

from shared.ctl.__main__ import main
from shared.ctl.questions import QUESTIONS
from tests.stack.pair import Pair
from tests.stack.process import Service, wait_until

BOUND_SECONDS = 1.0


def check(pair: Pair, name: str = "authz") -> httpx.Response:
    with pair.client(name, pair.secrets.caller_key) as client:
        return client.post("/api/v1/authz/check", json=QUESTIONS[0].body)


def answers_with(pair: Pair, status: int, name: str = "authz") -> bool:
    return check(pair, name).status_code == status


def stop(service: Service) -> None:
    service.terminate()
    service.wait_gone()


def health(pair: Pair) -> int:
    return httpx.get(f"{pair.urls['authz']}/api/v1/health", trust_env=False).status_code


def test_maintenance_closes_every_process_of_authz_while_its_events_are_delivered(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLYSTRA_AUTHZ_DSN", pair.databases["authz"].owner_dsn)
    pair.replica("authz-b").start()
    pair.wait_ready("authz-b")
    stop(pair.audit)
    assert check(pair).status_code == 200
    assert not pair.is_drained()

    assert main(["maintenance", "on", "--reason", "the log moves", "--retry-after", "9"]) == 0
    switched_at = time.monotonic()
    for name in ("authz", "authz-b"):
        wait_until(partial(answers_with, pair, 503, name))
    assert time.monotonic() - switched_at < BOUND_SECONDS
    refused = check(pair)
    assert (refused.json()["code"], refused.headers["retry-after"]) == ("maintenance", "9")
    assert health(pair) == 200
    assert pair.readiness("authz")[0] == 503

    pair.audit.start()
    pair.wait_drained()  # by the relay beside an authz that answers nobody

    stop(pair.authz)
    pair.authz.start()
    wait_until(lambda: health_or_none(pair) == 200)
    assert check(pair).json()["code"] == "maintenance"  # the very first one

    stop(pair.authz)
    assert main(["maintenance", "off"]) == 0  # authz is down
    pair.authz.start()
    pair.wait_ready("authz", "authz-b")
    assert check(pair).status_code == 200


def health_or_none(pair: Pair) -> int | None:
    try:
        return health(pair)
    except httpx.TransportError:
        return None
