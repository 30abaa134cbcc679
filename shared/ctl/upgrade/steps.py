"""The steps of an upgrade, in order: what is typed, and why; the one place where the sequence is written down."""

from __future__ import annotations

from typing import Final

import msgspec


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step; `words` follow `plystractl`, and without any it is something that an operator does otherwise.

    In `words`, {backups}, {digest} and {reason} are filled in.
    """

    name: str
    words: tuple[str, ...] = ()
    does: str


STEPS: Final = (
    Step(name="plan", words=("upgrade", "plan"), does="see that nothing stands against it"),
    Step(name="backup", words=("backup", "create", "--out", "{backups}"), does="have a way back"),
    Step(name="maintenance on", words=("maintenance", "on", "--reason", "{reason}"), does="tell callers"),
    Step(name="stop", does="stop authz, then audit"),
    Step(name="migrate plan", words=("migrate", "plan"), does="see what is done, with its locks"),
    Step(name="migrate up", words=("migrate", "up", "--yes", "--plan", "{digest}"), does="do that and nothing else"),
    Step(name="migrate verify", words=("migrate", "verify"), does="see that it is as recorded"),
    Step(
        name="schema check",
        words=("schema", "check", "--queries"),
        does="see that the schema is as it should be, and every statement works on it",
    ),
    Step(name="start", does="start audit, then authz, of this release"),
    Step(name="doctor", words=("doctor",), does="see that everything around is well"),
    Step(name="maintenance off", words=("maintenance", "off"), does="let callers in"),
    Step(name="smoke", words=("smoke",), does="ask everything that has to work"),
    Step(name="verify", words=("upgrade", "verify"), does="see that nothing was lost"),
)


def command_of(step: Step, **values: str) -> str:
    """Return what is typed for a step, or what is done; what isn't known yet stays as its name in angle brackets."""
    if not step.words:
        return step.does
    known = {name: values.get(name) or f"<{name}>" for name in ("backups", "digest", "reason")}
    return " ".join(
        ["plystractl", *(f"'{w}'" if " " in w else w for w in (each.format(**known) for each in step.words))]
    )
