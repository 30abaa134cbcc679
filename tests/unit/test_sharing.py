"""Equal texts in memory are one text, and a fact that shares them is equal to what it was."""

from __future__ import annotations

import msgspec

from services.authz.model import Facts
from services.authz.sharing import Texts
from tests.unit.worlds import PLAIN

DECODER = msgspec.json.Decoder(Facts)


def decoded() -> Facts:
    """The plain world with every text a string of its own, as it comes from the database."""
    return DECODER.decode(msgspec.json.encode(PLAIN))


def copy_of(text: str) -> str:
    """The same text as another string."""
    return text.encode().decode()


def test_a_fact_that_shares_its_texts_is_equal_to_what_it_was():
    assert Texts().share(decoded()) == PLAIN


def test_equal_texts_of_two_facts_and_within_one_are_the_same_string():
    texts = Texts()
    one, other = texts.share(decoded()), texts.share(decoded())
    assert one.actor.member is not None
    assert other.actor.user_member is not None
    assert one.actor.member.space_id is other.actor.user_member.space_id
    assert one.granted[0].role.key is other.granted[0].role.key
    assert texts.one(copy_of("space_home")) is one.actor.member.space_id


def test_texts_are_forgotten_at_the_limit_and_met_anew():
    texts = Texts(limit=2)
    first = texts.one(copy_of("one"))
    assert texts.one(copy_of("one")) is first
    for other in ("two", "three"):
        texts.one(other)
    again = copy_of("one")
    assert texts.one(again) is again
    assert again is not first
