"""Whatever byte of a trace is changed: either it can't be read, or it is found, or it says nothing that is derived."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from services.authz.model import RequestOrigin
from services.authz.settled import give, settle
from shared.ctl.evaluation import written
from shared.ctl.rederivation import part_from_history, part_from_trace
from shared.ctl.trace import Facts, Trace, UnreadableTrace, read_trace
from tests.unit.worlds import NOW, PLAIN, QUESTION, granted, holding, put

# In each of them all that was asked about exists: of what doesn't, the question alone tells the id.
WORLDS = {
    "allowed": holding(
        granted("group"), granted(grant_id="grant_2", condition={"tier": 1}), granted(grant_id="grant_3")
    ),
    "out of bounds": holding(granted("group"), granted("self", grant_id="grant_2", expires_at=NOW)),
    "inactive": put(PLAIN, "actor.user.status", "disabled"),
}
ID = "019a0000-0000-7000-8000-000000000001"
ORIGIN = RequestOrigin(
    credential_id="c", inline=False, ip=None, request_id="r", span_id=None, trace_id=None, user_agent=None
)


def told_of(facts: Any) -> bytes:
    """An event with the trace of the plain question."""
    return b'{"data":%b}' % give(settle(facts, QUESTION, NOW, ()), NOW, 7, ID, ORIGIN).trace


def derivable(trace: Trace) -> bytes:
    """All of a trace but what places it: when, as of which revision, from which request."""
    fields = msgspec.structs.asdict(trace)
    return written({name: fields[name] for name in fields if name not in ("decided_at", "revision", "inline")})


@pytest.mark.parametrize("name", WORLDS)
def test_a_byte_that_is_changed_is_found_wherever_it_means_something(name: str) -> None:
    leaf = told_of(WORLDS[name])
    stored = msgspec.json.decode(msgspec.json.encode(WORLDS[name]), type=Facts)
    recorded = read_trace(leaf)
    assert part_from_trace(recorded, ID) is None
    assert part_from_history(recorded, stored) is None
    found = 0
    for place in range(len(leaf)):
        for byte in b'x1"{':
            changed = leaf[:place] + bytes([byte]) + leaf[place + 1 :]
            try:
                trace = read_trace(changed)
            except UnreadableTrace:
                continue
            parted = part_from_trace(trace, ID) or part_from_history(trace, stored)
            assert parted is None or parted != ""
            if derivable(trace) != derivable(recorded):
                assert parted, changed[max(0, place - 60) : place + 30]
                found += 1
    assert found > 100


def test_a_difference_far_down_is_told_as_a_whole() -> None:
    value: Any = 1
    for _ in range(200):
        value = {"a": value}
    facts = put(PLAIN, "target.resource.properties", {"deep": value})
    stored = msgspec.json.decode(msgspec.json.encode(facts).replace(b'"a":1', b'"a":2'), type=Facts)
    parted = part_from_history(read_trace(told_of(facts)), stored)
    assert parted is not None
    assert parted.startswith("target.resource.properties.deep.a.a.")
