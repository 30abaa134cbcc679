"""audit, a relay or the database away for a while: authz answers as long as it can record, and all of it arrives."""

from __future__ import annotations

from functools import partial

import httpx
import msgspec
import zstandard

from shared.clock import epoch_microseconds, utc_now
from shared.ctl.questions import QUESTIONS
from shared.embedded.server import EmbeddedPostgres
from shared.identifiers import new_uuid7
from tests.conftest import connect
from tests.stack.conftest import OpenPair
from tests.stack.load import Load
from tests.stack.pair import Pair, session_of
from tests.stack.process import stopped, wait_until
from tests.stack.proof import faults_of, outbox_leaves

CEILING = 60


def check(pair: Pair) -> httpx.Response:
    with pair.client("authz") as client:
        return client.post("/api/v1/authz/check", json=QUESTIONS[0].body)


def relay_says(pair: Pair) -> str:
    return str(pair.readiness("authz")[1].get("relay", {}).get("detail"))


def test_authz_answers_on_while_audit_is_away_and_delivers_when_it_is_back(pair: Pair) -> None:
    pair.wait_drained()
    pair.audit.kill()
    with Load(pair.urls["authz"], pair.secrets.caller_key, name="outage") as load:
        load.wait_answers(200)
        wait_until(lambda: "fails at present" in relay_says(pair), what="word of the failing delivery in /ready")
        status, checks = pair.readiness("authz")
        assert (status, all(one["ok"] for one in checks.values())) == (200, True)
        assert checks["outbox"]["figures"]["waiting"] >= 200
        assert checks["outbox"]["figures"]["oldest_age_seconds"] > 0
        metrics = pair.metrics("authz")
        assert metrics["plystra_authz_outbox_depth"] >= 200
        assert metrics["plystra_authz_outbox_oldest_age_seconds"] > 0
        pair.restart(pair.audit)
        wait_until(lambda: "fails at present" not in relay_says(pair), what="delivery to the new audit")
    assert load.answered == len(load.asked)
    pair.wait_drained()
    assert faults_of(pair, load.asked) == []
    metrics = pair.metrics("authz")
    assert (metrics["plystra_authz_outbox_depth"], metrics["plystra_authz_outbox_oldest_age_seconds"]) == (0, 0)
    assert pair.readiness("authz")[1]["relay"]["detail"] == "Events are delivered to audit."


def test_of_two_relays_one_is_active_and_the_other_takes_over(open_pair: OpenPair) -> None:
    with open_pair(PLYSTRA_AUTHZ_RELAY="off") as pair:
        relays = {name: pair.relay(name) for name in ("relay-a", "relay-b")}
        for relay in relays.values():
            relay.start()
        pair.start()
        assert pair.authz.relay() is None
        with Load(pair.urls["authz"], pair.secrets.caller_key, name="two") as load:
            for _ in range(2):
                for relay in relays.values():
                    relay.wait_logged("started")
                first = wait_until(lambda: holder_of_the_lead(pair), what="a relay that leads")
                pair.wait_logged(1)
                relays[first].kill()
                wait_until(partial(holder_of_the_lead, pair, other_than=first), 5, "another that leads")
                pair.wait_logged(1)
                pair.restart(relays[first])
            relays[first].wait_logged("started")
        pair.wait_drained()
        assert faults_of(pair, load.asked) == []
        for relay in relays.values():
            relay.terminate()
            assert relay.wait_ended() == 0


def holder_of_the_lead(pair: Pair, other_than: str = "") -> str | None:
    """The instance of the one relay that holds the lock, if it isn't that one; two of them would be a failure."""
    query = (
        "select a.application_name from pg_locks l join pg_stat_activity a using (pid)"
        " where l.locktype = 'advisory' and l.granted and a.datname = %s and a.application_name like '%%/relay'"
    )
    with connect(pair.databases["authz"].superuser_dsn) as connection:
        names = [row[0] for row in connection.execute(query, [pair.databases["authz"].name]).fetchall()]
    assert len(names) <= 1
    leaders = [name.split()[1].removesuffix("/relay") for name in names]
    return next((leader for leader in leaders if leader != other_than), None)


