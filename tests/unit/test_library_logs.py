"""What libraries say through the standard library's logging is a JSON line like any other."""

from __future__ import annotations

import subprocess
import sys

import msgspec

PROGRAM = """
import logging
from shared.observe.logs import configure_logging
configure_logging("authz", "info")
logging.getLogger("some.library").info("said in passing")
logging.getLogger("some.library").warning("%s is away", "the collector")
try:
    raise ValueError("a reason")
except ValueError:
    logging.getLogger("some.library").critical("given up", exc_info=True)
"""


def test_warnings_of_libraries_are_json_lines_with_their_reason():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    assert done.stderr == b""
    warning, critical = [msgspec.json.decode(line) for line in done.stdout.splitlines()]
    assert (warning["level"], warning["event"], warning["service"]) == ("warning", "library", "authz")
    assert (warning["logger"], warning["message"]) == ("some.library", "the collector is away")
    assert critical["level"] == "error"
    assert critical["exception"][0]["exc_value"] == "a reason"
