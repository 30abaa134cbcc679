"""Asking about the past, and a clock by which a history is made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from services.authz.model import Trace
from tests.service.authz_service import RunningAuthz, question

FIRST_DAY: Final = datetime(2024, 1, 1, 12, tzinfo=UTC)
DAY: Final = timedelta(days=1)
MOMENT: Final = timedelta(microseconds=1)
GRANT: Final = "mr_reviewer_finance_approver"


class Days:
    """A clock that stands still until it is told what day it is."""

    def __init__(self) -> None:
        self.now = FIRST_DAY

    def __call__(self) -> datetime:
        return self.now


async def explained(authz: RunningAuthz, as_of: Any, asked: dict[str, Any] | None = None) -> Trace:
    """Ask as of a revision or a time; the trace of the answer."""
    response = await authz.explain((asked or question()) | {"as_of": as_of})
    assert response.status_code == 200, response.text
    return msgspec.convert(response.json()["data"]["trace"], Trace)
