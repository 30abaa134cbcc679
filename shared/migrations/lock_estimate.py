"""Which locks the statements of a migration take, estimated from their text (PostgreSQL documentation, §13.3).

A guide for people, not a proof: what functions, triggers and `do` bodies do isn't looked into, and foreign keys are seen
only where their `references` stands. What a migration makes itself is left out: nobody else can be waiting for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from shared.migrations.statements import split_statements

Tokens = list[str]

# From the weakest to the strongest, each with what it keeps others from.
BLOCKS: Final = {
    "ROW EXCLUSIVE": "building of indexes and changes of the table's form; of the rows only those that change",
    "SHARE UPDATE EXCLUSIVE": "vacuum and changes of the table's form; not reading or writing",
    "SHARE": "all writing; not reading",
    "SHARE ROW EXCLUSIVE": "all writing; not reading",
    "EXCLUSIVE": "all but plain reading",
    "ACCESS EXCLUSIVE": "all reading and writing",
    "unknown": "not to be told from the text",
}
_ORDER: Final = list(BLOCKS)
_FILLERS: Final = {
    "if",
    "not",
    "exists",
    "only",
    "concurrently",
    "unique",
    "temporary",
    "temp",
    "unlogged",
    "or",
    "replace",
}
_WEAK_ALTERATIONS: Final[dict[tuple[str, ...], str]] = {
    ("validate", "constraint"): "SHARE UPDATE EXCLUSIVE",
    ("attach", "partition"): "SHARE UPDATE EXCLUSIVE",
    ("enable", "trigger"): "SHARE ROW EXCLUSIVE",
    ("disable", "trigger"): "SHARE ROW EXCLUSIVE",
    ("cluster", "on"): "SHARE UPDATE EXCLUSIVE",
    ("set", "("): "SHARE UPDATE EXCLUSIVE",
    ("reset", "("): "SHARE UPDATE EXCLUSIVE",
}


class LockTaken(msgspec.Struct, frozen=True, kw_only=True):
    """A lock on an object, and what others can't do with it until the migration is done."""

    object: str
    mode: str
    blocks: str


def estimate_locks(text: str) -> list[LockTaken]:
    """Return the strongest lock that a text takes on each object that it names and doesn't make, in their order."""
    made: set[str] = set()
    taken: dict[str, str] = {}
    for statement in split_statements(text):
        for name, mode in _locks_of(statement):
            if name not in made and _ORDER.index(mode) >= _ORDER.index(taken.get(name, mode)):
                taken[name] = mode
        if statement[0] == "create" and "table" in statement[1:3]:
            made.add(_name_after(statement, "table"))
    return [LockTaken(object=name, mode=mode, blocks=BLOCKS[mode]) for name, mode in taken.items()]


