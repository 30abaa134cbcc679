"""Waiting for something that another process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

DEADLINE_SECONDS: Final = 20


def wait_for(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds, and fail when it doesn't in time."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
