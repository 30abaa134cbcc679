"""Whatever is wrong with a request of administration, it is refused by its own code with its place, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import msgspec
import pytest
import pytest_asyncio

from services.authz.nouns import NOUNS
from shared.ctl.projections import compare_projections
from shared.problems import PROBLEMS
from tests.service.admin import ACME, API, done, refused, written
from tests.service.authz_service import RunningAuthz, bearer
from tests.service.bad_input import FAULTS, LATE, LATER, OTHER, Fault

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Codes that no administrator's request is refused with: what is no HTTP, what audit says, what decisions say, and what is no
# fault of the request. `test_administration.py` has those of a service that can't be asked.
OF_OTHERS: Final = {
    *("malformed_request", "head_too_large", "conflict", "internal_error", "not_ready", "shutting_down"),
    *("event_not_found", "event_conflict", "not_the_sequencer", "log_unavailable"),
    *("decision_not_recorded", "outbox_full", "facts_unavailable"),
    *("database_unavailable", "revision_not_reached", "maintenance"),
}
# Rows of another Space, and what else the faults are about.
STORED: Final[list[tuple[str, dict[str, Any]]]] = [
    (f"{API}/spaces", {"id": "space_other", "key": "other", "name": "Other"}),
    (f"{OTHER}/groups", {"id": "group_other", "key": "other", "name": "Other"}),
    (f"{OTHER}/members", {"id": "member_other", "display_name": "Other"}),
    (f"{OTHER}/roles", {"id": "role_other", "key": "other", "name": "Other"}),
    (f"{OTHER}/resources", {"id": "invoice_other", "resource_type": "invoice"}),
    (f"{ACME}/groups", {"id": "group_deep", "parent_group_id": "group_finance_apac", "key": "deep", "name": "Deep"}),
    (f"{API}/permissions", {"id": "perm_spare", "resource_type": "invoice", "action": "reject", "scope": "self"}),
    (f"{ACME}/roles", {"id": "role_spare", "key": "spare", "name": "Spare"}),
    *[
        (
            f"{ACME}/member-roles",
            {
                "id": id_,
                "member_id": member,
                "role_id": "role_spare",
                "not_before": not_before,
                "expires_at": expires_at,
            },
        )
        for id_, member, not_before, expires_at in (
            ("mr_until_late", "member_invoice_creator", None, LATE),
            ("mr_from_later", "member_finance_reviewer", LATER, None),
        )
    ],
]
LONGEST_KEY: Final = "k" * 63


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stored(finance: RunningAuthz) -> AsyncIterator[RunningAuthz]:
    """authz with all that the faults are about; none of them changes it."""
    for path, body in STORED:
        await done(finance, "POST", path, body)
    parent = None
    for depth in range(255):
        row = {"key": LONGEST_KEY, "name": "x", "parent_group_id": parent, "id": f"group_bottom_{depth}"}
        parent = (await done(finance, "POST", f"{ACME}/groups", row))["id"]
    await done(
        finance,
        "POST",
        f"{ACME}/groups",
        {"id": "group_bottom", "key": LONGEST_KEY, "name": "x", "parent_group_id": parent},
    )
    await done(finance, "POST", f"{API}/users", {"email": "once@x.example"}, idempotency_key="used")
    yield finance


async def answer(authz: RunningAuthz, fault: Fault) -> tuple[int, Any]:
    """Send a faulty request; returns the status and the problem."""
    body = fault.body if isinstance(fault.body, str) else None if fault.body is None else json.dumps(fault.body)
    headers = bearer("admin") | {"content-type": "application/json"} | fault.headers
    response = await authz.client.request(
        fault.method, fault.path, content=body, headers={name: value for name, value in headers.items() if value}
    )
    return response.status_code, response.json()


@pytest.mark.parametrize("about", FAULTS)
async def test_a_fault_is_refused_by_its_code_with_its_place_and_nothing_is_written(
    stored: RunningAuthz, about: str
) -> None:
    before = written(stored)
    wrong = []
    for fault in FAULTS[about]:
        status, problem = await answer(stored, fault)
        errors = problem.get("errors", [])
        places = [error.get("pointer", error.get("parameter")) for error in errors] or [None]
        if (status, problem.get("code"), places[0]) != (PROBLEMS[fault.code][0], fault.code, fault.place):
            wrong.append(f"{str(fault)[:500]}: {status} {problem.get('code')} {places} {problem.get('detail')!r:.200}")
    assert not wrong, "\n".join(wrong)
    assert written(stored) == before
    assert compare_projections(stored.database.owner_dsn).differences == []


async def test_a_change_whose_event_would_be_too_large_is_refused(stored: RunningAuthz) -> None:
    widest = {"external_id": "\U0001d4b3" * 256, "display_name": "\U0001d4b3" * 256}
    widest |= {"properties": {"a": "\x01" * 2_700}, "metadata": {"a": "\x01" * 1_350}}
    row = await done(stored, "POST", f"{ACME}/resources", {"resource_type": "invoice"} | widest)
    change = {"display_name": "\U0001d4b4" * 256, "reason": "\x01" * 2_000}
    path = f"{ACME}/resources/invoice/{row['id']}"
    problem = await refused(stored, 400, "validation_failed", "PATCH", path, change, user_agent="x" * 1_000)
    assert problem["errors"][0]["pointer"] == ""


async def test_every_body_omits_its_defaults_so_that_no_key_given_twice_is_overlooked(stored: RunningAuthz) -> None:
    bodies = {
        handler.parsed_data_field.annotation
        for route in stored.edge.app.routes
        for handler in getattr(route, "route_handlers", [])
        if handler.parsed_data_field is not None
    }
    assert len(bodies) > 2 * len(NOUNS)
    for body in bodies:
        assert [kind for kind in structs_of(msgspec.inspect.type_info(body)) if not omits_defaults(kind)] == []


def structs_of(info: Any) -> Iterator[Any]:
    """Every Struct within a type, itself included."""
    if isinstance(info, msgspec.inspect.StructType):
        yield info.cls
        inner = [field.type for field in info.fields]
    else:
        inner = [getattr(info, name, None) for name in ("type", "item_type", "key_type", "value_type")]
        inner += [*getattr(info, "types", ()), *getattr(info, "item_types", ())]
    for each in inner:
        if isinstance(each, msgspec.inspect.Type):
            yield from structs_of(each)


def omits_defaults(kind: Any) -> bool:
    """Whether a Struct that is written again has no field that wasn't given."""
    fields = msgspec.structs.fields(kind)
    return kind.__struct_config__.omit_defaults or all(field.required for field in fields)


async def test_every_code_that_administration_has_is_among_the_faults() -> None:
    codes = {fault.code for faults in FAULTS.values() for fault in faults}
    assert codes & OF_OTHERS == set()
    assert codes | OF_OTHERS == set(PROBLEMS)
