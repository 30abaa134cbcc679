"""Many rows in one request, line by line: the good ones are written, each bad one is told with its line and its fault.

A request is one transaction under the journal's lock. A line whose id is there already with the same values is left as
it is, so that a repetition is harmless; what was disabled, revoked or archived since stays so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from services.authz.commands import Commands, Outcome, making, refuse_expired
from services.authz.directory import READING_MANY, plain
from services.authz.idempotency import Once
from services.authz.images import is_same, plain_values
from services.authz.journal import Author, Change, Violation
from services.authz.laws import problem_of
from services.authz.nouns import NOUNS, Noun, line_form
from services.authz.store import SQL
from shared.db import Session
from shared.identifiers import new_id
from shared.problems import Problem, ProblemError, retry_later
from shared.web.strict import decode_strict

MAX_LINES: Final = 1_000
MAX_DECODED_BYTES: Final = 4 * 1024 * 1024
IMPORTED: Final = ("user", "member", "user_member", "member_role", "resource")
LINE_FORMS: Final = {name: line_form(NOUNS[name]) for name in IMPORTED}
_SLICE: Final = 50
_MOMENTS: Final = ("not_before", "expires_at")
# Keys of a line that are no values of the row.
_ABOUT: Final = frozenset({"noun", "reason"})

Identity = tuple[str | None, ...]


def _new_decoder() -> msgspec.json.Decoder[Any]:
    first, *others = LINE_FORMS.values()
    union: Any = first
    for form in others:
        union |= form
    return msgspec.json.Decoder(union)


def _defaults(noun: Noun) -> dict[str, Any]:
    """Return a row of nothing but defaults, as its event has them."""
    fields = msgspec.structs.fields(noun.row)
    return {
        f.name: f.default_factory() if f.default_factory is not msgspec.NODEFAULT else f.default
        for f in fields
        if not f.required
    }


_DECODER: Final = _new_decoder()
_DEFAULTS: Final = {name: _defaults(NOUNS[name]) for name in IMPORTED}


class LineError(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a line of the request, the first being 1: a code of the list of problems, and where in the line."""

    line: int
    code: str
    detail: str
    pointer: str | None = None


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the lines of a request; `revision` is that of the permission graph with them.

    `created` counts revoked grants that were granted again, too.
    """

    created: int
    unchanged: int
    failed: int
    errors: list[LineError]
    revision: int


class Line(msgspec.Struct, frozen=True):
    """A line of the right form: its number, its text, and what it says."""

    number: int
    text: bytes
    form: Any

    @property
    def noun(self) -> Noun:
        """What it makes."""
        return NOUNS[self.form.__struct_config__.tag]


async def read_lines(body: bytes) -> tuple[list[Line], list[LineError]]:
    """Read the lines of a request, and what is wrong with those that have another form; lines of blanks are passed over.

    Raises a 413 problem for more than `MAX_LINES`.
    """
    texts = body.split(b"\n", MAX_LINES)
    if texts[-1] == b"":
        texts.pop()
    if len(texts) > MAX_LINES:
        raise Problem("body_too_large", f"The body has more than {MAX_LINES} lines; send less at once.")
    lines, errors = [], []
    for number, text in enumerate(texts, start=1):
        if number % _SLICE == 0:
            await asyncio.sleep(0)  # this thread answers checks too
        if not text.strip():
            continue
        try:
            lines.append(Line(number, text, decode_strict(text, _DECODER)))
        except Problem as problem:
            errors.append(_error(number, problem))
    return lines, errors


class Importing:
    """Writes the lines of requests."""

    def __init__(self, commands: Commands, *, has_room: Callable[[], bool]) -> None:
        self._commands = commands
        self._has_room = has_room

    async def write(self, author: Author, body: bytes, once: Once | None) -> Outcome:
        """Write the rows of a request in the order of their lines; the outcome's data is an `ImportReport`.

        Raises a 503 problem while so many events wait for delivery that decisions could soon find no room.
        """
        if not self._has_room():
            raise retry_later(
                "outbox_full",
                "Too many events wait for delivery to audit, and room is kept for decisions; ask again when it has caught up.",
                seconds=5,
            )
        lines, errors = await read_lines(body)

        async def work(connection: Session, now: datetime) -> Outcome:
            batch = _Batch(self._commands, connection, author, now)
            await batch.write(lines)
            report = batch.report(errors)
            return Outcome(data=msgspec.to_builtins(report), revision=report.revision)

        return await self._commands.run(work, once)


class _Batch:
    """The lines of one request on their way, within its transaction."""

    def __init__(self, commands: Commands, connection: Session, author: Author, now: datetime) -> None:
        self._commands = commands
        self._connection = connection
        self._author = author
        self._now = now
        self._stored: dict[Identity, dict[str, Any]] = {}
        self._revoked: dict[Identity, dict[str, Any]] = {}
        self._pending: list[tuple[Line, Change]] = []
        # What the pending lines will be known by: a later line that is known by the same is judged after they are written.
        self._claimed: set[Identity] = set()
        self._created = self._unchanged = self._revision = 0
        self._errors: list[LineError] = []

    async def write(self, lines: Sequence[Line]) -> None:
        """Write the rows of lines; what can't be written becomes an error."""
        await self._look_up(lines)
        for index, line in enumerate(lines):
            if index % _SLICE == 0:
                await asyncio.sleep(0)
            claims = list(_claims(line))
            if not self._claimed.isdisjoint(claims):
                await self._flush()
            try:
                change = self._change(line)
            except Problem as problem:
                self._errors.append(_error(line.number, problem))
                continue
            if change is None:
                self._unchanged += 1
            else:
                self._pending.append((line, change))
                self._claimed.update(claims)
        await self._flush()

    def report(self, unreadable: Sequence[LineError]) -> ImportReport:
        """Say what came of all lines; `unreadable` are the errors of those that were never tried."""
        errors = sorted([*unreadable, *self._errors], key=lambda error: error.line)
        return ImportReport(
            created=self._created,
            unchanged=self._unchanged,
            failed=len(errors),
            errors=errors,
            revision=self._revision,
        )

    async def _look_up(self, lines: Sequence[Line]) -> None:
        """Read what the lines may meet: rows of their ids, and grants that were revoked."""
        keys: dict[str | None, list[Identity]] = {name: [] for name in IMPORTED}
        for line in lines:
            for name, *key in _identities(line):
                keys[name].append(tuple(key))
        for name in IMPORTED:
            if not keys[name]:
                continue
            for found in await self._connection.fetch(READING_MANY[name], *map(list, zip(*keys[name], strict=True))):
                row = plain(NOUNS[name], found["row"])
                self._stored[name, *(row[field] for field in NOUNS[name].identity)] = row
        grants = [grant[1:] for line in lines for grant in _grants(line)]
        if grants:
            columns = map(list, zip(*grants, strict=True))
            for found in await self._connection.fetch(SQL["find_revoked_grants"], *columns):
                row = plain(NOUNS["member_role"], found["row"])
                self._revoked[_grant(row)] = row

    def _change(self, line: Line) -> Change | None:
        """Return what a line changes, None if nothing; raises a problem when it can't be."""
        noun, form = line.noun, line.form
        image = _DEFAULTS[noun.name] | msgspec.to_builtins(form)
        del image["noun"]
        image.pop("reason", None)
        moments = {name: getattr(form, name) for name in _MOMENTS if name in form.__struct_fields__}
        if moments:
            image |= plain_values(moments)
        for identity in _identities(line):
            if identity in self._stored:
                _demand_same(line, image, self._stored[identity])
                return None
        refuse_expired(noun, moments, self._now)
        image["id"] = form.id or new_id(noun.prefix)
        before = None
        for grant in _grants(line):
            before = self._revoked.get(grant)
        if before is not None:
            image |= {"id": before["id"], "created_at": before["created_at"]}
        return making(noun, image, form.reason, before)

    async def _flush(self) -> None:
        """Write what is pending."""
        lines = {id(change): line for line, change in self._pending}
        changes = [change for _, change in self._pending]
        written, refusals = await self._commands.write_taken(self._connection, self._author, changes, self._now)
        self._created += len(written.rows)
        self._revision = written.revision
        for refusal in refusals:
            error = refusal.error
            problem = await problem_of(self._connection, error) if isinstance(error, Violation) else error
            self._errors.append(_error(lines[id(refusal.change)].number, problem))
            del lines[id(refusal.change)]
        for line, row in zip(lines.values(), written.rows, strict=True):
            self._stored[line.noun.name, *(row[field] for field in line.noun.identity)] = row
            for grant in _grants(line):
                self._revoked.pop(grant, None)
        self._pending, self._claimed = [], set()


