"""The tree hash is that of RFC 9162: the classic vectors, and the definition written out beside it."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.merkle import EMPTY_ROOT, TreeHash, tree_hash
from shared.recorded import hash_leaf

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOT = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
HASHES = st.lists(st.binary(min_size=32, max_size=32), max_size=70)


def by_definition(hashes: list[bytes]) -> bytes:
    """RFC 9162 §2.1.1 word for word: split at the largest power of two below n."""
    if len(hashes) < 2:
        return hashes[0] if hashes else hashlib.sha256(b"").digest()
    split = 1 << ((len(hashes) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + by_definition(hashes[:split]) + by_definition(hashes[split:])).digest()


def test_the_classic_leaves_give_the_classic_root():
    assert tree_hash(map(hash_leaf, LEAVES)).hex() == ROOT


def test_the_empty_tree_has_the_hash_of_nothing():
    assert tree_hash([]) == EMPTY_ROOT
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(HASHES)
def test_leaf_by_leaf_it_is_what_the_definition_says(hashes: list[bytes]):
    assert tree_hash(hashes) == by_definition(hashes)


@given(HASHES)
def test_asking_for_the_root_in_between_changes_nothing(hashes: list[bytes]):
    tree = TreeHash()
    for number, leaf_hash in enumerate(hashes, start=1):
        tree.add(leaf_hash)
        assert (tree.size, tree.root()) == (number, by_definition(hashes[:number]))


def test_what_is_no_hash_is_refused():
    with pytest.raises(ValueError, match="32 bytes, not 4"):
        TreeHash().add(b"leaf")
