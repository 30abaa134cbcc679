"""What an application is called: its name for people, and the slug and the id of its Space that are made of it."""

from __future__ import annotations

import re
import unicodedata
from typing import Final, NamedTuple

from shared.migrations.errors import UsageError

MAX_NAME: Final = 80
_SLUG: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_MAX_SLUG: Final = 40
# Of ASCII punctuation only what means nothing inside a quoted text of YAML or JSON, a line of Markdown or of a shell's comment.
_MARKS: Final = frozenset(" -.&")


class Naming(NamedTuple):
    """The name of an application and what is derived of it."""

    name: str
    slug: str
    space_id: str


def name_application(name: str, slug: str | None = None) -> Naming:
    """Return the naming of an application; raises `UsageError` for a name or a slug that can't be used."""
    name = unicodedata.normalize("NFC", name)
    fault = _fault_of(name)
    if fault is not None:
        raise UsageError(
            f"{name!r} can't be the name of an application: {fault}.",
            why="The name is written into YAML, JSON and Markdown, and becomes that of a Space.",
            remedy='give letters of any script, digits, single spaces and . - &, such as --name "Acme SaaS".',
        )
    made = _slug_of(name) if slug is None else slug
    if made is None:
        raise UsageError(
            f"No slug can be made of {name!r}.",
            why="The compose project, the Space's key and its id are in a–z and 0–9.",
            remedy="give one beside the name, such as --slug acme-saas.",
        )
    if len(made) > _MAX_SLUG or not _SLUG.fullmatch(made):
        raise UsageError(
            f"{made!r} can't be a slug.",
            why=f"A slug is at most {_MAX_SLUG} of a–z and 0–9 in words joined by single hyphens, and begins with a letter.",
            remedy="give another, such as --slug acme-saas.",
        )
    return Naming(name, made, f"space_{made.replace('-', '_')}")


def _fault_of(name: str) -> str | None:
    if not 1 <= len(name) <= MAX_NAME:
        return f"it has {len(name)} characters, and 1 to {MAX_NAME} are taken"
    if not name[0].isalpha():
        return "it doesn't begin with a letter"
    if name.endswith(" ") or "  " in name:
        return "a space stands at its end or beside another"
    for character in name:
        if character not in _MARKS and unicodedata.category(character)[0] not in "LM" and not character.isdecimal():
            return f"it holds {character!r}"
    return None


def _slug_of(name: str) -> str | None:
    """Return the words of a name in ASCII; None when a letter or digit has no likeness there, so that none is dropped silently."""
    folded = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(character for character in folded if not unicodedata.category(character).startswith("M"))
    if any(character.isalnum() and not character.isascii() for character in plain):
        return None
    return "-".join(re.findall(r"[a-z0-9]+", plain.replace("&", " and ")))
