"""Beyond which figures the doctor calls something a fault."""

from __future__ import annotations

from typing import Final

import msgspec

OLDEST_MAJOR: Final = 15
NEWEST_MAJOR: Final = 18
_GIB: Final = 1024**3


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """One number each; where there are two, the first is worth a warning."""

    check_seconds: float = 15.0
    clock_warning_seconds: float = 1.0
    clock_seconds: float = 5.0
    outbox_share: float = 0.5
    outbox_age_seconds: float = 60.0
    delivery_lag_seconds: float = 10.0
    tail_entries: int = 10_000
    transaction_seconds: float = 900.0
    idle_in_transaction_seconds: float = 60.0
    transaction_ids: int = 1_000_000_000
    free_bytes: int = _GIB
    free_share: float = 0.05
