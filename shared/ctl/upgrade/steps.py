"""The steps of an upgrade, in order: what is typed, and why; the one place where the sequence is written down.

Callers are told of maintenance before authz stops, where its database can keep the switch; one that can only after its
migrations is closed before the new release starts. Either way nobody is let in before this release is up.
"""

from __future__ import annotations

import shlex
from typing import Final

import msgspec


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step; `words` follow `plystractl`, and without any it is something that an operator does otherwise.

    In `words`, {backups}, {digest} and {reason} are filled in.
    """

    name: str
    words: tuple[str, ...] = ()
    does: str


BACKUP: Final = Step(name="backup", words=("backup", "create", "--out", "{backups}"), does="have a way back")
_CLOSE: Final = Step(name="maintenance on", words=("maintenance", "on", "--reason", "{reason}"), does="tell callers")
_BEFORE: Final = (
    Step(
        name="plan",
        words=("upgrade", "plan", "--backups", "{backups}"),
        does="see what stands against it but the backup",
    ),
    BACKUP,
)
_MIGRATE: Final = (
    Step(name="stop", does="stop authz, then audit"),
    Step(name="migrate plan", words=("migrate", "plan"), does="see what is done, with its locks"),
    Step(name="migrate up", words=("migrate", "up", "--yes", "--plan", "{digest}"), does="do that and nothing else"),
)
_AFTER: Final = (
    Step(name="migrate verify", words=("migrate", "verify"), does="see that it is as recorded"),
    Step(
        name="schema check",
        words=("schema", "check", "--queries"),
        does="see that the schema is as it should be, and every statement works on it",
    ),
    Step(name="start", does="start audit, then authz, of this release"),
    Step(name="maintenance off", words=("maintenance", "off"), does="let callers in"),
    Step(name="doctor", words=("doctor", "--backups", "{backups}"), does="see that everything around is well"),
    Step(name="smoke", words=("smoke",), does="ask everything that has to work"),
    Step(name="verify", words=("upgrade", "verify", "--backups", "{backups}"), does="see that nothing was lost"),
)


def steps(*, knows_maintenance: bool) -> tuple[Step, ...]:
    """Return the steps in order; `knows_maintenance` tells whether authz's database can keep the switch already."""
    if knows_maintenance:
        return (*_BEFORE, _CLOSE, *_MIGRATE, *_AFTER)
    return (*_BEFORE, *_MIGRATE, _CLOSE, *_AFTER)


def command_of(step: Step, **values: str) -> str:
    """Return what is typed for a step, or what is done; what isn't known yet stays as its name in angle brackets."""
    if not step.words:
        return step.does
    known = {
        name: shlex.quote(values[name]) if values.get(name) else f"<{name}>" for name in ("backups", "digest", "reason")
    }
    return " ".join(["plystractl", *(word.format(**known) for word in step.words)])
