"""The command path: a change is its event, its projection and its place in the outbox, all of them or none."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest

from services.authz.nouns import NOUNS
from services.authz.outbox import MAX_COMMIT_BYTES
from services.authz.relay import MAX_EVENTS_BYTES, MAX_WIRE_BYTES
from services.authz.rows import GroupRow, MemberRoleRow, MemberRow, ResourceRow, Row, SpaceRow, UserRow
from services.authz.seeding import REVOKED, load_example
from services.authz.store import SQL
from shared.envelope import MAX_BATCH_EVENTS
from shared.problems import Problem
from shared.recorded import read_event
from tests.conftest import ServiceDatabase
from tests.service.authz_service import AuthzDatabase
from tests.service.authz_writer import AUTHOR, Writer, writing

ACME = "space_acme"
TABLES = list(NOUNS)


@pytest.fixture
def seen(finance_database: ServiceDatabase) -> AuthzDatabase:
    """The database behind the command path."""
    return AuthzDatabase(finance_database)


@pytest.fixture
async def writer(finance_database: ServiceDatabase):
    """The command path on the worked example."""
    async with writing(finance_database) as writer:
        yield writer


def everything(seen: AuthzDatabase) -> dict[str, Any]:
    """All that a command may write."""
    rows = {table: seen.sql(f'select to_jsonb(t) from authz."{table}" t order by t.id') for table in TABLES}
    return rows | {"event": seen.sql("select * from authz.event order by 1"), "outbox": seen.outbox("changes")}


async def refusal(writer: Writer, rows: list[Row]) -> Problem:
    with pytest.raises(Problem) as caught:
        await writer.commands.create(AUTHOR, rows)
    return caught.value


def member(id_: str, **changes: Any) -> MemberRow:
    return MemberRow(id=id_, space_id=changes.pop("space_id", ACME), display_name="M", **changes)


async def test_each_row_is_an_event_with_its_image_and_the_next_revision(writer: Writer, seen: AuthzDatabase):
    assert await writer.commands.create(AUTHOR, [member("m_1"), member("m_2", metadata={"a": 1})]) == 38
    events = seen.sql(
        "select revision, kind, entity_type, entity_id, space_id, before, after, request_id from authz.event"
        " where revision > 36 order by revision"
    )
    for (revision, kind, entity_type, entity_id, space_id, before, after, request_id), id_ in zip(
        events, ("m_1", "m_2"), strict=True
    ):
        assert (kind, entity_type, entity_id, space_id) == ("member.created", "member", id_, ACME)
        assert (before, request_id) == (None, "test")
        assert writer.stored("member", id_)["revision"] == after["revision"] == revision
    sent = seen.events("changes")[-2:]
    assert [event["sequence"] for event in sent] == [36, 37]
    assert [event["data"]["entity"]["id"] for event in sent] == ["m_1", "m_2"]
    assert [event["data"]["after"] for event in sent] == [after for *_, after, _ in events]


async def test_a_revocation_keeps_what_was_before(writer: Writer, seen: AuthzDatabase):
    (created,) = [e for e in seen.events("changes") if e["data"]["entity"]["id"] == "um_bob_finance_reviewer"]
    before = created["data"]["after"]
    await writer.revoke("um_bob_finance_reviewer", "left the company")
    stored = writer.stored("user_member", "um_bob_finance_reviewer")
    (event,) = seen.events("changes")[-1:]
    assert event["kind"] == "user_member.revoked"
    after = event["data"]["after"]
    assert event["data"]["before"] == before
    assert (stored["status"], stored["revoked_reason"]) == ("revoked", "left the company")
    assert event["data"]["reason"] == after["revoked_reason"] == "left the company"
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"status", "revoked_at", "revoked_reason", "updated_at", "revision"}


async def test_revoking_what_is_revoked_or_unknown_is_refused(writer: Writer, seen: AuthzDatabase):
    before = everything(seen)
    for id_, code in ((REVOKED, "status_conflict"), ("um_missing", "not_found")):
        with pytest.raises(Problem) as caught:
            await writer.revoke(id_, "again")
        assert caught.value.code == code
        assert id_ in caught.value.detail
    assert everything(seen) == before


REFUSED: dict[str, tuple[list[Row], str, str]] = {
    "a space that is there already": ([SpaceRow(id=ACME, key="other", name="Other")], "duplicate_id", "_pkey"),
    "a user that is there already": ([UserRow(id="user_bob", email="eve@x")], "duplicate_id", "_pkey"),
    "a resource that is there already": (
        [ResourceRow(id="invoice_001", resource_type="invoice", space_id=ACME)],
        "duplicate_id",
        "_pkey",
    ),
    "a member that is there in another space": (
        [SpaceRow(id="s", key="s", name="S"), member("member_invoice_creator", space_id="s")],
        "duplicate_id",
        "_pkey",
    ),
    "the same row twice": ([member("m_same"), member("m_same")], "duplicate_id", "_pkey"),
    "an address that is taken": ([UserRow(id="u", email="ALICE@acme.example")], "duplicate_key", "user_email_key"),
    "a link into another space": (
        [
            SpaceRow(id="s", key="s", name="S"),
            ResourceRow(id="x", resource_type="invoice", space_id="s", group_id="group_finance"),
        ],
        "foreign_space",
        "resource_group_same_space",
    ),
    "a type that is not registered": (
        [ResourceRow(id="x", resource_type="none", space_id=ACME)],
        "resource_type_unknown",
        "resource_type_fk",
    ),
    "a grant that is there already": (
        [
            MemberRoleRow(
                id="mr",
                space_id=ACME,
                member_id="member_finance_reviewer",
                role_id="role_finance_approver",
                scope_anchor_group_id="group_finance",
            )
        ],
        "duplicate_key",
        "member_role_key",
    ),
    "a path that is not its parent's": (
        [GroupRow(id="g", space_id=ACME, parent_group_id="group_finance", key="g", name="G", path="legal.g")],
        "group_cycle",
        "group_path_of_parent",
    ),
    "an id of the wrong form": ([member("a b")], "invalid_id", "identifier_form"),
}


@pytest.mark.parametrize("about", REFUSED)
async def test_a_refused_row_names_its_rule_and_nothing_of_the_command_is_written(
    writer: Writer, seen: AuthzDatabase, about
):
    rows, code, rule = REFUSED[about]
    before = everything(seen)
    problem = await refusal(writer, [member("m_before"), *rows, member("m_after")])
    assert problem.code == code
    assert rule in problem.detail
    assert "Failing row" not in problem.detail
    assert everything(seen) == before


async def test_the_largest_row_can_be_changed(writer: Writer, seen: AuthzDatabase):
    """An event holds the row before and after, so the limits of its columns must let it hold the largest row twice."""
    row = ResourceRow(
        id="x" * 128,
        resource_type="invoice",
        space_id=ACME,
        external_id="€" * 256,
        metadata={"a": "x" * 8_183},
        properties={"a": "x" * 16_375},
    )
    await writer.commands.create(AUTHOR, [row])
    revision = await writer.change(("resource", writer.stored("resource", row.id) | {"status": "archived"}))
    assert seen.events("changes")[-1]["sequence"] == revision - 1


async def test_a_change_whose_event_audit_could_not_take_is_refused(writer: Writer, seen: AuthzDatabase):
    """Should a limit ever be widened: what can't be delivered isn't written."""
    seen.sql("alter table authz.resource drop constraint resource_metadata_size")
    full = {"a": "x" * 16_300}
    row = ResourceRow(id="x", resource_type="invoice", space_id=ACME, metadata=full, properties=full)
    await writer.commands.create(AUTHOR, [row])
    before = everything(seen)
    with pytest.raises(Problem, match="resource x makes an event of") as caught:
        await writer.change(
            ("user", writer.stored("user", "user_bob") | {"status": "disabled"}),
            ("resource", writer.stored("resource", "x") | {"status": "archived"}),
        )
    assert caught.value.code == "validation_failed"
    assert everything(seen) == before


@pytest.mark.parametrize(
    "row, count",
    [
        (lambda n: UserRow(id=f"u{n}", email=f"{n}@x"), 1_010),
        (lambda n: member(f"m{n}", metadata={"note": "x" * 8_000}), 160),
    ],
)
async def test_a_large_command_is_cut_into_rows_that_can_be_delivered(writer: Writer, seen: AuthzDatabase, row, count):
    revision = await writer.commands.create(AUTHOR, [row(n) for n in range(count)])
    rows = seen.outbox("changes")
    assert max(len(row.events) for row in rows) <= MAX_BATCH_EVENTS
    assert max(sum(len(event) + 1 for event in row.events) for row in rows) <= MAX_COMMIT_BYTES
    assert [event["sequence"] for event in seen.events("changes")] == list(range(revision))
    assert delivered(seen) == revision


def delivered(seen: AuthzDatabase) -> int:
    """Read and mark as the relay does, until nothing is left; how many events came by."""
    count = 0
    with psycopg.connect(seen.database.app_dsn, autocommit=True) as connection:
        while rows := connection.execute(
            SQL["read_undelivered"]
            .replace("$1", str(MAX_WIRE_BYTES))
            .replace("$2", str(MAX_EVENTS_BYTES))
            .replace("$3", str(MAX_BATCH_EVENTS))
        ).fetchall():
            for writer_id, first, last, *_ in rows:
                count += last - first + 1
                connection.execute(
                    "update authz.outbox_writer set delivered_sequence = %s where writer_id = %s", [last, writer_id]
                )
    return count


async def test_commands_at_the_same_time_leave_revisions_and_sequences_without_a_gap(
    writer: Writer, seen: AuthzDatabase
):
    async def create(n: int) -> int | None:
        try:
            taken = "member_finance_reviewer" if n % 5 == 0 else f"m_{n}_b"
            return await writer.commands.create(
                AUTHOR, [member(f"m_{n}"), UserRow(id=f"u_{n}", email=f"{n % 7}@x"), member(taken)]
            )
        except Problem:
            return None

    done = await asyncio.gather(*(create(n) for n in range(40)))
    assert 0 < sum(revision is not None for revision in done) < 40
    ((head, count),) = seen.sql("select max(revision), count(*) from authz.event")
    assert head == count == max(revision for revision in done if revision is not None)
    assert [event["sequence"] for event in seen.events("changes")] == list(range(head))


async def test_the_projections_are_what_the_events_say(writer: Writer, seen: AuthzDatabase):
    await writer.revoke("um_bob_finance_reviewer", "why")
    await writer.change(("member", writer.stored("member", "member_invoice_creator") | {"status": "disabled"}))
    for table in TABLES:
        key = "e.after ->> 'resource_type', e.entity_id" if table == "resource" else "e.entity_id"
        replayed = seen.sql(
            f'select distinct on ({key}) to_jsonb(jsonb_populate_record(null::authz."{table}", e.after)) from authz.event e'
            f" where e.entity_type = %s order by {key}, e.revision desc",
            table,
        )
        rows = seen.sql(f'select to_jsonb(t) from authz."{table}" t')
        assert len(rows) == len(replayed) > 0
        assert all(row in replayed for row in rows), table


async def test_every_time_in_an_event_is_written_in_utc_as_z(writer: Writer, seen: AuthzDatabase):
    east = timezone(timedelta(hours=8))
    moment = datetime(2120, 1, 1, 8, 0, tzinfo=east)
    grant = MemberRoleRow(
        id="mr_new",
        space_id=ACME,
        member_id="member_invoice_creator",
        role_id="role_finance_approver",
        expires_at=moment,
    )
    await writer.commands.create(AUTHOR, [grant])
    await writer.revoke("um_bob_finance_reviewer", "why")
    assert seen.events("changes")[-2]["data"]["after"]["expires_at"] == "2120-01-01T00:00:00Z"
    for row in seen.outbox("changes"):
        for leaf in row.events:
            assert not re.search(rb'"\d{4}-\d\d-\d\dT[^"]*[^Z]"', leaf)
            assert read_event(leaf).kind


async def test_loading_the_example_again_changes_nothing(finance_database: ServiceDatabase, seen: AuthzDatabase):
    before = everything(seen)
    assert "nothing was changed" in await load_example(finance_database.app_dsn, "finance-reviewer")
    assert everything(seen) == before
