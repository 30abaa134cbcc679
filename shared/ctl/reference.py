"""The reference of `plystractl` in docs/, written from the commands themselves: what they take, and what they print as JSON."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import msgspec
from cyclopts import App

from shared.ctl.console import OUT
from shared.ctl.reports import Report, report_kinds
from shared.migrations.errors import ExitCode

_DOCS: Final = Path(__file__).parents[2] / "docs"
# What cyclopts adds to a usage when this process was started as `python -m …`.
_STARTED_AS_MODULE: Final = re.compile(r"^(plystractl[a-z -]*?) -m \S+", re.MULTILINE)
_HEAD: Final = """\
# Commands

What `plystractl --help` tells, of every command. Written by `plystractl reference`; [operating](operating.md) says when to use
which. What `--format json` prints is in [formats.json](formats.json), as JSON Schema. Each document names its form and the version
of that in `schema`; within a version members are only added. A command that can't go on prints a `plystractl.error/1` instead.

"""


def write_reference(app: App, *, check: bool) -> ExitCode:
    """Write docs/commands.md and docs/formats.json, or with `check` only compare them."""
    stale = []
    for name, wanted in {"commands.md": _render_commands(app), "formats.json": render_formats()}.items():
        file = _DOCS / name
        if not check:
            file.write_text(wanted, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != wanted:
            stale.append(file)
    for file in stale:
        OUT.print(f"✗ docs/{file.name} isn't what the commands say.", style="red")
    if stale:
        OUT.print("  why:  people and scripts go by it.\n  next: plystractl reference, and look at the difference")
        return ExitCode.FINDINGS
    OUT.print(f"✓ The reference of the commands is {'current' if check else 'written'}.", style="green")
    return ExitCode.CLEAN


def render_formats() -> str:
    """Return the JSON Schema of every document that a command prints."""
    kinds = sorted(report_kinds(), key=_tag)
    schemas, definitions = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    document: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What plystractl prints with --format json",
        "oneOf": list(schemas),
        "$defs": definitions,
    }
    return msgspec.json.format(msgspec.json.encode(document, order="deterministic"), indent=1).decode() + "\n"


def _render_commands(app: App) -> str:
    text = app.generate_docs(output_format="markdown", heading_level=1)
    text = _STARTED_AS_MODULE.sub(r"\1", text)
    body = text[text.index(app.help) :]
    return _HEAD + body.rstrip() + "\n"


def _tag(kind: type[Report]) -> str:
    return str(kind.__struct_config__.tag)
