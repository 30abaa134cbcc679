"""Import: the good lines of a request are written in their order, each bad one is told, and a repetition does no harm."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import httpx
import msgspec
import pytest

from services.authz.importing import MAX_DECODED_BYTES, MAX_LINES, read_lines
from services.authz.journal import Change, Journal, _Series
from shared.clock import utc_now
from shared.compression import new_compressor
from shared.ctl.projections import compare_projections
from shared.identifiers import new_uuid7
from tests.service.admin import ACME, API, done, refused, send, written
from tests.service.authz_service import RunningAuthz, bearer, question, running_authz
from tests.service.authz_writer import AUTHOR

IMPORT = f"{API}/import"
SPACE = "space_acme"
COMPRESS = new_compressor()
FIVE: list[dict[str, Any]] = [
    {"noun": "user", "id": "user_eve", "email": "eve@x.example"},
    {"noun": "member", "id": "member_eve", "space_id": SPACE, "display_name": "Eve"},
    {"noun": "user_member", "id": "um_eve", "space_id": SPACE, "user_id": "user_eve", "member_id": "member_eve"},
    {
        "noun": "member_role",
        "id": "mr_eve",
        "space_id": SPACE,
        "member_id": "member_eve",
        "role_id": "role_finance_approver",
        "scope_anchor_group_id": "group_finance",
        "expires_at": "2120-01-01T08:00:00+08:00",
    },
    {
        "noun": "resource",
        "id": "invoice_003",
        "space_id": SPACE,
        "resource_type": "invoice",
        "group_id": "group_finance_apac",
        "properties": {"amount": "12.50", "lines": [1, 2]},
        "reason": "moved here",
    },
]


def resource(number: int, **changes: Any) -> dict[str, Any]:
    row = {"noun": "resource", "id": f"r_{number}", "space_id": SPACE, "resource_type": "invoice"}
    return {name: value for name, value in (row | changes).items() if value is not None}


def body_of(rows: list[Any]) -> bytes:
    return b"".join((row if isinstance(row, bytes) else msgspec.json.encode(row)) + b"\n" for row in rows)


async def post(authz: RunningAuthz, body: bytes, **headers: str) -> httpx.Response:
    sent = {"content-type": "application/x-ndjson"} | bearer("admin")
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return await authz.client.post(IMPORT, content=body, headers=sent)


async def report(authz: RunningAuthz, rows: list[Any], **headers: str) -> dict[str, Any]:
    response = await post(authz, body_of(rows), **headers)
    assert response.status_code == 200, response.text
    data: dict[str, Any] = response.json()["data"]
    return data


def counts(data: dict[str, Any]) -> tuple[int, int, int]:
    return data["created"], data["unchanged"], data["failed"]


def errors(data: dict[str, Any]) -> list[tuple[int, str, str | None]]:
    return [(error["line"], error["code"], error.get("pointer")) for error in data["errors"]]


async def test_rows_of_all_five_nouns_are_written_in_their_order_and_decided_upon(authz: RunningAuthz):
    ((head,),) = authz.sql("select max(revision) from authz.event")
    data = await report(authz, FIVE, x_request_id="r-1")
    assert counts(data) == (5, 0, 0)
    assert data["revision"] == head + 5
    events = authz.sql(
        "select kind, entity_id, reason, request_id from authz.event where revision > %s order by revision",
        head,
    )
    assert events == [
        ("user.created", "user_eve", None, "r-1"),
        ("member.created", "member_eve", None, "r-1"),
        ("user_member.bound", "um_eve", None, "r-1"),
        ("member_role.granted", "mr_eve", None, "r-1"),
        ("resource.registered", "invoice_003", "moved here", "r-1"),
    ]
    actor = {"user_id": "user_eve", "member_id": "member_eve", "user_member_id": "um_eve", "space_id": SPACE}
    asked = question(actor=actor, resource_id="invoice_003", at_least_revision=data["revision"])
    assert (await authz.decide(asked))["allow"]
    row = await done(authz, "GET", f"{ACME}/member-roles/mr_eve")
    assert row["expires_at"] == "2120-01-01T00:00:00Z"
    assert [event["data"]["revision"] for event in authz.events("changes")] == list(range(1, head + 6))
    assert compare_projections(authz.database.owner_dsn).differences == []


async def test_a_row_is_the_one_that_the_route_of_its_noun_would_make(authz: RunningAuthz):
    kept = {"id", "created_at", "updated_at", "revision"}
    made = await done(authz, "POST", f"{ACME}/resources", {"id": "a", "resource_type": "invoice", "metadata": {"b": 1}})
    await report(authz, [resource(1, metadata={"b": 1})])
    imported = await done(authz, "GET", f"{ACME}/resources/invoice/r_1")
    assert {k: v for k, v in made.items() if k not in kept} == {k: v for k, v in imported.items() if k not in kept}


async def test_the_same_lines_again_are_unchanged_and_no_event(authz: RunningAuthz):
    await report(authz, FIVE)
    before = written(authz)
    assert counts(await report(authz, FIVE)) == (0, 5, 0)
    assert written(authz) == before


async def test_a_line_says_nothing_of_what_it_leaves_out(authz: RunningAuthz):
    await report(authz, [resource(1, display_name="One")])
    data = await report(authz, [resource(1), resource(1) | {"display_name": None}])
    assert counts(data) == (0, 1, 1)
    assert errors(data) == [(2, "duplicate_id", "/id")]
    assert "display_name" in data["errors"][0]["detail"]


async def test_a_value_of_another_kind_is_another_value_though_python_calls_it_equal(authz: RunningAuthz):
    await report(authz, [resource(1, properties={"final": 1})])
    data = await report(authz, [resource(1, properties={"final": True}), resource(1, properties={"final": 1})])
    assert counts(data) == (0, 1, 1)
    assert errors(data) == [(1, "duplicate_id", "/id")]
    assert "properties" in data["errors"][0]["detail"]


async def test_what_was_ended_since_stays_ended(authz: RunningAuthz):
    await report(authz, FIVE)
    await done(authz, "POST", f"{ACME}/member-roles/mr_eve/revoke", {"reason": "left"})
    await done(authz, "POST", f"{ACME}/resources/invoice/invoice_003/archive", {})
    assert counts(await report(authz, FIVE)) == (0, 5, 0)
    assert (await done(authz, "GET", f"{ACME}/member-roles/mr_eve"))["status"] == "revoked"


async def test_a_revoked_grant_is_granted_again_by_a_line_without_its_id(authz: RunningAuthz):
    await report(authz, FIVE)
    await done(authz, "POST", f"{ACME}/member-roles/mr_eve/revoke", {"reason": "left"})
    again = {name: value for name, value in FIVE[3].items() if name != "id"}
    # The second line finds the grant active.
    data = await report(authz, [again, again])
    assert (counts(data), errors(data)) == ((1, 0, 1), [(2, "duplicate_key", "/role_id")])
    row = await done(authz, "GET", f"{ACME}/member-roles/mr_eve")
    assert (row["status"], row["revoked_at"], row["revision"]) == ("active", None, data["revision"])
    assert compare_projections(authz.database.owner_dsn).differences == []


BAD: dict[str, tuple[Any, str, str | None]] = {
    "no JSON": (b"{", "malformed_json", None),
    "no object": (b"[]", "validation_failed", ""),
    "two documents": (b'{"noun":"user","email":"a@b"} {}', "malformed_json", None),
    "not UTF-8": (b'{"noun":"user","email":"\xff@x"}', "malformed_json", None),
    "no noun": ({"email": "a@b"}, "validation_failed", "/noun"),
    "a noun that is not imported": ({"noun": "role", "key": "x"}, "validation_failed", "/noun"),
    "an unknown field": (resource(1, colour="red"), "validation_failed", "/colour"),
    "a missing field": (resource(1, resource_type=None), "validation_failed", "/resource_type"),
    "a missing Space": (resource(1, space_id=None), "validation_failed", "/space_id"),
    "a Space where there is none": (
        {"noun": "user", "email": "a@b", "space_id": SPACE},
        "validation_failed",
        "/space_id",
    ),
    "a field of another type": (resource(1, display_name=3), "validation_failed", "/display_name"),
    "a key that is given twice": (b'{"noun":"user","email":"a@b","email":"c@d"}', "validation_failed", "/email"),
    "an id that is none": (resource(1, id="a b"), "invalid_id", "/id"),
    "what the service keeps": (resource(1, status="archived"), "validation_failed", "/status"),
    "a fraction": (resource(1, properties={"a": [1.5]}), "validation_failed", "/properties/a/0"),
    "too large an event": (resource(1, properties={"a": "x" * 70_000}), "validation_failed", ""),
    "too large properties": (resource(1, properties={"a": "x" * 17_000}), "validation_failed", "/properties"),
    "an unknown group": (resource(1, group_id="g"), "reference_unknown", "/group_id"),
    "an unknown Space": (resource(1, space_id="s"), "reference_unknown", "/space_id"),
    "an unknown type": (resource(1, resource_type="none"), "resource_type_unknown", "/resource_type"),
    "an address that is taken": ({"noun": "user", "email": "ALICE@acme.example"}, "duplicate_key", "/email"),
    "an id that is taken": ({"noun": "user", "id": "user_bob", "email": "a@b"}, "duplicate_id", "/id"),
    "a grant that is over": (FIVE[3] | {"expires_at": "2020-01-01T00:00:00Z"}, "expires_in_the_past", "/expires_at"),
    "a grant that ends before it begins": (
        FIVE[3] | {"member_id": "member_invoice_creator", "not_before": "2121-01-01T00:00:00Z"},
        "validity_window_empty",
        "/expires_at",
    ),
}


@pytest.mark.parametrize("about", BAD)
async def test_a_bad_line_is_told_and_the_lines_around_it_are_written(authz: RunningAuthz, about: str):
    line, code, pointer = BAD[about]
    data = await report(authz, [resource(10), line, b"", b" \r", resource(11)])
    assert (counts(data), errors(data)) == ((2, 0, 1), [(2, code, pointer)])
    assert data["errors"][0]["detail"]
    assert compare_projections(authz.database.owner_dsn).differences == []


async def test_a_line_that_points_into_another_space_is_told_so(authz: RunningAuthz):
    await done(authz, "POST", f"{API}/spaces", {"id": "other", "key": "other", "name": "Other"})
    data = await report(authz, [resource(1, space_id="other", group_id="group_finance"), resource(1)])
    assert (counts(data), errors(data)) == ((1, 0, 1), [(1, "foreign_space", "/group_id")])


async def test_lines_may_need_those_before_them_and_fail_with_them(authz: RunningAuthz):
    broken = [FIVE[0] | {"email": "alice@acme.example"}, *FIVE[1:]]
    data = await report(authz, broken)
    assert (counts(data), errors(data)) == (
        (3, 0, 2),
        [(1, "duplicate_key", "/email"), (3, "reference_unknown", "/user_id")],
    )


async def test_the_same_id_twice_is_one_row(authz: RunningAuthz):
    data = await report(authz, [resource(1), resource(1), resource(1, display_name="x"), resource(2, group_id="g")])
    assert (counts(data), errors(data)) == (
        (1, 1, 2),
        [(3, "duplicate_id", "/id"), (4, "reference_unknown", "/group_id")],
    )
    # The first line with it fails, so the second has it.
    data = await report(authz, [resource(3, group_id="g"), resource(3), *[resource(3)] * 900])
    assert (counts(data), errors(data)) == ((1, 900, 1), [(1, "reference_unknown", "/group_id")])


@pytest.mark.parametrize("bad", [[0], [999], [0, 1, 500, 998, 999], list(range(0, 1000, 7)), list(range(1000))])
async def test_bad_lines_among_a_thousand_are_found_and_all_others_written_in_order(
    authz: RunningAuthz, bad: list[int]
):
    wrong = set(bad)
    data = await report(authz, [resource(n, group_id="g" if n in wrong else None) for n in range(MAX_LINES)])
    assert counts(data) == (1000 - len(bad), 0, len(bad))
    assert errors(data) == [(n + 1, "reference_unknown", "/group_id") for n in bad]
    rows = authz.sql("select entity_id from authz.event where entity_id like 'r\\_%' order by revision")
    assert [row for (row,) in rows] == [f"r_{n}" for n in range(MAX_LINES) if n not in wrong]
    assert compare_projections(authz.database.owner_dsn).differences == []


async def test_one_bad_line_among_a_thousand_costs_few_statements(authz: RunningAuthz, finance_database):
    read = authz.log_statements()
    # Sessions that begin after it are logged.
    async with running_authz(finance_database) as logged:
        await report(logged, [resource(n, group_id="g" if n == 700 else None) for n in range(MAX_LINES)])
    inserts = [text for part, text in read() if part == "commands" and text.startswith("insert into authz.resource")]
    assert len(inserts) <= 2 * 10 + 2


async def test_the_same_key_is_answered_as_it_was_and_done_once(authz: RunningAuthz):
    rows = [resource(1, id=None), b"{"]
    first = await post(authz, body_of(rows), idempotency_key="k-1")
    before = written(authz)
    again = await post(authz, COMPRESS(body_of(rows)), idempotency_key="k-1", content_encoding="zstd")
    assert again.json()["data"] == first.json()["data"]
    assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
    assert written(authz) == before
    other = await post(authz, body_of([resource(2)]), idempotency_key="k-1")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    await report(authz, rows)
    assert authz.sql("select count(*) from authz.resource where id like 'resource\\_%'") == [(2,)]


async def test_what_is_too_much_or_of_another_kind_is_refused_whole(authz: RunningAuthz):
    before = written(authz)
    many = b"\n" * (MAX_LINES + 1)
    long = COMPRESS(b" " * (MAX_DECODED_BYTES + 1))
    for body, headers, status, code in (
        (b"", {}, 400, "malformed_json"),
        (many, {}, 413, "body_too_large"),
        (b" " * 1_048_577, {}, 413, "body_too_large"),
        (long, {"content_encoding": "zstd"}, 413, "body_too_large"),
        (b"no frame", {"content_encoding": "zstd"}, 400, "malformed_json"),
        (b"{}", {"content_encoding": "gzip"}, 415, "unsupported_media_type"),
        (b"{}", {"content_type": "application/json"}, 415, "unsupported_media_type"),
    ):
        response = await post(authz, body, **headers)
        assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert "application/x-ndjson" in response.json()["detail"]
    assert written(authz) == before
    assert (await post(authz, b"\n" * MAX_LINES)).status_code == 200
    await refused(authz, 415, "unsupported_media_type", "POST", f"{API}/users", {}, content_type="application/x-ndjson")


async def test_imports_at_the_same_time_leave_revisions_and_sequences_without_a_gap(authz: RunningAuthz):
    async def one(n: int) -> dict[str, Any]:
        return await report(authz, [resource(n * 50 + m, group_id="g" if m == n else None) for m in range(60)])

    reports = await asyncio.gather(*(one(n) for n in range(8)))
    ((head, number),) = authz.sql("select max(revision), count(*) from authz.event")
    assert head == number
    assert sum(data["created"] for data in reports) == authz.sql("select count(*) from authz.resource")[0][0] - 2
    assert [event["sequence"] for event in authz.events("changes")] == list(range(head))
    assert compare_projections(authz.database.owner_dsn).differences == []


async def turns_during(work: Coroutine[Any, Any, Any]) -> int:
    """How often others get the thread while some work, which waits for nothing, is done."""
    task, turns = asyncio.create_task(work), 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    await task
    return turns


async def test_checks_get_the_thread_again_and_again_while_a_request_is_read_and_its_events_are_made():
    rows = [resource(n) for n in range(MAX_LINES)]
    assert await turns_during(read_lines(body_of(rows))) >= 20
    after = {"id": "u", "email": "a@b", "metadata": {}}
    changes = [Change(after=after, before=None, entity_type="user", kind="user.created")] * MAX_LINES
    series = _Series(AUTHOR, utc_now(), 1, 1, "authz.changes", 1)
    assert await turns_during(Journal(clock=utc_now, new_event_id=new_uuid7)._events(series, changes)) >= 20


async def test_checks_are_answered_while_lines_are_written(authz: RunningAuthz):
    importing = asyncio.create_task(report(authz, [resource(n, display_name="x" * 200) for n in range(MAX_LINES)]))
    answered = 0
    while not importing.done():
        await authz.decide(question())
        answered += 1
    assert counts(await importing) == (MAX_LINES, 0, 0)
    assert answered > 10


async def test_an_import_leaves_half_of_the_outbox_to_decisions(finance_database):
    """37 changes of the worked example wait, nothing delivers them; at a ceiling of 60 that is more than half."""
    async with running_authz(finance_database, outbox_ceiling=60) as authz:
        await authz.become_ready()
        response = await post(authz, body_of([resource(1)]))
        assert (response.status_code, response.json()["code"]) == (503, "outbox_full")
        assert response.headers["retry-after"]
        assert (await authz.decide(question()))["allow"]


async def test_while_the_database_is_away_nothing_is_taken_and_it_says_so(authz: RunningAuthz):
    await report(authz, [resource(1)])
    with authz.unreachable():
        response = await post(authz, body_of([resource(2)]))
        assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
    assert authz.sql("select count(*) from authz.resource where id = 'r_2'") == [(0,)]


async def test_a_key_without_the_permission_is_refused(authz: RunningAuthz):
    response = await send(authz, "POST", IMPORT, {}, key="caller")
    assert (response.status_code, response.json()["code"]) == (403, "permission_denied")
