"""Lists are complete: page by page in the order of ids, whatever is made meanwhile, and by every filter."""

from __future__ import annotations

import base64
from typing import Any, Final

import pytest

from services.authz.nouns import NOUNS
from services.authz.rows import MemberRow, ResourceRow, ResourceTypeRow
from tests.service.admin import ACME, API, done, refused, send
from tests.service.authz_service import RunningAuthz
from tests.service.authz_writer import AUTHOR, writing

MEMBERS: Final = f"{ACME}/members"


async def page(authz: RunningAuthz, path: str, **query: Any) -> tuple[list[dict[str, Any]], str | None]:
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    response = await send(authz, "GET", f"{path}?{asked}")
    assert response.status_code == 200, response.text
    return response.json()["data"], response.json()["page"]["next_cursor"]


async def test_every_row_is_on_one_page_in_the_order_of_ids(authz: RunningAuthz):
    async with writing(authz.database) as writer:
        rows = [MemberRow(id=f"m_{n:03}", space_id="space_acme", display_name="M") for n in range(0, 250, 2)]
        await writer.commands.create(AUTHOR, rows)
        first, cursor = await page(authz, MEMBERS, limit=100)
        assert cursor is not None
        # Behind the cursor, before it, and changed: what was there is neither left out nor told twice.
        late = [MemberRow(id=id_, space_id="space_acme", display_name="M") for id_ in ("m_001", "m_249")]
        await writer.commands.create(AUTHOR, late)
    await done(authz, "PATCH", f"{MEMBERS}/{first[0]['id']}", {"display_name": "Changed"})
    second, last = await page(authz, MEMBERS, limit=100, cursor=cursor)
    ids = [row["id"] for row in first + second]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids) == 125 + 2 + 1
    assert ("m_249" in ids, "m_001" in ids, last) == (True, False, None)


async def test_resources_go_by_type_and_id(authz: RunningAuthz):
    async with writing(authz.database) as writer:
        await writer.commands.create(AUTHOR, [ResourceTypeRow(id="rt_a", key="a", display_name="A")])
        rows = [
            ResourceRow(id=f"x{n}", resource_type=t, space_id="space_acme") for t in ("a", "invoice") for n in range(3)
        ]
        await writer.commands.create(AUTHOR, rows)
    seen, cursor = [], None
    while True:
        rows, cursor = await page(authz, f"{ACME}/resources", limit=2, **({"cursor": cursor} if cursor else {}))
        seen += [(row["resource_type"], row["id"]) for row in rows]
        if cursor is None:
            break
    assert seen == sorted(seen)
    assert len(seen) == 8


@pytest.mark.parametrize("noun", NOUNS)
async def test_each_filter_finds_what_has_the_value_and_nothing_else(authz: RunningAuthz, noun: str):
    path = f"{ACME if NOUNS[noun].in_space else API}/{NOUNS[noun].path}"
    everything, _ = await page(authz, path, limit=200)
    assert everything
    for name in (*NOUNS[noun].filters, "status"):
        for value in {row[name] for row in everything} - {None}:
            found, _ = await page(authz, path, limit=200, **{name: value})
            assert found == [row for row in everything if row[name] == value], (name, value)
        if name != "status":
            assert await page(authz, path, **{name: "nothing-has-it"}) == ([], None)


async def test_an_address_is_found_whatever_the_case_of_its_letters(authz: RunningAuthz):
    (row,), _ = await page(authz, f"{API}/users", email="ALICE@Acme.example")
    assert row["id"] == "user_alice"


async def test_a_cursor_belongs_to_its_list(authz: RunningAuthz):
    _, cursor = await page(authz, f"{ACME}/groups", limit=2)
    for path, query in ((f"{ACME}/groups", "&status=active"), (f"{ACME}/members", ""), (f"{ACME}/resources", "")):
        problem = await refused(authz, 400, "invalid_cursor", "GET", f"{path}?cursor={cursor}{query}")
        assert problem["errors"][0]["parameter"] == "cursor"
    packed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))[:16]
    made = [base64.urlsafe_b64encode(packed + id_).decode() for id_ in (b"a\x00b", b"", b"a\nb", b"\xff", b"x" * 129)]
    for forged in (*made, "x", "AAAA", "%00", "é", "a" * 600):
        await refused(authz, 400, "invalid_cursor", "GET", f"{ACME}/groups?cursor={forged}")


@pytest.mark.parametrize(
    "query, parameter",
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=many", "limit"),
        ("status=archived", "status"),
        ("status=active&status=active", "status"),
        ("key=", "key"),
        ("at_least_revision=-1", "at_least_revision"),
    ],
)
async def test_a_parameter_of_the_wrong_form_is_named(authz: RunningAuthz, query: str, parameter: str):
    problem = await refused(authz, 400, "validation_failed", "GET", f"{ACME}/groups?{query}")
    assert [error["parameter"] for error in problem["errors"]] == [parameter]


async def test_a_parameter_that_a_list_does_not_know_is_refused(authz: RunningAuthz):
    problem = await refused(authz, 400, "unknown_parameter", "GET", f"{ACME}/groups?path=finance")
    assert "parent_group_id" in problem["detail"]
