"""The permission graph as its tables hold it, read past the service, and what is answered on it.

Facts are put together from rows by `facts_from`, by brute force; nothing here reads a cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import psycopg

from services.authz.engine import decide
from services.authz.model import ActorIds, Facts, Question, TargetFacts
from tests.service.graph_model import DEFAULTS, IN_SPACE, LINKS, Row, Rows, timed
from tests.service.history import facts_from, target_from

_LINKS: Final = [(noun, field, target) for noun, links in LINKS.items() for field, target in links.items()]
_FOREIGN: Final = " union all ".join(
    f"select t.id || ' {noun}.{field}' from authz.{noun} t left join authz.{target} o on o.id = t.{field} where"
    f" t.{field} is not null and {'o.space_id is distinct from t.space_id' if target in IN_SPACE else 'o.id is null'}"
    for noun, field, target in _LINKS
)
_TABLES: Final = ", ".join(
    f"'{noun}', (select coalesce(jsonb_agg(to_jsonb(t)), '[]') from authz.{noun} t)" for noun in DEFAULTS
)
_READ: Final = f"""
select jsonb_build_object(
    'rows', jsonb_build_object({_TABLES}),
    'foreign', (select coalesce(jsonb_agg(f), '[]') from ({_FOREIGN}) f),
    'events', (select count(*) from authz.event),
    'last', (select to_jsonb(e) from authz.event e order by revision desc limit 1),
    'outbox', (select coalesce(sum(last_sequence - first_sequence + 1), 0) from authz.outbox
               join authz.outbox_writer using (writer_id) where stream = 'changes'),
    'keys', (select coalesce(jsonb_agg(key order by key), '[]') from authz.idempotency_key)
)"""


class World(NamedTuple):
    """What is stored at one moment: the rows, the newest event, how many events there are and are to be delivered.

    `foreign` names every link that leads to nothing or into another Space, `keys` the Idempotency-Keys that are kept.
    """

    rows: Rows
    foreign: list[Any]
    events: int
    last: Row
    outbox: int
    keys: list[str]


Answers = dict[Question, tuple[str, str | None]]


def read_world(connection: psycopg.Connection[Any]) -> World:
    """Read everything in one statement."""
    ((found,),) = connection.execute(_READ).fetchall()
    rows = {
        noun: {
            ((row["resource_type"], row["id"]) if noun == "resource" else (row["id"],)): timed(row) for row in listed
        }
        for noun, listed in found.pop("rows").items()
    }
    return World(rows, **found)


def plain_rows(rows: Rows) -> dict[str, dict[str, Row]]:
    """Rows as a history tells them."""
    return {noun: {"/".join(identity): row for identity, row in of.items()} for noun, of in rows.items()}


def questions_of(rows: Rows) -> Iterator[Question]:
    """Every binding with every registered action on every resource."""
    for binding in rows["user_member"].values():
        actor = ActorIds(
            member_id=binding["member_id"],
            space_id=binding["space_id"],
            user_id=binding["user_id"],
            user_member_id=binding["id"],
        )
        for action in rows["resource_action"].values():
            for resource_type, id_ in rows["resource"]:
                if resource_type == action["resource_type"]:
                    yield Question(action=action["key"], actor=actor, resource_id=id_, resource_type=resource_type)


def answers_of(rows: Rows, questions: Iterable[Question], now: datetime) -> Answers:
    """What each question is answered on these rows: the decision and its deny code."""
    plain = plain_rows(rows)
    targets = {identity: target_from(plain, *identity) for identity in rows["resource"]}
    nothing = TargetFacts(group=None, resource=None)
    alike: dict[tuple[ActorIds, str, str], Facts] = {}
    answers: Answers = {}
    for question in questions:
        # Most of the facts are the same for every resource.
        key = (question.actor, question.resource_type, question.action)
        if key not in alike:
            alike[key] = facts_from(plain, question)
        target = targets.get((question.resource_type, question.resource_id), nothing)
        verdict = decide(msgspec.structs.replace(alike[key], target=target), question, now)
        answers[question] = (verdict.decision, verdict.deny_code)
    return answers
