"""`plystractl openapi`: the committed OpenAPI documents, written from the services or compared with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from shared.ctl.console import OUT
from shared.migrations.bootstrap import SERVICES
from shared.migrations.errors import ExitCode, OperatorError

_FOLDER: Final = Path(__file__).parents[2] / "docs" / "openapi"


class NoDocument(OperatorError):
    """A service couldn't say what its interface is."""

    exit_code = ExitCode.CANNOT_COMPARE


def openapi(*, check: bool = False, folder: Annotated[Path, Parameter(show_default=False)] = _FOLDER) -> ExitCode:
    """Write the OpenAPI document of each service, as the service itself prints it.

    Parameters
    ----------
    check
        Change nothing; fail when a document isn't what it would be written as.
    folder
        Where the documents are; docs/openapi unless given.
    """
    stale = []
    for service in SERVICES:
        file, document = folder / f"{service}.json", _document(service)
        if check:
            if not file.exists() or file.read_bytes() != document:
                stale.append(file)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            file.write_bytes(document)
    for file in stale:
        OUT.print(f"✗ {file} isn't what the service says.", style="red")
    if stale:
        OUT.print("  why:  clients are built from it.\n  next: plystractl openapi, and look at the difference")
        return ExitCode.FINDINGS
    OUT.print(f"✓ The OpenAPI documents are {'current' if check else 'written'}.", style="green")
    return ExitCode.CLEAN


def _document(service: str) -> bytes:
    command = [sys.executable, "-m", f"services.{service}", "openapi"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode or not done.stdout.strip():
        raise NoDocument(
            f"`python {' '.join(command[1:])}` printed no document:\n{done.stderr.decode(errors='replace').strip()}",
            why="There is nothing to write or to compare with.",
            remedy="mend what it names.",
        )
    return done.stdout
