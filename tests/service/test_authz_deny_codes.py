"""Every deny code that stored facts can lead to, over HTTP: rows in the database, a question, the answer."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from shared.embedded.server import EmbeddedPostgres
from tests.conftest import fresh_database
from tests.database.authz_rows import fill, insert
from tests.service.authz_service import AuthzDatabase, RunningAuthz, running_authz
from tests.unit.oracle import EVERY_DENY_CODE

pytestmark = pytest.mark.asyncio(loop_scope="module")

Rows = list[tuple[str, dict[str, Any]]]
PAST, FUTURE = "2020-01-01T00:00:00Z", "2120-01-01T00:00:00Z"
REVOKED = {"status": "revoked", "revoked_at": PAST}
# What stands on its own and is used by several cases.
COMMON: Rows = [
    ("group", {"id": "g_beside", "key": "beside", "path": "beside"}),
    ("group", {"id": "g_top1x", "key": "top1x", "path": "top1x"}),
    ("group", {"id": "g_off", "key": "off", "path": "off", "status": "disabled"}),
    ("permission", {"id": "p_tree", "action": "write", "scope": "group_tree"}),
    ("permission", {"id": "p_group", "action": "write", "scope": "group"}),
    ("permission", {"id": "p_space", "action": "write", "scope": "space"}),
    ("permission", {"id": "p_open", "action": "write", "scope": "space", "condition": {"state": ["new", "open"]}}),
    ("permission", {"id": "p_off", "action": "write", "scope": "space", "condition": {}, "status": "disabled"}),
    ("resource", {"id": "x_top", "group_id": "g1"}),
    ("resource", {"id": "x_leaf", "group_id": "ggg1"}),
    ("resource", {"id": "x_beside", "group_id": "g_beside", "owner_member_id": "m1"}),
    ("resource", {"id": "x_top1x", "group_id": "g_top1x"}),
    ("resource", {"id": "x_ungrouped"}),
    ("resource", {"id": "x_off", "group_id": "g_off"}),
    ("resource", {"id": "x_archived", "group_id": "g1", "status": "archived"}),
    ("resource", {"id": "x_open", "properties": {"state": "open"}}),
    ("resource", {"id": "x_closed", "properties": {"state": "closed"}}),
    ("user", {"id": "u_off", "email": "off@example.com", "status": "disabled"}),
    ("user_member", {"id": "um_user_off", "user_id": "u_off"}),
    ("member", {"id": "m_off", "status": "disabled"}),
    ("user_member", {"id": "um_member_off", "member_id": "m_off"}),
    ("member", {"id": "m_other"}),
    ("user_member", {"id": "um_other", "member_id": "m_other"}),
    ("user", {"id": "u_other", "email": "other@example.com"}),
    ("user_member", {"id": "um_revoked", **REVOKED}),
    ("user_member", {"id": "um_expired", "expires_at": PAST}),
    ("user_member", {"id": "um_expires", "expires_at": FUTURE}),
    ("space", {"id": "s_off", "key": "off", "status": "disabled"}),
    ("member", {"id": "m_space_off", "space_id": "s_off"}),
    ("user_member", {"id": "um_space_off", "space_id": "s_off", "member_id": "m_space_off"}),
    ("resource", {"id": "x_space_off", "space_id": "s_off"}),
    ("resource_type", {"id": "rt_off", "key": "gone", "status": "disabled"}),
    ("resource_action", {"id": "ra_gone", "resource_type": "gone", "key": "read"}),
    ("resource", {"id": "x_gone", "resource_type": "gone"}),
    ("resource_action", {"id": "ra_off", "key": "stamp", "status": "disabled"}),
    ("resource_type", {"id": "rt_form", "key": "form"}),
    ("resource_action", {"id": "ra_form", "resource_type": "form", "key": "read"}),
]


@dataclasses.dataclass(frozen=True)
class Case:
    """A question on the filled database (u1 as m1 in s1: read doc x1, allowed), its answer, and rows it needs."""

    answer: str
    about: str
    asks: dict[str, str] = dataclasses.field(default_factory=dict)
    rows: Callable[[str], Rows] = lambda _: []


def granted(
    permission_id: str = "p_tree", *, role: Any = None, holding: Any = None, **grant: Any
) -> Callable[[str], Rows]:
    """A member of its own, `m_<n>` with the binding `um_<n>`, that holds one role with one permission."""

    def rows(n: str) -> Rows:
        return [
            ("member", {"id": f"m_{n}"}),
            ("user_member", {"id": f"um_{n}", "member_id": f"m_{n}"}),
            *held(permission_id, role=role, holding=holding, **grant)(n),
        ]

    return rows


def held(
    permission_id: str, *, role: Any = None, holding: Any = None, name: str = "", **grant: Any
) -> Callable[[str], Rows]:
    """One more role for the member `m_<n>`."""
    return lambda n: [
        ("role", {"id": f"r_{n}{name}", "key": f"r_{n}{name}", **(role or {})}),
        (
            "role_permission",
            {"id": f"rp_{n}{name}", "role_id": f"r_{n}{name}", "permission_id": permission_id, **(holding or {})},
        ),
        (
            "member_role",
            {
                "id": f"mr_{n}{name}",
                "member_id": f"m_{n}",
                "role_id": f"r_{n}{name}",
                "scope_anchor_group_id": "g1",
                **grant,
            },
        ),
    ]


WRITE = {"action": "write", "resource_id": "x_leaf"}


def writing(answer: str, about: str, rows: Callable[[str], Rows], **asks: str) -> Case:
    return Case(answer, about, WRITE | asks, rows)


CASES = [
    Case("allow", "the plain question"),
    Case("ACTOR_NOT_FOUND", "unknown user", {"user_id": "u_missing"}),
    Case("ACTOR_NOT_FOUND", "unknown space", {"space_id": "s_missing"}),
    Case("ACTOR_NOT_FOUND", "unknown member", {"member_id": "m_missing"}),
    Case("ACTOR_NOT_FOUND", "unknown binding", {"user_member_id": "um_missing"}),
    Case("ACTOR_NOT_FOUND", "ids tell apart upper and lower case", {"user_id": "U1"}),
    Case("ACTOR_USER_INACTIVE", "disabled user", {"user_id": "u_off", "user_member_id": "um_user_off"}),
    Case("ACTOR_MEMBER_INACTIVE", "disabled member", {"member_id": "m_off", "user_member_id": "um_member_off"}),
    Case(
        "SPACE_INACTIVE",
        "disabled space",
        {
            "space_id": "s_off",
            "member_id": "m_space_off",
            "user_member_id": "um_space_off",
            "resource_id": "x_space_off",
        },
    ),
    Case("USER_MEMBER_REVOKED", "revoked binding", {"user_member_id": "um_revoked"}),
    Case("USER_MEMBER_EXPIRED", "expired binding", {"user_member_id": "um_expired"}),
    Case("allow", "a binding that expires later", {"user_member_id": "um_expires"}),
    Case("INVALID_RESOURCE_TYPE", "unregistered type", {"resource_type": "missing"}),
    Case("INVALID_RESOURCE_TYPE", "disabled type", {"resource_type": "gone", "resource_id": "x_gone"}),
    Case("INVALID_RESOURCE_ACTION", "unregistered action", {"action": "missing"}),
    Case("INVALID_RESOURCE_ACTION", "disabled action", {"action": "stamp"}),
    Case("INVALID_RESOURCE_ACTION", "an action of another type", {"resource_type": "form", "action": "write"}),
    Case("RESOURCE_NOT_FOUND", "unknown resource", {"resource_id": "x_missing"}),
    Case("RESOURCE_NOT_FOUND", "a resource of another type", {"resource_type": "form"}),
    Case("RESOURCE_INACTIVE", "archived resource", {"resource_id": "x_archived"}),
    Case("CROSS_SPACE_VIOLATION", "a resource of another space", {"resource_id": "x2"}),
    Case("CROSS_SPACE_VIOLATION", "the binding of another member", {"user_member_id": "um_other"}),
    Case("CROSS_SPACE_VIOLATION", "the binding of another user", {"user_id": "u_other"}),
    Case("CROSS_SPACE_VIOLATION", "a member of another space", {"member_id": "m2", "user_member_id": "um2"}),
    Case("CROSS_SPACE_VIOLATION", "another space than all the rest", {"space_id": "s2"}),
    Case("NO_MATCHING_PERMISSION", "no permission for the action", {"action": "write"}),
    Case("NO_MATCHING_PERMISSION", "no grant", {"member_id": "m_other", "user_member_id": "um_other"}),
    writing("allow", "group_tree below its anchor", granted()),
    writing("NO_MATCHING_PERMISSION", "revoked grant", granted(**REVOKED)),
    writing("NO_MATCHING_PERMISSION", "grant not valid yet", granted(not_before=FUTURE)),
    writing("NO_MATCHING_PERMISSION", "expired grant", granted(expires_at=PAST)),
    writing("allow", "grant within its window", granted(not_before=PAST, expires_at=FUTURE)),
    writing("NO_MATCHING_PERMISSION", "disabled role", granted(role={"status": "disabled"})),
    writing("NO_MATCHING_PERMISSION", "disabled permission", granted("p_off")),
    writing("NO_MATCHING_PERMISSION", "a role that holds it no more", granted(holding={"status": "disabled"})),
    writing("allow", "condition met", granted("p_open"), resource_id="x_open"),
    writing("CONDITION_NOT_MET", "condition not met", granted("p_open"), resource_id="x_closed"),
    writing("CONDITION_NOT_MET", "property missing", granted("p_open")),
    writing("SCOPE_OUT_OF_BOUNDS", "a group beside the anchor", granted(), resource_id="x_beside"),
    writing("SCOPE_OUT_OF_BOUNDS", "a group that only begins alike", granted(), resource_id="x_top1x"),
    writing("SCOPE_OUT_OF_BOUNDS", "group: below is not in", granted("p_group")),
    writing("allow", "group: the anchor itself", granted("p_group"), resource_id="x_top"),
    writing("SCOPE_OUT_OF_BOUNDS", "self: somebody else's", granted("p3"), resource_id="x_beside"),
    writing("SCOPE_OUT_OF_BOUNDS", "self: nobody's", granted("p3"), resource_id="x_ungrouped"),
    Case(
        "allow",
        "self: one's own",
        {"action": "write", "resource_id": "x_self", "member_id": "m_self", "user_member_id": "um_self"},
        lambda _: [*granted("p3")("self"), ("resource", {"id": "x_self", "owner_member_id": "m_self"})],
    ),
    writing(
        "allow", "space: anything in it", granted("p_space", scope_anchor_group_id=None), resource_id="x_ungrouped"
    ),
    writing("TARGET_GROUP_MISSING", "no group", granted(), resource_id="x_ungrouped"),
    writing("TARGET_GROUP_MISSING", "disabled group", granted(), resource_id="x_off"),
    writing("SCOPE_ANCHOR_MISSING", "no anchor", granted(scope_anchor_group_id=None)),
    writing("SCOPE_ANCHOR_MISSING", "disabled anchor", granted(scope_anchor_group_id="g_off"), resource_id="x_off"),
    writing(
        "SCOPE_OUT_OF_BOUNDS",
        "of two misses the nearer",
        lambda n: [
            *granted(scope_anchor_group_id=None)(n),
            *held("p_tree", name="b", scope_anchor_group_id="g_beside")(n),
        ],
    ),
    writing(
        "allow",
        "one that covers is enough",
        lambda n: [*granted(scope_anchor_group_id=None)(n), *held("p_space", name="b")(n)],
    ),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stored(server: EmbeddedPostgres, template_of: Callable[[str], str]) -> AsyncIterator[RunningAuthz]:
    """authz on a database that holds the rows of all cases."""
    with fresh_database(server, "authz", template=template_of("authz")) as database:
        AuthzDatabase(database).insert_keys()
        with psycopg.connect(database.app_dsn) as connection:
            fill(connection)
            for number, rows in enumerate([lambda _: COMMON, *(case.rows for case in CASES)]):
                for table, row in rows(str(number - 1)):
                    insert(connection, table, **row)
        async with running_authz(database) as service:
            await service.become_ready()
            yield service


def asked(number: int, case: Case) -> dict[str, Any]:
    own = {"member_id": f"m_{number}", "user_member_id": f"um_{number}"}
    has_own = any(table == "member" for table, _ in case.rows(str(number)))
    ids = {"user_id": "u1", "member_id": "m1", "user_member_id": "um1", "space_id": "s1"} | (own if has_own else {})
    rest = {"action": "read", "resource_type": "doc", "resource_id": "x1"}
    return {
        "actor": {name: case.asks.get(name, value) for name, value in ids.items()},
        **{name: case.asks.get(name, value) for name, value in rest.items()},
    }


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{case.answer}: {case.about}" for case in CASES])
async def test_stored_facts_lead_to_the_answer_that_domain_md_says(stored: RunningAuthz, number):
    case = CASES[number]
    for answer in (await stored.check(asked(number, case)), await stored.explain(asked(number, case))):
        data = answer.json()["data"]
        assert (data["deny_code"] or "allow") == case.answer, data["reason"]
        assert data["allow"] is (case.answer == "allow")


async def test_the_cases_leave_out_no_code_but_the_one_that_the_database_refuses_to_store(stored: RunningAuthz):
    assert stored
    assert {case.answer for case in CASES} - {"allow"} == EVERY_DENY_CODE - {"GLOBAL_SCOPE_DISABLED"}
