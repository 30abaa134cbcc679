"""The same request twice is one command, and a change made to what somebody else has changed since is refused."""

from __future__ import annotations

import asyncio

from services.authz.idempotency import KEPT_FOR
from tests.service.admin import ACME, API, done, last_event, refused, send, written
from tests.service.authz_service import RunningAuthz, bearer

MEMBERS = f"{ACME}/members"
BODY = {"display_name": "Bot"}


async def test_the_same_key_and_request_are_answered_alike_and_done_once(authz: RunningAuthz):
    first = await send(authz, "POST", MEMBERS, BODY, idempotency_key="k-1")
    before = written(authz)
    again = await send(authz, "POST", MEMBERS, BODY, idempotency_key="k-1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json()["data"] == first.json()["data"]
    assert [again.headers[name] for name in ("etag", "location")] == [
        first.headers[name] for name in ("etag", "location")
    ]
    assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
    assert again.json()["request_id"] == again.headers["x-request-id"] != first.json()["request_id"]
    assert written(authz) == before


async def test_every_kind_of_command_takes_a_key(authz: RunningAuthz):
    for method, path, body in (
        ("PATCH", f"{API}/users/user_bob", {"display_name": "B"}),
        ("POST", f"{API}/users/user_bob/disable", {}),
        ("POST", f"{API}/users/user_bob/restore", {}),
        ("POST", f"{ACME}/groups/group_finance/move", {"parent_group_id": "group_legal"}),
        ("POST", f"{ACME}/user-members/um_bob_finance_reviewer/revoke", {"reason": "left"}),
        ("POST", f"{ACME}/resources/invoice/invoice_001/archive", {}),
    ):
        data = await done(authz, method, path, body, idempotency_key=f"k {path}".replace(" ", "-"))
        before = written(authz)
        assert await done(authz, method, path, body, idempotency_key=f"k {path}".replace(" ", "-")) == data
        assert written(authz) == before


async def test_another_request_under_the_same_key_is_refused(authz: RunningAuthz):
    await done(authz, "POST", MEMBERS, BODY, idempotency_key="k-1")
    for method, path, body in (
        ("POST", MEMBERS, BODY | {"display_name": "Another"}),
        ("POST", f"{API}/users", {"email": "x@y"}),
        ("PATCH", f"{API}/users/user_bob", {"display_name": "B"}),
    ):
        problem = await refused(authz, 409, "idempotency_key_reused", method, path, body, idempotency_key="k-1")
        assert problem["errors"][0]["parameter"] == "Idempotency-Key"


async def test_a_key_belongs_to_the_api_key_that_gave_it(authz: RunningAuthz):
    await done(authz, "POST", MEMBERS, BODY, idempotency_key="k-1")
    other = await send(authz, "POST", MEMBERS, {"display_name": "Mine"}, key="steward", idempotency_key="k-1")
    assert (other.status_code, other.json()["data"]["display_name"]) == (201, "Mine")


async def test_requests_with_one_key_that_arrive_together_are_done_once(authz: RunningAuthz):
    ((before,),) = authz.sql("select count(*) from authz.event")
    answers = await asyncio.gather(*(send(authz, "POST", MEMBERS, BODY, idempotency_key="k-1") for _ in range(12)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["data"]["id"] for answer in answers}) == 1
    assert authz.sql("select count(*) from authz.event") == [(before + 1,)]


async def test_a_refused_command_keeps_nothing_and_is_judged_again(authz: RunningAuthz):
    body = {"display_name": "x", "id": "member_invoice_creator"}
    await refused(authz, 409, "duplicate_id", "POST", MEMBERS, body, idempotency_key="k-1")
    assert authz.sql("select count(*) from authz.idempotency_key") == [(0,)]
    await done(authz, "POST", MEMBERS, BODY, idempotency_key="k-1")


async def test_a_key_is_free_again_after_its_time_and_what_was_kept_goes(authz: RunningAuthz):
    await done(authz, "POST", MEMBERS, BODY, idempotency_key="k-1")
    await done(authz, "POST", MEMBERS, BODY, idempotency_key="k-2")
    authz.sql("update authz.idempotency_key set created_at = created_at - %s", KEPT_FOR)
    other = await done(authz, "POST", MEMBERS, {"display_name": "Later"}, idempotency_key="k-1")
    assert other["display_name"] == "Later"
    assert authz.sql("select key from authz.idempotency_key") == [("k-1",)]


async def test_a_key_that_is_no_key_is_refused_by_name(authz: RunningAuthz):
    for key in ("", "a b", "x" * 256):
        response = await authz.client.post(MEMBERS, json=BODY, headers=bearer("admin") | {"idempotency-key": key})
        assert response.status_code == 400, key
        assert "Idempotency-Key" in response.text


async def test_a_change_of_what_was_changed_since_is_refused(authz: RunningAuthz):
    place = f"{API}/users/user_bob"
    etag = (await send(authz, "GET", place)).headers["etag"]
    newer = await send(authz, "PATCH", place, {"display_name": "Robert"}, if_match=etag)
    assert newer.status_code == 200
    for method, path, body in (("PATCH", place, {"display_name": "Rob"}), ("POST", f"{place}/disable", {})):
        problem = await refused(authz, 412, "etag_mismatch", method, path, body, if_match=etag)
        assert newer.headers["etag"] in problem["detail"]
        assert problem["errors"][0]["parameter"] == "If-Match"
    for good in (newer.headers["etag"], f'"1", {newer.headers["etag"]}', "*"):
        assert (await send(authz, "PATCH", place, {"display_name": "Robert"}, if_match=good)).status_code == 200
    for bad in ("1", 'W/"38"', '""', "x"):
        await refused(authz, 412, "etag_mismatch", "PATCH", place, {"display_name": "x"}, if_match=bad)


async def test_of_edits_made_at_once_from_the_same_state_one_is_done(authz: RunningAuthz):
    place = f"{API}/users/user_bob"
    etag = (await send(authz, "GET", place)).headers["etag"]
    answers = await asyncio.gather(
        *(send(authz, "PATCH", place, {"display_name": f"B{n}"}, if_match=etag) for n in range(20))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 19
    (done_one,) = [answer.json()["data"] for answer in answers if answer.status_code == 200]
    assert (await send(authz, "GET", place)).json()["data"] == done_one
    assert last_event(authz)["after"] == done_one


async def test_a_move_gives_what_lies_below_a_new_etag(authz: RunningAuthz):
    below = f"{ACME}/groups/group_finance_apac"
    etag = (await send(authz, "GET", below)).headers["etag"]
    await done(authz, "POST", f"{ACME}/groups/group_finance/move", {"parent_group_id": "group_legal"})
    await refused(authz, 412, "etag_mismatch", "PATCH", below, {"name": "x"}, if_match=etag)
