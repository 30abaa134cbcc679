"""The templates that there are: of each, what it is for and what it takes to run; their texts lie in `sources/`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from shared.migrations.errors import UsageError

SOURCES: Final = Path(__file__).with_name("sources")
NAMES: Final = ("minimal", "auth-ready-saas", "internal-admin", "community")


class Requirements(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a machine needs to run the folder as it is written, with a few users."""

    cpu_cores: int
    memory_mib: int
    disk_gib: int
    software: tuple[str, ...]


class FirstQuestion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What README.md asks of a first member that holds this role: it must be allowed without a group or a property."""

    role: str
    action: str
    resource_type: str


class Template(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One template; `version` grows with every change of what it writes, `passwords` are those it needs beside Plystra's."""

    name: str
    version: int
    title: str
    summary: str
    first_question: FirstQuestion
    requirements: Requirements
    passwords: tuple[str, ...] = ()


def load_template(name: str) -> Template:
    """Return the template of a name; raises `UsageError` when there is none."""
    if name not in NAMES:
        raise UsageError(
            f"There is no template {name!r}.",
            why=f"The templates are {', '.join(NAMES)}.",
            remedy="`plystractl templates list` tells what each is for.",
        )
    return msgspec.yaml.decode((SOURCES / name / "template.yaml").read_bytes(), type=Template)


def all_templates() -> list[Template]:
    """Return every template, the plainest first."""
    return [load_template(name) for name in NAMES]
