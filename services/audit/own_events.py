"""Events that audit itself produces: they stand in the same log, under audit's own source, epoch and sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from msgspec import Raw

from services.audit.model import Conflict
from shared.canonical import canonical_json
from shared.clock import epoch_microseconds
from shared.envelope import ChangeActor, ChangeData, ChangeEntity, ChangeRequest, encode_event
from shared.recorded import Recorded, read_event
from shared.web.context import RequestContext

CONFLICT_REFUSED: Final = "event.conflict_refused"
# The rest is only counted: the event has to stay within the bytes that an event may have.
MAX_CONFLICTS_NAMED: Final = 100
_NULL: Final = Raw(b"null")


class OwnEvents:
    """Makes the events of one writing session: each session is an epoch, so a failed commit leaves no gap in one."""

    def __init__(self, source: str, new_event_id: Callable[[], str]) -> None:
        self._source = source
        self._new_event_id = new_event_id
        self._epoch = 0
        self._sequence = 0

    def begin_epoch(self, now: datetime) -> None:
        """Start counting anew."""
        self._epoch = max(self._epoch + 1, epoch_microseconds(now))
        self._sequence = 0

    def conflict_refused(self, conflicts: Sequence[Conflict], context: RequestContext, now: datetime) -> Recorded:
        """Record that somebody sent other bytes under ids that the log has; the entity is the first of them."""
        named = [
            {
                "event_id": conflict.event_id,
                "log_index": conflict.log_index,
                "refused_leaf_hash": conflict.refused_hash.hex(),
                "stored_leaf_hash": conflict.stored_hash.hex(),
            }
            for conflict in conflicts[:MAX_CONFLICTS_NAMED]
        ]
        data = ChangeData(
            actor=ChangeActor(credential_id=context.credential_id, type="credential"),
            after=Raw(canonical_json({"conflicts": named, "total": len(conflicts)})),
            before=_NULL,
            entity=ChangeEntity(id=conflicts[0].event_id, type="event"),
            reason=None,
            request=ChangeRequest(
                ip=context.ip,
                request_id=context.request_id,
                trace_id=context.trace_id,
                user_agent=context.user_agent,
            ),
            revision=0,
            space_id=None,
        )
        leaf = encode_event(
            data=data,
            epoch=self._epoch,
            event_id=self._new_event_id(),
            kind=CONFLICT_REFUSED,
            occurred_at=now,
            sequence=self._sequence,
            source=self._source,
        )
        self._sequence += 1
        return read_event(leaf)
