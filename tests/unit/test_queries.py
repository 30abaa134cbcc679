"""A `queries.sql` is read strictly: each statement by its name, without its comments."""

from __future__ import annotations

import pytest

from shared.db import load_queries


@pytest.fixture
def read(tmp_path):
    """Read a text as a file of statements."""

    def read(text):
        file = tmp_path / "queries.sql"
        file.write_text(text, encoding="utf-8")
        return load_queries(file)

    return read


def test_statements_are_found_by_name_without_comments_and_semicolon(read):
    first = "-- About the file.\n\n-- name: one\n-- Says one.\nselect 1;\n\n"
    second = "-- name: two\n-- Why.\nselect 2\n    -- or more\n    , 3;\n"
    assert read(first + second) == {"one": "select 1", "two": "select 2\n    , 3"}


@pytest.mark.parametrize(
    "text, fault",
    [
        ("-- name: one\nselect 1;\n-- name: one\nselect 2;\n", "queries.sql: the statement one is given twice"),
        ("-- name: one\n-- Only a comment.\n-- name: two\nselect 2;\n", "queries.sql: the statement one is empty"),
    ],
)
def test_a_statement_that_is_empty_or_given_twice_is_refused(read, text, fault):
    with pytest.raises(ValueError, match=fault):
        read(text)
