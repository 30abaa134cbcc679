"""Finds the statements in a migration's text, to see what kind they are; what runs is always the whole file.

The server itself takes a file apart. A client-side splitter is only good for looking, and a common one gets nested
comments and columns named `begin` wrong, so ours follows the lexical rules (PostgreSQL documentation §4.1): quotes,
escape strings, dollar quotes, nested comments, and `begin atomic` bodies.
"""

from __future__ import annotations

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
    statements: list[list[str]] = []
    current: list[str] = []
    atomic = 0  # depth of `begin atomic … end` and of `case … end` in it
    for piece in _tokens(text):
        if piece == ";" and not atomic:
            statements.append(current)
            current = []
            continue
        if piece == "atomic" and current[-1:] == ["begin"]:
            atomic = 1
        elif atomic:
            atomic += {"case": 1, "end": -1}.get(piece, 0)
        current.append(piece)
    statements.append(current)
    return [statement for statement in statements if statement]


def forbidden_statements(text: str) -> list[str]:
    """Return the beginnings of those statements that a migration file must not hold, such as `commit`."""
    return [
        " ".join(statement[: len(words)])
        for statement in split_statements(text)
        for words in _FORBIDDEN
        if tuple(statement[: len(words)]) == words
    ]


def _tokens(text: str) -> Iterator[str]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:  # cannot be: `other` takes anything
            raise AssertionError(position)
        position = match.end()
        if match.lastgroup == "block":
            position = _end_of_comment(text, position)
        elif match.lastgroup == "word":
            yield match.group().lower()
        elif match.lastgroup != "space":
            yield match.group()


def _end_of_comment(text: str, position: int) -> int:
    """Return where a block comment ends; in SQL they nest."""
    depth = 1
    while depth and (edge := _BLOCK_EDGE.search(text, position)):
        depth += 1 if edge.group() == "/*" else -1
        position = edge.end()
    return position if depth == 0 else len(text)
