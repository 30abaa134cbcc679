"""What goes wrong with the embedded PostgreSQL, told to the person who started it."""

from __future__ import annotations


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL can't be run; the text says what was found and what to do."""
