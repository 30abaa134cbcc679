"""Medians with their range: how every benchmark tells its numbers."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Sequence
from pathlib import Path


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Write the median and, in brackets, the least and the greatest."""
    median, least, greatest = statistics.median(values), min(values), max(values)
    return f"{median:,.{digits}f} [{least:,.{digits}f}–{greatest:,.{digits}f}]"


def machine() -> str:
    """Say what the figures were taken on, and how busy it was."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    cores = len([line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("processor")])
    load = Path("/proc/loadavg").read_text().split()[0]
    return (
        f"{model}, {cores} cores, Linux {platform.release()}, Python {platform.python_version()}, load {load} at start"
    )
