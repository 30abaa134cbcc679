"""What a mutation is: a change by SQL, and what the check must say of it."""

from __future__ import annotations

import msgspec


class Mutation(msgspec.Struct, frozen=True, kw_only=True):
    """A change to a database that a superuser makes, and the object and the attribute that must be named for it.

    `where` is `authz`, `audit` or `fixture`; `since` the PostgreSQL major that knows the statement. With `alone`, nothing
    else may be named.
    """

    where: str
    sql: str
    object: str
    attribute: str | None = None
    alone: bool = True
    since: int = 15

    @property
    def kind(self) -> str:
        """The kind of the object and the attribute, without the member of it."""
        return (self.attribute or "whole").partition(".")[0]


class NoOp(msgspec.Struct, frozen=True, kw_only=True):
    """A change after which the schema is what it was, so that nothing may be named."""

    where: str
    name: str
    sql: str
