"""Evens out how PostgreSQL writes an expression, which isn't the same before and after a dump.

`a and b and c` is kept as it was grouped when it was parsed: typed in as `between 1 and 9 and …` it is written
`(((x >= 1) AND (x <= 9)) AND …)`, and read again from that text `((x >= 1) AND (x <= 9) AND …)`. Both mean the same.
"""

from __future__ import annotations

import re
from typing import Any, Final

# Attributes that hold expressions or statements.
EXPRESSIONS: Final = frozenset({"definition", "default", "generated", "using", "check", "sql_body", "partition_bound"})
_TOKEN: Final = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|[()]|\w+|[^\w'"()]+""")
_Tree = list[Any]  # of texts and trees: a tree is what stands between two parentheses


def even_out(text: str) -> str:
    """Return an expression with each chain of `and`, and each of `or`, on one level."""
    if " AND " not in text and " OR " not in text:
        return text
    root: _Tree = []
    open_: list[_Tree] = [root]
    for token in _TOKEN.findall(text):
        if token == "(":
            tree: _Tree = []
            open_[-1].append(tree)
            open_.append(tree)
        elif token == ")":
            if len(open_) == 1:
                return text  # no expression of the server's writing
            open_.pop()
        else:
            open_[-1].append(token)
    return _written(_flat(root))


def _flat(tree: _Tree) -> _Tree:
    parts = [_flat(part) if isinstance(part, list) else part for part in tree]
    word = _chain(parts)
    if word is None:
        return parts
    flat: _Tree = []
    for number, part in enumerate(parts):
        if isinstance(part, list) and _chain(part) == word and _is_operand(parts, number, word):
            flat += part
        else:
            flat.append(part)
    return flat


def _chain(parts: _Tree) -> str | None:
    """Return the word that joins the parts, if it is one and the same and joins nothing but groups and terms."""
    words = {part for part in parts if part in ("AND", "OR", "BETWEEN")}
    return words.pop() if len(words) == 1 and "BETWEEN" not in words else None


def _is_operand(parts: _Tree, number: int, word: str) -> bool:
    """Tell whether a group is an operand as a whole: nothing but space lies between it and the joining words, or the ends."""
    around = [part for part in parts[:number] if not _is_space(part)][-1:]
    around += [part for part in parts[number + 1 :] if not _is_space(part)][:1]
    return all(part == word for part in around)


def _is_space(part: Any) -> bool:
    return isinstance(part, str) and part.isspace()


def _written(tree: _Tree) -> str:
    return "".join(f"({_written(part)})" if isinstance(part, list) else part for part in tree)
