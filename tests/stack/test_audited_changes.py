"""Each change that is made over HTTP in authz reaches audit like a decision does, and is found by what it happened to."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, Final, NamedTuple

import pytest

from shared.credentials import parse_key
from tests.stack.conftest import OpenPair
from tests.stack.pair import Pair
from tests.stack.process import wait_until

ACME: Final = "/api/v1/spaces/space_acme"
GROUP: Final = f"{ACME}/groups/group_finance"
GRANT: Final = f"{ACME}/member-roles/mr_reviewer_finance_approver"


class Step(NamedTuple):
    """A request, and the event that it leaves."""

    method: str
    path: str
    body: dict[str, Any]
    kind: str
    entity_id: str


STEPS: Final = [
    Step("POST", f"{ACME}/members", {"id": "member_bot", "display_name": "Bot"}, "member.created", "member_bot"),
    Step("PATCH", f"{ACME}/members/member_bot", {"display_name": "Robot"}, "member.updated", "member_bot"),
    Step("POST", f"{ACME}/members/member_bot/disable", {}, "member.disabled", "member_bot"),
    Step("POST", f"{GRANT}/revoke", {}, "member_role.revoked", "mr_reviewer_finance_approver"),
    Step("POST", f"{GROUP}/move", {"parent_group_id": "group_legal"}, "group.moved", "group_finance"),
]


@pytest.fixture(scope="module")
def running(open_pair: OpenPair) -> Iterator[Pair]:
    """A pair with the worked example, for this module alone."""
    with open_pair() as pair:
        yield pair.start()


def asked(pair: Pair, path: str, **query: str) -> Any:
    """What audit answers an auditor."""
    with pair.client("audit", pair.secrets.auditor_key) as client:
        response = client.get(f"/api/v1/audit/{path}", params=query)
    assert response.status_code == 200, response.text
    return response.json()["data"]


def test_every_change_is_found_by_kind_and_entity_with_before_after_reason_and_who_made_it(running: Pair) -> None:
    running.wait_drained()
    parsed = parse_key(running.secrets.admin_key)
    assert parsed is not None
    seconds: list[float] = []
    with running.client("authz") as client:
        for step in STEPS:
            noun = step.kind.partition(".")[0]
            row = step.path.rpartition("/")[0] if step.method == "POST" else step.path
            before = None
            if not step.kind.endswith(".created"):
                before = client.get(row).json()["data"]
            began = time.monotonic()
            reason = f"ticket {len(seconds)}"
            answer = client.request(step.method, step.path, json=step.body | {"reason": reason})
            assert answer.status_code < 300, answer.text
            after = answer.json()["data"]

            query = {"kind": step.kind, "entity_type": noun, "entity_id": step.entity_id}
            (found,) = wait_until(partial(asked, running, "events", **query), what=step.kind)
            seconds.append(time.monotonic() - began)
            assert (found["entity_type"], found["entity_id"], found["kind"]) == (noun, step.entity_id, step.kind)
            assert (found["space_id"], found["revision"]) == ("space_acme", after["revision"])
            assert found["request_id"] == answer.json()["request_id"]
            data = asked(running, f"events/{found['event_id']}")["event"]["data"]
            assert (data["before"], data["after"], data["reason"]) == (before, after, reason)
            assert data["actor"] == {"credential_id": parsed[0], "type": "credential"}
    # The median, because a machine that is busy with other things may be late once or twice.
    assert statistics.median(seconds) < 2

    history = asked(running, "events", entity_type="member", entity_id="member_bot")
    assert [event["kind"] for event in history] == ["member.disabled", "member.updated", "member.created"]
    assert asked(running, "decisions", space_id="space_acme") == []


def test_what_is_refused_is_no_event(running: Pair) -> None:
    with running.client("authz") as client:
        answer = client.post(f"{ACME}/members", json={"id": "member_finance_reviewer", "display_name": "x"})
        assert (answer.status_code, answer.json()["code"]) == (409, "duplicate_id")
        # Changes are delivered in their order: when the next one is there, nothing else can come before it.
        made = client.post(f"{ACME}/members", json={"id": "member_next", "display_name": "x"}).json()
    (found,) = wait_until(partial(asked, running, "events", entity_id="member_next"), what="the next change")
    assert found["revision"] == made["data"]["revision"]
    assert asked(running, "events", request_id=answer.json()["request_id"]) == []
