"""An entry of the cache is believed only while nothing that it depends on has changed since it was read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.authz.cache import Cache, Changes, Entry

TOKENS = ["a", "b", "c", "d"]


def entry(revision: int, *tokens: str) -> Entry[int]:
    return Entry(revision, revision, tokens)


def test_an_entry_is_good_until_one_of_its_tokens_is_marked():
    changes = Changes()
    read_at_5 = entry(5, "a", "b")
    assert changes.is_good(read_at_5)
    changes.mark(["c"], 6)
    assert changes.is_good(read_at_5)
    changes.mark(["b"], 7)
    assert not changes.is_good(read_at_5)
    assert changes.is_good(entry(7, "a", "b"))


def test_a_change_that_the_entry_was_read_after_does_not_end_it():
    changes = Changes()
    changes.mark(["a"], 5)
    assert changes.is_good(entry(5, "a"))
    assert changes.is_good(entry(6, "a"))
    assert not changes.is_good(entry(4, "a"))


def test_marks_that_are_forgotten_end_everything_read_before():
    changes = Changes(limit=2)
    changes.mark(["a"], 1)
    changes.mark(["b"], 2)
    changes.mark(["c"], 3)
    assert not changes.is_good(entry(0, "a"))
    assert not changes.is_good(entry(2, "z"))
    assert changes.is_good(entry(3, "a", "b", "c"))


def test_the_memory_of_marks_stays_within_its_limit():
    changes = Changes(limit=10)
    for revision in range(1, 1000):
        changes.mark([f"token:{revision}"], revision)
        assert len(changes._marked) <= 10


@given(
    st.lists(st.lists(st.sampled_from(TOKENS), min_size=1, max_size=3), max_size=25),
    st.integers(0, 25),
    st.lists(st.sampled_from(TOKENS), max_size=3),
    st.integers(1, 6),
)
def test_no_entry_is_believed_after_a_change_whatever_was_forgotten(marked, read_at, depends_on, limit):
    changes = Changes(limit)
    for revision, tokens in enumerate(marked, start=1):
        changes.mark(tokens, revision)
    changed = any(
        token in depends_on for revision, tokens in enumerate(marked, start=1) if revision > read_at for token in tokens
    )
    if changed:
        assert not changes.is_good(entry(read_at, *depends_on))
    elif limit > len(TOKENS):
        assert changes.is_good(entry(read_at, *depends_on))


def test_what_is_good_is_found_and_counted():
    cache: Cache[str, int] = Cache(Changes(), limit=10)
    assert cache.get("x") is None
    cache.put("x", entry(1, "a"))
    found = cache.get("x")
    assert found is not None
    assert found.value == 1
    assert (cache.hits, cache.misses) == (1, 1)


def test_what_is_good_no_more_is_dropped():
    changes = Changes()
    cache: Cache[str, int] = Cache(changes, limit=10)
    cache.put("x", entry(1, "a"))
    changes.mark(["a"], 2)
    assert cache.get("x") is None
    assert len(cache) == 0


def test_beyond_the_limit_the_least_recently_used_goes():
    cache: Cache[str, int] = Cache(Changes(), limit=3)
    for name in "abc":
        cache.put(name, entry(1))
    cache.get("a")
    cache.put("d", entry(1))
    assert cache.get("b") is None
    assert all(cache.get(name) for name in "acd")
    assert len(cache) == 3


def test_a_newer_entry_replaces_the_one_under_its_key():
    cache: Cache[str, int] = Cache(Changes(), limit=3)
    cache.put("x", entry(1))
    cache.put("x", entry(2))
    found = cache.get("x")
    assert found is not None
    assert (found.value, len(cache)) == (2, 1)