def _identities(line: Line) -> Iterator[Identity]:
    """Tell by what a line's row is known, if the line gives an id."""
    if line.form.id is not None:
        yield (line.noun.name, *(getattr(line.form, field) for field in line.noun.identity))


def _grants(line: Line) -> Iterator[Identity]:
    """Tell which grant a line is about, if it is about one."""
    if line.noun.name == "member_role":
        form = line.form
        yield ("grant", form.space_id, form.member_id, form.role_id, form.scope_anchor_group_id)


def _claims(line: Line) -> Iterator[Identity]:
    yield from _identities(line)
    yield from _grants(line)


def _grant(row: dict[str, Any]) -> Identity:
    return ("grant", row["space_id"], row["member_id"], row["role_id"], row["scope_anchor_group_id"])


def _demand_same(line: Line, image: dict[str, Any], row: dict[str, Any]) -> None:
    """Raise `duplicate_id` unless the row has every value that the line gives."""
    given = sorted(msgspec.json.decode(line.text).keys() - _ABOUT)
    if not is_same({name: image[name] for name in given}, {name: row[name] for name in given}):
        differing = [name for name in given if not is_same({name: image[name]}, {name: row[name]})]
        says = f"is taken by a row with another {', '.join(differing)}; leave the id out, or change that row"
        raise Problem(
            "duplicate_id",
            f"/id: {line.form.id!r} {says} ({line.noun.words}).",
            errors=[ProblemError(pointer="/id", detail=says)],
        )


def _error(number: int, problem: Problem) -> LineError:
    pointer = problem.errors[0].pointer if problem.errors else None
    return LineError(line=number, code=problem.code, detail=problem.detail, pointer=pointer)
