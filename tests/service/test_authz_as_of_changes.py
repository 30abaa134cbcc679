"""Answers about the past while the permission graph changes: what was, beside what is."""

from __future__ import annotations

import asyncio
from typing import Final

from services.authz.rows import GroupRow, ResourceRow
from services.authz.seeding import finance_reviewer
from tests.conftest import ServiceDatabase
from tests.service.authz_service import AuthzDatabase, RunningAuthz, question, running_authz, standing_still
from tests.service.authz_writer import AUTHOR, writing
from tests.service.history import verdict_of
from tests.service.past import DAY, FIRST_DAY, GRANT, MOMENT, Days, explained

ACME: Final = "space_acme"


async def test_a_revision_that_comes_while_it_is_waited_for_is_answered(authz: RunningAuthz):
    async with writing(authz.database) as writer:
        row = writer.stored("resource", "invoice_001")
        asked = asyncio.create_task(explained(authz, 37))
        await writer.change(("resource", row | {"status": "archived"}))
        assert (await asked).deny_code == "RESOURCE_INACTIVE"


async def test_a_revision_that_is_there_is_answered_while_the_log_cannot_be_followed(authz: RunningAuthz):
    async with writing(authz.database) as writer:
        await authz.become_ready()
        row = writer.stored("resource", "invoice_001")
        with standing_still(authz):
            revision = await writer.change(("resource", row | {"status": "archived"}))
            assert (await explained(authz, revision)).deny_code == "RESOURCE_INACTIVE"


async def test_a_live_decision_asked_again_as_of_its_revision_and_its_time_is_the_same(authz: RunningAuthz):
    async with writing(authz.database) as writer:
        live = await authz.decide()
        row = writer.stored("member_role", GRANT)
        revoked = {"status": "revoked", "revoked_at": "2026-01-01T00:00:00Z"}
        after = await writer.change(("member_role", row | revoked))
        assert (await authz.decide(question(at_least_revision=after)))["deny_code"] == "NO_MATCHING_PERMISSION"
        trace = authz.trace(live["decision_id"])
        for as_of in (live["revision"], live["decided_at"]):
            then = await explained(authz, as_of)
            assert (verdict_of(then), then.revision) == (verdict_of(trace), trace.revision)
        # And what was denied then is still denied then when it is allowed now.
        again = await writer.change(("member_role", row))
        assert (await authz.decide(question(at_least_revision=again)))["allow"]
        assert (await explained(authz, after)).deny_code == "NO_MATCHING_PERMISSION"
        assert (await authz.decide())["allow"], "an answer about the past has come into memory"


async def test_a_validity_is_that_of_the_time_that_is_asked_about(authz_database: ServiceDatabase):
    clock, begins, ends = Days(), FIRST_DAY + 2 * DAY, FIRST_DAY + 4 * DAY
    AuthzDatabase(authz_database).insert_keys()
    async with writing(authz_database, clock) as writer, running_authz(authz_database) as authz:
        await writer.commands.create(AUTHOR, finance_reviewer())
        clock.now += DAY
        row = writer.stored("member_role", GRANT)
        window = {"not_before": begins.isoformat(), "expires_at": ends.isoformat()}
        revision = await writer.change(("member_role", row | window))
        for moment, code in [
            (clock.now - MOMENT, None),
            (clock.now, "NO_MATCHING_PERMISSION"),
            (begins - MOMENT, "NO_MATCHING_PERMISSION"),
            (begins, None),
            (begins + DAY, None),
            (ends, None),
            (ends + MOMENT, "NO_MATCHING_PERMISSION"),
        ]:
            assert (await explained(authz, moment)).deny_code == code, moment
        # As of the revision itself the time is that of the change.
        assert (await explained(authz, revision)).deny_code == "NO_MATCHING_PERMISSION"


async def test_a_grant_that_went_to_another_member_is_that_members_from_then_on_only(authz: RunningAuthz):
    async with writing(authz.database) as writer:
        row = writer.stored("member_role", GRANT)
        given = await writer.change(("member_role", row | {"member_id": "member_invoice_creator"}))
        assert (await explained(authz, given)).deny_code == "NO_MATCHING_PERMISSION"
        assert (await explained(authz, given - 1)).deny_code is None


async def test_an_anchor_has_the_path_that_a_move_further_up_has_left_it(authz: RunningAuthz):
    async with writing(authz.database) as writer:
        row = writer.stored("member_role", GRANT)
        before = await writer.change(("member_role", row | {"scope_anchor_group_id": "group_finance_apac"}))
        after = await writer.move("group_finance", "group_legal")
        for revision, path in [(before, "finance.apac"), (after, "legal.finance.apac")]:
            trace = await explained(authz, revision)
            (candidate,) = trace.candidates
            assert candidate.anchor is not None
            assert trace.target.group is not None
            assert (trace.deny_code, candidate.anchor.path, trace.target.group.path) == (None, path, path)
        live = authz.trace((await authz.decide(question(at_least_revision=after)))["decision_id"])
        assert verdict_of(await explained(authz, after)) == verdict_of(live)


async def test_a_group_a_thousand_deep_has_the_path_it_had_before_one_above_it_was_moved(authz: RunningAuthz):
    async with writing(authz.database) as writer:
        groups, parent, path = [], "group_finance", "finance"
        for level in range(1_000):
            path += f".g{level}"
            groups.append(
                GroupRow(
                    id=f"deep_{level}", space_id=ACME, parent_group_id=parent, key=f"g{level}", name="G", path=path
                )
            )
            parent = f"deep_{level}"
        invoice = ResourceRow(id="deep", resource_type="invoice", space_id=ACME, group_id=parent)
        before = await writer.commands.create(AUTHOR, [*groups, invoice])
        after = await writer.move("deep_0", "group_legal")
        asked = question(resource_id="deep")
        assert (await authz.decide(asked | {"at_least_revision": after}))["deny_code"] == "SCOPE_OUT_OF_BOUNDS"
        then, now = await explained(authz, before, asked), await explained(authz, after, asked)
        assert then.target.group is not None
        assert now.target.group is not None
        assert (then.deny_code, then.target.group.path) == (None, path)
        assert (now.deny_code, now.target.group.path) == ("SCOPE_OUT_OF_BOUNDS", "legal" + path.removeprefix("finance"))
        back = await writer.move("deep_0", "group_finance")
        assert [(await explained(authz, revision, asked)).decision for revision in (before, after, back)] == [
            "allow",
            "deny",
            "allow",
        ]
