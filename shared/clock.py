"""Time as an argument: logic takes a `Clock`, so that tests can move it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the wall clock's time, timezone-aware in UTC."""
    return datetime.now(UTC)


def epoch_microseconds(moment: datetime) -> int:
    """Return whole microseconds since 1970-01-01T00:00:00Z; it stays below 2^53 until the year 2255."""
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond
