"""The Merkle tree hash of RFC 9162 over leaf hashes as they come: memory grows with the logarithm of the tree.

Proofs are built on it later; here is only what names a whole log in 32 bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

# RFC 9162 §2.1.1: the hash of an empty list is the hash of an empty string.
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
HASH_BYTES: Final = 32


def hash_children(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node as RFC 9162 §2.1.1 defines it: SHA-256 of a one byte and both children."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class TreeHash:
    """The hash of a tree that grows leaf by leaf."""

    def __init__(self) -> None:
        """Begin with the empty tree."""
        self.size = 0
        # The roots of the perfect subtrees, largest first: one for each bit that is set in `size` (RFC 9162 §2.1.1 splits
        # at the largest power of two below n, so these are the left children along the right edge).
        self._peaks: list[bytes] = []

    def add(self, leaf_hash: bytes) -> None:
        """Append a leaf by its hash, which `shared.recorded.hash_leaf` makes of its bytes."""
        if len(leaf_hash) != HASH_BYTES:
            raise ValueError(f"a leaf hash has {HASH_BYTES} bytes, not {len(leaf_hash)}")
        node, size = leaf_hash, self.size
        while size & 1:
            node = hash_children(self._peaks.pop(), node)
            size >>= 1
        self._peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Return the tree hash as of now; the tree may grow on."""
        if not self._peaks:
            return EMPTY_ROOT
        *left, node = self._peaks
        for peak in reversed(left):
            node = hash_children(peak, node)
        return node


def tree_hash(leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the tree hash of leaf hashes in their order."""
    tree = TreeHash()
    for leaf_hash in leaf_hashes:
        tree.add(leaf_hash)
    return tree.root()
