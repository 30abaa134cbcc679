"""Finds the statements in a migration's text, to see what kind they are; what runs is always the whole file.

The server itself takes a file apart. A client-side splitter is only good for looking, and a common one gets nested
comments and columns named `begin` wrong, so ours follows the lexical rules (PostgreSQL documentation §4.1): quotes,
escape strings, dollar quotes, nested comments, and `begin atomic` bodies.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Final

_TOKEN: Final = re.compile(
    r"""
      (?P<space>\s+ | --[^\n]*)
    | (?P<block>/\*)
    | (?P<escape>[eE]'(?:[^'\\]|\\.|'')*')
    | (?P<quoted>'(?:[^']|'')*' | "(?:[^"]|"")*")
    | (?P<dollar>\$(?P<tag>(?:[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)?)\$.*?\$(?P=tag)\$)
    | (?P<word>[A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_WORD: Final = re.compile(r"[A-Za-z_\x80-\U0010ffff]")
_APART: Final = ",;()[]"
_BLOCK_EDGE: Final = re.compile(r"/\*|\*/")

# Statements that end or part the runner's transaction, change who executes, or speak to the client.
_FORBIDDEN: Final = (
    ("abort",),
    ("begin",),
    ("commit",),
    ("end",),
    ("prepare", "transaction"),
    ("release",),
    ("reset", "role"),
    ("reset", "session", "authorization"),
    ("rollback",),
    ("savepoint",),
    ("set", "role"),
    ("set", "session", "authorization"),
    ("set", "local", "role"),
    ("set", "session", "role"),
    ("set", "transaction"),
    ("discard",),
    ("start", "transaction"),
)


def split_statements(text: str) -> list[list[str]]:
    """Return the statements of an SQL text as tokens: words in lower case, quoted things and symbols as they are."""
    return [statement for _, statement in located_statements(text)]


def located_statements(text: str) -> list[tuple[int, list[str]]]:
    """Return each statement of an SQL text as tokens, with the number of the line on which it begins."""
    statements: list[tuple[int, list[str]]] = []
    current: list[str] = []
    first = 0
    atomic = 0  # depth of `begin atomic … end` and of `case … end` in it
    for piece, _, place in _tokens(text):
        if piece == ";" and not atomic:
            statements.append((first, current))
            current = []
            continue
        if piece == "atomic" and current[-1:] == ["begin"]:
            atomic = 1
        elif atomic:
            atomic += {"case": 1, "end": -1}.get(piece, 0)
        if not current:
            first = text.count("\n", 0, place) + 1
        current.append(piece)
    statements.append((first, current))
    return [(line, statement) for line, statement in statements if statement]


def forbidden_statements(text: str) -> list[str]:
    """Return the beginnings of those statements that a migration file must not hold, such as `commit`."""
    return [
        " ".join(statement[: len(words)])
        for statement in split_statements(text)
        for words in _FORBIDDEN
        if tuple(statement[: len(words)]) == words
    ]


def digest_of_statements(text: str) -> str:
    """Return a SHA-256 that comments, case of words and most spacing don't change, and anything else does.

    Spacing counts where it may part what would otherwise be one token, such as `1 2` or `< =`.
    """
    pieces: list[str] = []
    for piece, is_apart, _ in _tokens(text):
        if is_apart and pieces and _may_join(pieces[-1], piece):
            pieces.append(" ")
        pieces.append(piece)
    return hashlib.sha256("\0".join(pieces).encode()).hexdigest()


def _may_join(left: str, right: str) -> bool:
    """Tell whether two tokens could be others if nothing stood between them."""
    if left[-1] in _APART or right[0] in _APART:
        return False
    left_is_word, right_is_word = bool(_WORD.match(left)), bool(_WORD.match(right))
    if left_is_word:
        return right[0] in "'&"
    return not right_is_word or left[-1].isdigit()


def _tokens(text: str) -> Iterator[tuple[str, bool, int]]:
    """Yield each token, whether a space or a comment stands before it, and its place."""
    position = 0
    is_apart = False
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:  # cannot be: `other` takes anything
            raise AssertionError(position)
        position = match.end()
        if match["space"] is not None or match["block"] is not None:
            position = position if match["block"] is None else _end_of_comment(text, position)
            is_apart = True
            continue
        yield (match.group() if match["word"] is None else match.group().lower()), is_apart, match.start()
        is_apart = False


def _end_of_comment(text: str, position: int) -> int:
    """Return where a block comment ends; in SQL they nest."""
    depth = 1
    while depth and (edge := _BLOCK_EDGE.search(text, position)):
        depth += 1 if edge.group() == "/*" else -1
        position = edge.end()
    return position if depth == 0 else len(text)
