"""Whether requests are let in at all: one attribute, which the edge reads before it does anything for a request."""

from __future__ import annotations

from typing import Final

from shared.problems import Problem

# What monitors ask, and operators who want to know why nobody is let in.
OPEN_PATHS: Final = frozenset({"/api/v1/health", "/api/v1/ready", "/api/v1/version", "/metrics"})


class Gate:
    """Open as long as `refusal` is None; else that is what everyone is told who asks for more than `OPEN_PATHS`."""

    def __init__(self) -> None:
        self.refusal: Problem | None = None
