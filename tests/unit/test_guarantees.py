"""docs/guarantees.md names, for each of the seven guarantees, tests that exist."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "guarantees.md").read_text(encoding="utf-8")
SECTIONS = {
    section.partition("\n")[0]: section
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    if section[0].isdigit()
}
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


@functools.cache
def named_in(file):
    tree = ast.parse((REPOSITORY / file).read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


def test_the_seven_guarantees_are_there_in_their_order():
    assert list(SECTIONS) == [
        "1. Recorded before answered",
        "2. Delivered exactly once in effect",
        "3. Insert-only",
        "4. Re-derivable",
        "5. No decision crosses a Space",
        "6. Bounded staleness",
        "7. Schema and code agree",
    ]


@pytest.mark.parametrize("title", SECTIONS)
def test_each_guarantee_names_its_proof(title):
    assert re.search(r"`tests/[\w/]+\.py::\w+`", SECTIONS[title])


@pytest.mark.parametrize("file, name", sorted(set(NAMED)))
def test_each_named_test_exists(file, name):
    assert (REPOSITORY / file).exists()
    assert name in named_in(file)


def test_what_looks_like_a_test_is_named_in_full():
    """A name without its file, or with a typo in the form, would escape the checks above."""
    assert re.findall(r"\btest_\w+`", PAGE) == [f"{name}`" for _, name in NAMED]