def test_what_a_relay_could_not_mark_as_delivered_is_sent_again_and_recognized(open_pair: OpenPair) -> None:
    with open_pair(PLYSTRA_AUTHZ_RELAY="off") as pair:
        pair.start()
        with connect(pair.databases["authz"].superuser_dsn) as connection:
            # Whoever marks has to wait, so the relay is killed between audit's acknowledgement and its own mark.
            with connection.transaction():
                connection.execute("lock table authz.outbox_writer in share mode")
                relay = pair.relay("relay-a")
                relay.start()
                wait_until(lambda: pair.log_size() >= 36, what="the example's events in the log")
                relay.kill()
            assert pair.waiting() == 36
        relay.start()
        pair.wait_drained()
        assert pair.metrics("audit")["plystra_audit_duplicates_total"] == 36
        assert faults_of(pair, []) == []


def refused(pair: Pair, answered: list[str]) -> httpx.Response | None:
    """Ask once; the refusal, or else None and the request id among those that were answered."""
    response = check(pair)
    if response.status_code == 503:
        return response
    answered.append(response.json()["request_id"])
    return None


def test_at_its_ceiling_authz_refuses_to_decide_until_audit_has_caught_up(open_pair: OpenPair) -> None:
    with open_pair(PLYSTRA_AUTHZ_OUTBOX_CEILING=str(CEILING)) as pair:
        pair.start()
        pair.wait_drained()
        pair.audit.kill()
        with Load(pair.urls["authz"], pair.secrets.caller_key, name="ceiling") as load:
            wait_until(lambda: len(refusals(load)) >= 30, what="refusals")
            assert pair.waiting() <= CEILING
            # The running count errs on the side of refusing until the next look, so a single question may be lucky.
            lucky: list[str] = []
            response = wait_until(lambda: refused(pair, lucky), what="a refusal")
            assert (response.status_code, response.json()["code"]) == (503, "outbox_full")
            assert int(response.headers["retry-after"]) >= 1
            pair.restart(pair.audit)
            load.wait_answers(CEILING)
        pair.wait_ready()
        pair.wait_drained()
        assert {one.code for one in load.asked} == {"", "outbox_full"}
        # What was answered to the probe above is in the log as well, though the load knows nothing of it.
        assert set(faults_of(pair, load.asked)) == {f"{one} is in the log, and nobody asked it" for one in lucky}


def refusals(load: Load) -> list[object]:
    return [one for one in load.asked if one.code == "outbox_full"]


def test_an_event_that_audit_refuses_is_set_aside_and_holds_up_no_other(open_pair: OpenPair) -> None:
    with open_pair() as pair:
        good, bad = [stray_event(sequence) for sequence in range(4)], b'{"nobody":"expects this"}'
        put_into_outbox(pair, [good[0], bad, good[1], good[2]])
        pair.start()
        asked = check(pair).json()["data"]["decision_id"]
        pair.wait_drained()
        with connect(pair.databases["authz"].superuser_dsn) as authz:
            refused = authz.execute("select sequence, event, problem from authz.outbox_refused").fetchall()
        ((sequence, event, problem),) = refused
        assert (sequence, event) == (1, bad)
        assert "validation_failed" in problem
        with connect(pair.databases["audit"].superuser_dsn) as audit:
            leaves = [row[0] for row in audit.execute("select leaf from audit.entry order by log_index").fetchall()]
        assert [leaf for leaf in leaves if leaf in good] == good[:3]
        assert any(msgspec.json.decode(leaf)["event_id"] == asked for leaf in leaves)
        assert "audit refused 1 events for good" in relay_says(pair)
        assert pair.readiness("authz")[1]["relay"]["figures"]["refused"] == 1
        assert pair.metrics("authz")["plystra_authz_outbox_refused"] == 1