def _locks_of(statement: Tokens) -> Iterator[tuple[str, str]]:
    """Yield the objects that one statement locks, each with the mode."""
    is_concurrent = "concurrently" in statement[:4]
    match [word for word in statement if word not in _FILLERS][:2]:
        case ["create", "index"]:
            yield _name_after(statement, "on"), "SHARE UPDATE EXCLUSIVE" if is_concurrent else "SHARE"
        case ["create", "table"]:
            yield from ((name, "SHARE ROW EXCLUSIVE") for name in _names_after_each(statement, "references"))
            if "partition" in statement and "of" in statement:
                yield _name_after(statement, "of"), "ACCESS EXCLUSIVE"
        case ["create" | "drop", "trigger"]:
            # A constraint trigger is told of as what it is; its table stands after `on` all the same.
            yield (
                _name_after(statement, "on"),
                "SHARE ROW EXCLUSIVE" if statement[0] == "create" else "ACCESS EXCLUSIVE",
            )
        case ["create" | "alter" | "drop", "policy" | "rule"]:
            yield _name_after(statement, "on" if "on" in statement else "to"), "ACCESS EXCLUSIVE"
        case ["alter", "table"]:
            yield _name_after(statement, "table"), _alteration(statement)
            yield from ((name, "SHARE ROW EXCLUSIVE") for name in _names_after_each(statement, "references"))
        case ["drop", "index"]:
            mode = "SHARE UPDATE EXCLUSIVE" if is_concurrent else "ACCESS EXCLUSIVE"
            yield from ((f"{name} and its table", mode) for name in _list_after(statement, "index"))
        case ["drop", "table" | "view" | "sequence" as kind]:
            yield from ((name, "ACCESS EXCLUSIVE") for name in _list_after(statement, kind))
        case ["truncate", *_]:
            yield from ((name, "ACCESS EXCLUSIVE") for name in _list_after(statement, "table", "truncate"))
        case ["alter", "index" | "sequence" | "view" as kind]:
            yield _name_after(statement, kind), "SHARE UPDATE EXCLUSIVE" if kind == "index" else "ACCESS EXCLUSIVE"
        case ["lock", *_]:
            mode = " ".join(statement[statement.index("in") + 1 : statement.index("mode")]) if "in" in statement else ""
            name = _name_after(statement, "table" if "table" in statement else "lock")
            yield name, mode.upper() if mode.upper() in BLOCKS else "ACCESS EXCLUSIVE"
        case ["insert" | "delete" | "merge", _]:
            yield _name_after(statement, "from" if statement[0] == "delete" else "into"), "ROW EXCLUSIVE"
        case ["update", _]:
            yield _name_after(statement, "update"), "ROW EXCLUSIVE"
        case ["with", _]:
            for verb in ("into", "update", "from"):
                yield from ((name, "ROW EXCLUSIVE") for name in _names_after_each(statement, verb))
        case ["comment", "on"] if "table" in statement[:4] or "column" in statement[:4]:
            name = _name_after(statement, "table" if "table" in statement[:4] else "column")
            yield name if "table" in statement[:4] else name.rpartition(".")[0], "SHARE UPDATE EXCLUSIVE"
        case ["do" | "call", *_] | ["reindex" | "cluster" | "refresh", *_]:
            yield f"({statement[0]} …)", "unknown"


def _alteration(statement: Tokens) -> str:
    """Return the mode of an `alter table`: that of the strongest of its actions."""
    actions = _split_at_commas(statement[_end_of_name(statement, "table") :])
    return max((_mode_of_action(action) for action in actions), key=_ORDER.index)


def _mode_of_action(action: Tokens) -> str:
    if action[:1] == ["add"] and "foreign" in action[:5]:
        return "SHARE ROW EXCLUSIVE"
    if action[:1] == ["alter"] and "statistics" in action:
        return "SHARE UPDATE EXCLUSIVE"
    return _WEAK_ALTERATIONS.get(tuple(action[:2]), "ACCESS EXCLUSIVE")


def _split_at_commas(tokens: Tokens) -> list[Tokens]:
    parts: list[Tokens] = [[]]
    depth = 0
    for piece in tokens:
        depth += {"(": 1, ")": -1}.get(piece, 0)
        if piece == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(piece)
    return parts


def _name_after(statement: Tokens, word: str) -> str:
    """Return the qualified name that stands after a word."""
    start = _start_of_name(statement, word)
    return "".join(statement[start : _end_from(statement, start)])


def _list_after(statement: Tokens, *words: str) -> Iterator[str]:
    """Yield the names, separated by commas, after the first of the words that is there."""
    word = next(word for word in words if word in statement)
    for part in _split_at_commas(statement[_start_of_name(statement, word) :]):
        yield "".join(part[: _end_from(part, 0)])


def _names_after_each(statement: Tokens, word: str) -> Iterator[str]:
    for position, token in enumerate(statement[:-1]):
        if token == word:
            yield _name_after(statement[position:], word)


def _start_of_name(statement: Tokens, word: str) -> int:
    start = statement.index(word) + 1
    while start < len(statement) and statement[start] in _FILLERS:
        start += 1
    return start


def _end_of_name(statement: Tokens, word: str) -> int:
    return _end_from(statement, _start_of_name(statement, word))


def _end_from(tokens: Tokens, start: int) -> int:
    end = start + 1
    while tokens[end : end + 1] == ["."]:
        end += 2
    return end
