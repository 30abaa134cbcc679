"""What a look at an installation is: it yields lines, and none keeps another from being taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import msgspec

from shared.ctl.console import Fault
from shared.migrations.errors import OperatorError

State = Literal["well", "note", "finding", "unreachable", "refused"]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at; `why` and `next` are there for what isn't well."""

    service: str
    name: str
    state: State
    seen: str
    why: str | None = None
    next: str | None = None


Look = Callable[[str], Iterator[Line]]


def take(name: str, service: str, look: Look) -> list[Line]:
    """Take a look; whatever stops it is a line too."""
    try:
        return list(look(service))
    except OperatorError as error:
        state: State = "unreachable" if error.exit_code == error.exit_code.UNREACHABLE else "finding"
        return [Line(service=service, name=name, state=state, seen=error.found, why=error.why, next=error.remedy)]


def told(service: str, name: str, faults: Iterable[Fault]) -> Iterator[Line]:
    """Return the faults that a check found as lines under its name."""
    for fault in faults:
        yield Line(
            service=service,
            name=f"{name}: {fault.code}",
            state="finding",
            seen=f"{fault.subject}: {fault.seen}",
            why=fault.why,
            next=fault.remedy,
        )
