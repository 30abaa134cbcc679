"""What must hold of both databases after whatever happened, looked at by plain SQL and none of the services' code.

Each fault is a sentence; a proof is an empty list of them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, LiteralString

import msgspec
import psycopg
import zstandard

from tests.conftest import connect
from tests.stack.load import Asked
from tests.stack.pair import Pair

Connection = psycopg.Connection[tuple[Any, ...]]

# What a client may be told while something is broken, always with Retry-After.
EXCUSES: Final = frozenset({"decision_not_recorded", "facts_unavailable", "database_unavailable", "outbox_full"})

# Each statement returns rows only where a law of the log is broken.
_LAWS: Final[dict[str, LiteralString]] = {
    "log indexes run from 0 without a gap": (
        "select min(log_index), max(log_index), count(*) from audit.entry"
        " having min(log_index) <> 0 or max(log_index) + 1 <> count(*)"
    ),
    "an event is in the log once": "select event_id, count(*) from audit.entry group by event_id having count(*) > 1",
    "a decision has one entry": (
        "select leaf_id, count(*) from (select convert_from(leaf, 'UTF8')::json ->> 'event_id' as leaf_id"
        " from audit.entry) e group by leaf_id having count(*) > 1"
    ),
    "every entry is found by its event, and no other": (
        "select e.event_id, b.event_id from audit.entry e full join audit.entry_by_event b"
        " on (b.event_id, b.log_index) = (e.event_id, e.log_index) where b.event_id is null or e.event_id is null"
    ),
    "a producer's sequence runs from 0 without a gap": (
        "select source, epoch, min(sequence), max(sequence), count(*) from audit.entry group by source, epoch"
        " having min(sequence) <> 0 or max(sequence) + 1 <> count(*)"
    ),
    "a producer's events are in the log in its order": (
        "select source, epoch, sequence, before from (select source, epoch, sequence,"
        " lag(sequence) over (partition by source, epoch order by log_index) as before from audit.entry) e"
        " where before >= sequence"
    ),
    "time does not run backwards in the log": (
        "select log_index from (select log_index, recorded_at < lag(recorded_at) over (order by log_index) as earlier"
        " from audit.entry) e where earlier"
    ),
    "an entry's hash is that of its bytes": (
        "select log_index from audit.entry where leaf_hash <> sha256('\\x00'::bytea || leaf)"
    ),
    "an entry's columns say what its bytes say": (
        "select log_index from (select e.*, convert_from(leaf, 'UTF8')::json as event from audit.entry e) e"
        " where event ->> 'event_id' <> event_id::text or event ->> 'source' <> source"
        " or (event ->> 'epoch')::bigint <> epoch or (event ->> 'sequence')::bigint <> sequence"
        " or event #>> '{data,decision}' is distinct from decision"
        " or event #>> '{data,deny_code}' is distinct from deny_code"
        " or event #>> '{data,request,request_id}' is distinct from request_id"
    ),
}


def faults_of(pair: Pair, asked: Iterable[Asked], *, complete: bool = True) -> list[str]:
    """Look for every fault there can be; `complete` means that all that authz recorded must be in audit by now."""
    with (
        connect(pair.databases["audit"].superuser_dsn) as audit,
        connect(pair.databases["authz"].superuser_dsn) as authz,
    ):
        return [
            *(f"not so: {law}: {row}" for law, query in _LAWS.items() for row in audit.execute(query).fetchall()[:3]),
            *_faults_of_answers(list(asked)),
            *_faults_of_decisions(audit, list(asked), complete=complete),
            *_faults_of_bytes(audit, authz, complete=complete),
        ]


def outbox_leaves(authz: Connection) -> dict[str, bytes]:
    """The events that authz's outbox still holds, delivered or not, by id."""
    rows = authz.execute("select events from authz.outbox").fetchall()
    commits = [b"[" + zstandard.decompress(row[0]) + b"]" for row in rows]
    leaves = [bytes(raw) for commit in commits for raw in msgspec.json.decode(commit, type=list[msgspec.Raw])]
    return {msgspec.json.decode(leaf)["event_id"]: leaf for leaf in leaves}


def _faults_of_answers(asked: list[Asked]) -> list[str]:
    """Find answers that nobody should get, whatever is broken."""
    faults = []
    for one in asked:
        expected = (one.question.decision, one.question.deny_code)
        is_right = one.is_answered and (one.decision, one.deny_code) == expected
        is_excuse = one.status == 503 and one.code in EXCUSES and one.retry_after is not None
        if (one.end == "answered" and not (is_right or is_excuse)) or "Timeout" in one.why:
            faults.append(f"{one.request_id} came back as {one}")
    return faults


def _faults_of_decisions(audit: Connection, asked: list[Asked], *, complete: bool) -> list[str]:
    """Compare what clients were told with what the log says of the same requests."""
    rows = audit.execute(
        "select request_id, event_id::text, decision, deny_code, user_id, action, resource_id from audit.entry"
        " where kind = 'decision.made'"
    ).fetchall()
    questions = {one.request_id: one for one in asked}
    times = Counter(row[0] for row in rows)
    faults = [f"{request_id} is {count} times in the log" for request_id, count in times.items() if count > 1]
    for request_id, event_id, decision, deny_code, *subject in rows:
        one = questions.get(request_id)
        if one is None:
            faults.append(f"{request_id} is in the log, and nobody asked it")
            continue
        question = one.question
        if subject != [question.user_id, question.action, question.resource_id]:
            faults.append(f"{request_id} asked {question.text!r}, the log has {subject}")
        if (decision, deny_code) != (question.decision, question.deny_code):
            faults.append(f"{request_id}: {question.text!r} was decided {decision} {deny_code}")
        if one.is_answered and (event_id, decision, deny_code) != (one.decision_id, one.decision, one.deny_code):
            faults.append(f"{request_id} was answered {one}, the log has {event_id} {decision} {deny_code}")
    if complete:
        found = {row[1] for row in rows}
        lost = [one.request_id for one in asked if one.is_answered and one.decision_id not in found]
        faults += [f"{len(lost)} answers are not in the log: {lost[:5]}"] if lost else []
    return faults


def _faults_of_bytes(audit: Connection, authz: Connection, *, complete: bool) -> list[str]:
    """Compare the log with what authz's own tables still hold of the same events."""
    leaves = outbox_leaves(authz)
    rows = audit.execute(
        "select event_id::text, leaf, leaf_hash from audit.entry where event_id = any(%s::uuid[])", [list(leaves)]
    ).fetchall()
    faults = [
        f"{event_id} has other bytes in the log than in the outbox"
        for event_id, leaf, leaf_hash in rows
        if leaves[event_id] != leaf or leaf_hash != hashlib.sha256(b"\0" + leaf).digest()
    ]
    if complete and len(rows) != len(leaves):
        faults.append(f"of {len(leaves)} events in the outbox {len(rows)} are in the log")
    changes = {row[0] for row in authz.execute("select event_id::text from authz.event").fetchall()}
    logged = audit.execute("select event_id::text from audit.entry where source = 'authz.changes'").fetchall()
    if complete and {row[0] for row in logged} != changes:
        faults.append(f"of {len(changes)} changes {len(logged)} are in the log")
    refused = authz.execute("select writer_id, sequence, problem from authz.outbox_refused").fetchall()
    return faults + [f"audit refused {row}" for row in refused]