def stray_event(sequence: int) -> bytes:
    """A change that nobody made, with a sequence as if it were the only kind in its epoch."""
    data = {
        "actor": {"credential_id": None, "type": "operator"},
        "after": {},
        "before": None,
        "entity": {"id": f"stray-{sequence}", "type": "space"},
        "reason": None,
        "request": None,
        "revision": 0,
        "space_id": None,
    }
    event = {
        "data": data,
        "epoch": 1,
        "event_id": new_uuid7(),
        "kind": "space.touched",
        "occurred_at": "2026-01-01T00:00:00Z",
        "sequence": sequence,
        "source": "by-hand",
        "version": 1,
    }
    return msgspec.json.encode(event)


def put_into_outbox(pair: Pair, events: list[bytes]) -> None:
    """Write one commit into the outbox as an operator with the owner's rights could."""
    joined = b",".join(events)
    with connect(pair.databases["authz"].owner_dsn) as connection:
        connection.execute("set role authz_owner")
        connection.execute(
            "with writer as (insert into authz.outbox_writer (source, epoch, stream) values ('by-hand', %s, 'decisions')"
            " returning writer_id) insert into authz.outbox (slot, writer_id, first_sequence, last_sequence, events,"
            " events_length) select 0, writer_id, 0, %s, %s, %s from writer",
            [epoch_microseconds(utc_now()), len(events) - 1, zstandard.compress(joined), len(joined)],
        )


def test_a_cut_of_all_sessions_heals_by_itself(pair: Pair) -> None:
    with Load(pair.urls["authz"], pair.secrets.caller_key, name="cut") as load:
        for _ in range(5):
            load.wait_answers(40)
            for database in pair.databases.values():
                with connect(database.superuser_dsn) as connection:
                    connection.execute(
                        "select pg_terminate_backend(pid) from pg_stat_activity"
                        " where datname = %s and pid <> pg_backend_pid()",
                        [database.name],
                    )
    assert pair.authz.is_running
    assert pair.audit.is_running
    pair.wait_ready()
    pair.wait_drained()
    assert faults_of(pair, load.asked) == []


def test_a_session_that_hangs_in_the_server_is_given_up(pair: Pair, server: EmbeddedPostgres) -> None:
    """While it is idle: stopped in the midst of a commit it would hold up the whole server."""
    pair.wait_drained()
    with (
        stopped(session_of(server, "outbox")),
        Load(pair.urls["authz"], pair.secrets.caller_key, name="hang") as load,
    ):
        load.wait_answers(50, 20)
    pair.wait_drained()
    assert any(one.code == "decision_not_recorded" for one in load.asked)
    assert faults_of(pair, load.asked) == []


def test_a_restart_of_the_database_heals_by_itself(own_pair: Pair, own_server: EmbeddedPostgres) -> None:
    with Load(own_pair.urls["authz"], own_pair.secrets.caller_key, name="restart") as load:
        load.wait_answers(50)
        own_server.stop()
        refused = len(load.asked)
        wait_until(lambda: len(load.asked) >= refused + 20, what="questions without a database")
        assert own_pair.readiness("authz")[0] == own_pair.readiness("audit")[0] == 503
        own_server.start()
        load.wait_answers(50)
    own_pair.wait_ready()
    own_pair.wait_drained()
    assert load.answered + len([one for one in load.asked if one.status == 503]) == len(load.asked)
    assert faults_of(own_pair, load.asked) == []


def test_a_relay_that_stands_still_resumes_where_it_was(pair: Pair) -> None:
    with Load(pair.urls["authz"], pair.secrets.caller_key, name="still") as load:
        pair.wait_drained()
        with stopped(wait_until(pair.authz.relay, what="a relay")):
            load.wait_answers(100)
            assert pair.waiting() > 0
    pair.wait_drained()
    with connect(pair.databases["authz"].superuser_dsn) as authz:
        assert outbox_leaves(authz)
    assert faults_of(pair, load.asked) == []
