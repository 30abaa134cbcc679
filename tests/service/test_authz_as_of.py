"""Guarantee 4, asked over HTTP: what the answer was as of a revision or a time, told from the log of changes alone."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

import msgspec
import pytest
import pytest_asyncio

from services.authz.engine import decide
from services.authz.model import Trace
from services.authz.past import PAST
from services.authz.seeding import finance_reviewer
from shared.clock import utc_now
from shared.embedded.server import EmbeddedPostgres
from shared.recorded import read_event
from tests.conftest import fresh_database
from tests.service.authz_service import (
    CHECK,
    EXPLAIN,
    AuthzDatabase,
    RunningAuthz,
    actor,
    bearer,
    eventually,
    question,
    running_authz,
)
from tests.service.authz_writer import AUTHOR, Writer, writing
from tests.service.history import History, verdict_of
from tests.service.past import DAY, GRANT, MOMENT, Days, explained

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACME: Final = "space_acme"
BINDING: Final = "um_alice_finance_reviewer"
CHANGES: Final = 120
PATHS = pytest.mark.parametrize("path", [CHECK, EXPLAIN])

# The values that a row of the example may take, each time some of them: (kind, id) and what may be said of it.
MAY_BECOME: Final[dict[tuple[str, str], dict[str, list[Any]]]] = {
    ("user", "user_alice"): {"status": ["active", "active", "disabled"], "email": ["a@acme.example", "b@acme.example"]},
    ("space", ACME): {"status": ["active", "active", "disabled"], "name": ["Acme", "Apex"]},
    ("member", "member_finance_reviewer"): {"status": ["active", "active", "disabled"]},
    ("user_member", BINDING): {"expires_at": [None, "2024-03-15T12:00:00Z", "2025-01-01T00:00:00Z"]},
    ("resource_type", "rt_invoice"): {"status": ["active", "active", "disabled"]},
    ("resource_action", "ra_invoice_approve"): {
        "status": ["active", "active", "disabled"],
        "risk_level": ["low", "high"],
    },
    ("role", "role_finance_approver"): {"status": ["active", "active", "disabled"], "key": ["approver", "signer"]},
    ("permission", "perm_invoice_approve_group_tree"): {
        "status": ["active", "active", "disabled"],
        "scope": ["group_tree", "group", "space"],
        "condition": [None, None, {"paid": False}],
    },
    ("role_permission", "rp_finance_approver_approve"): {"status": ["active", "active", "disabled"]},
    ("member_role", GRANT): {
        "scope_anchor_group_id": ["group_finance", "group_finance_apac", "group_legal"],
        "member_id": ["member_finance_reviewer", "member_finance_reviewer", "member_invoice_creator"],
        "not_before": [None, None, "2024-04-01T12:00:00Z"],
        "expires_at": [None, None, "2024-05-01T12:00:00Z"],
    },
    ("group", "group_finance"): {"status": ["active", "active", "disabled"]},
    ("group", "group_finance_apac"): {"status": ["active", "active", "disabled"]},
    ("resource", "invoice_001"): {
        "status": ["active", "active", "archived"],
        "group_id": ["group_finance_apac", "group_finance", "group_legal_emea", None],
        "properties": [{}, {"paid": False}, {"paid": True, "a": [1, {"b": None, "a": "x"}]}],
    },
}
# Where a group may be moved; what lies below it has no event of its own then.
MAY_MOVE: Final = {
    "group_finance": ["group_legal", None],
    "group_finance_apac": ["group_finance", "group_legal", None],
}
ASKED: Final = [
    question(),
    question(actor=actor("um_bob_finance_reviewer"), action="read"),
    question(actor=actor("um_alice_finance_reviewer_revoked"), resource_id="invoice_002"),
    question(action="reject"),
    question(action="fly", resource_type="unicorn"),
]


@dataclasses.dataclass(frozen=True)
class Told:
    """authz with a history: the worked example on the first day, then one random change at noon of each day."""

    authz: RunningAuthz
    history: History
    times: dict[int, datetime]

    def revision_at(self, moment: datetime) -> int:
        """The last revision made at a moment or before it."""
        return max((revision for revision, made_at in self.times.items() if made_at <= moment), default=0)


async def change_at_random(writer: Writer, chance: Random) -> None:
    """Change a row of the example, or move one of its groups."""
    if chance.random() < 0.25:
        id_, parents = chance.choice(list(MAY_MOVE.items()))
        await writer.move(id_, chance.choice(parents))
        return
    kind, id_ = chance.choice(list(MAY_BECOME))
    values = {name: chance.choice(some) for name, some in MAY_BECOME[kind, id_].items()}
    await writer.change((kind, writer.stored(kind, id_) | values))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(server: EmbeddedPostgres, template_of: Callable[[str], str]) -> AsyncIterator[Told]:
    """A history that the tests of this module only ask about."""
    clock, chance = Days(), Random(7)
    with fresh_database(server, "authz", template=template_of("authz")) as database:
        AuthzDatabase(database).insert_keys()
        async with writing(database, clock) as writer:
            await writer.commands.create(AUTHOR, finance_reviewer())
            for _ in range(CHANGES):
                clock.now += DAY
                await change_at_random(writer, chance)
        async with running_authz(database) as authz:
            await authz.become_ready()
            times = authz.sql("select revision, occurred_at from authz.event")
            yield Told(authz, History.of(authz), {revision: at.astimezone(UTC) for revision, at in times})


def assert_told_by(history: History, trace: Trace, revision: int) -> None:
    """A trace must be, in every detail, what the history tells by brute force."""
    facts = history.facts(trace.question, revision)
    assert trace.revision == revision
    assert (trace.actor, trace.registry, trace.target) == (facts.actor, facts.registry, facts.target)
    assert verdict_of(trace) == decide(facts, trace.question, trace.decided_at)


async def test_every_revision_is_answered_as_its_history_tells(told: Told):
    codes = set()
    for revision in told.times:
        for asked in ASKED if revision % 5 == 0 else ASKED[:1]:
            trace = await explained(told.authz, revision, asked)
            assert trace.decided_at == told.times[revision]
            assert_told_by(told.history, trace, revision)
            codes.add(trace.deny_code)
    assert {None, "ACTOR_NOT_FOUND", "RESOURCE_NOT_FOUND", "NO_MATCHING_PERMISSION", "SCOPE_OUT_OF_BOUNDS"} < codes
    assert len(codes) > 8, codes


async def test_a_time_is_answered_with_the_last_change_until_then_and_evaluated_at_that_time(told: Told):
    chance, revisions = Random(1), set()
    moments = [made_at + chance.choice([-MOMENT, 0 * MOMENT, MOMENT, DAY / 3]) for made_at in told.times.values()]
    for moment in moments:
        trace = await explained(told.authz, moment)
        assert trace.decided_at == moment
        assert_told_by(told.history, trace, told.revision_at(moment))
        revisions.add(trace.revision)
    assert len(revisions) > CHANGES / 2


async def test_a_time_may_be_given_in_any_zone(told: Told):
    for text in ("2024-02-03T12:00:00Z", "2024-02-03T17:45:00+05:45", "2024-02-02t23:00:00.000000-13:00"):
        trace = await explained(told.authz, text)
        assert trace.decided_at == datetime(2024, 2, 3, 12, tzinfo=UTC)
        assert trace.revision == told.revision_at(trace.decided_at)


@pytest.mark.parametrize("as_of", ["2023-12-31T23:59:59Z", "0001-01-01T00:00:00Z"])
async def test_before_the_first_change_nothing_exists(told: Told, as_of):
    trace = await explained(told.authz, as_of)
    assert (trace.revision, trace.deny_code) == (0, "ACTOR_NOT_FOUND")
    assert trace.decided_at == datetime.fromisoformat(as_of)
    assert (trace.actor.user, trace.actor.space, trace.target.resource) == (None, None, None)
    assert (trace.registry.resource_type, trace.candidates) == (None, ())


async def test_an_answer_about_the_past_is_never_taken_for_a_live_one(told: Told):
    live = await told.authz.decide()
    asked_at = utc_now()
    for path in (CHECK, EXPLAIN):
        data = (await told.authz.post(path, question(as_of=40))).json()["data"]
        event = told.authz.event(data["decision_id"])
        assert (event["kind"], event["data"]["purpose"], data["purpose"]) == ("decision.as_of", "as_of", "as_of")
        assert read_event(told.authz.leaf(data["decision_id"])).kind == "decision.as_of"
        assert datetime.fromisoformat(event["occurred_at"]) >= asked_at
        assert datetime.fromisoformat(event["data"]["decided_at"]) == told.times[40]
        assert data["decided_at"] == event["data"]["decided_at"]
    event = told.authz.event(live["decision_id"])
    assert (event["kind"], event["data"]["purpose"]) == ("decision.made", "live")
    assert "purpose" not in live


async def test_answers_about_the_past_are_not_counted_as_decisions(told: Told):
    async def counted() -> list[str]:
        text = (await told.authz.client.get("/metrics", headers=bearer("watcher"))).text
        return [line for line in text.splitlines() if line.startswith("plystra_authz_decisions_total")]

    await told.authz.decide()
    before = await counted()
    await explained(told.authz, 40)
    assert before == await counted() != []
    await told.authz.decide()
    assert before != await counted()


async def test_an_answer_about_the_past_is_told_anew_each_time_and_from_the_log_alone(told: Told):
    body = msgspec.json.encode(question(as_of=44))

    async def is_answered() -> bool:
        return (await told.authz.check(body)).status_code == 200

    statements = told.authz.log_statements()
    told.authz.cut("past")
    await eventually(is_answered)
    statements()
    assert await is_answered()
    assert await is_answered()
    read = [statement for part, statement in statements() if part == "past" and "authz." in statement]
    assert [len(read), sum("authz.event" in statement for statement in read)] == [2 * len(PAST) - 2] * 2


@PATHS
async def test_a_time_that_is_to_come_is_refused(told: Told, path):
    response = await told.authz.post(path, question(as_of=utc_now() + timedelta(seconds=5)))
    assert_refused(response.status_code, response.json(), "lies in the future")


@PATHS
@pytest.mark.parametrize(
    "body, said",
    [
        (question(as_of=40, at_least_revision=3), "contradicts /at_least_revision"),
        (question(as_of=40, grants=[]), "leave out the facts"),
        (question(as_of="2024-02-01T00:00:00Z", actor=actor(user_status="active")), "leave out the facts"),
        (question(as_of=0), ">= 1"),
        (question(as_of=2**53), "<= 9007199254740991"),
        (question(as_of=True), "got `bool`"),
        (question(as_of=1.5), "got `float`"),
        (question(as_of="yesterday"), "RFC3339"),
        (question(as_of="2024-02-01"), "RFC3339"),
        (question(as_of="2024-02-01T00:00:00"), "timezone"),
        (question(as_of="0001-01-01T00:00:00+05:00"), "outside the years"),
        (question() | {"as_of": None}, "got `null`"),
    ],
)
async def test_what_cannot_be_asked_about_the_past_is_refused_by_name(told: Told, path, body, said):
    recorded = told.authz.count_recorded()
    response = await told.authz.post(path, body, key="trusted")
    assert_refused(response.status_code, response.json(), said)
    assert told.authz.count_recorded() == recorded


def assert_refused(status: int, problem: dict[str, Any], said: str) -> None:
    """The problem must name the field and say what is wrong with it."""
    assert (status, problem["code"]) == (400, "validation_failed")
    (fault,) = problem["errors"]
    assert fault["pointer"] == "/as_of"
    assert said in fault["detail"]


async def test_a_revision_that_is_to_come_is_no_answer_and_nothing_is_recorded(told: Told):
    newest, recorded = max(told.times), told.authz.count_recorded()
    response = await told.authz.check(question(as_of=newest + 1))
    problem = response.json()
    assert (response.status_code, problem["code"]) == (503, "revision_not_reached")
    assert problem["detail"].startswith(f"/as_of: the newest revision is {newest}, not yet {newest + 1}")
    assert int(response.headers["retry-after"]) >= 1
    assert told.authz.count_recorded() == recorded
