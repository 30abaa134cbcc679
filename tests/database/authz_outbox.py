"""The outbox of authz as its service and its relay see it, for tests that write, deliver and reclaim by hand."""

from __future__ import annotations

from typing import Any

import psycopg

from services.authz.store import SQL
from tests.conftest import ServiceDatabase
from tests.database.authz_rows import Connection


class Outbox:
    """The outbox as the service and its relay see it: write, deliver, reclaim."""

    def __init__(self, database: ServiceDatabase) -> None:
        self.database = database
        self.app = psycopg.connect(database.app_dsn, autocommit=True)
        self.written: dict[int, int] = {}

    def close(self) -> None:
        self.app.close()

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.app.execute(statement, parameters or None).fetchall()

    def add_writer(self) -> int:
        ((writer_id,),) = self.rows(
            "insert into authz.outbox_writer (source, epoch, stream) values ('a', %s, 'decisions') returning writer_id",
            len(self.written),
        )
        self.written[writer_id] = 0
        return int(writer_id)

    def write(self, writer_id: int, connection: Connection | None = None) -> None:
        """Record one event as the service does."""
        sequence = self.written[writer_id]
        self.written[writer_id] = sequence + 1
        (connection or self.app).execute(
            "insert into authz.outbox (slot, writer_id, first_sequence, last_sequence, events)"
            " select r.slot, %s, %s, %s, '' from authz.outbox_rotation r",
            [writer_id, sequence, sequence],
        )

    def deliver(self, writer_id: int, up_to: int | None = None) -> None:
        """Mark a writer's events as delivered, all of them or up to a sequence."""
        sequence = self.written[writer_id] - 1 if up_to is None else up_to
        self.app.execute(
            "update authz.outbox_writer set delivered_sequence = greatest(delivered_sequence, %s) where writer_id = %s",
            [sequence, writer_id],
        )

    def reclaim(self) -> int:
        return int(self.rows(SQL["reclaim_outbox"])[0][0])

    def slots(self) -> dict[int, int]:
        """How many rows lie in each slot that has any."""
        return dict(self.rows("select slot, count(*) from authz.outbox group by slot"))  # type: ignore[arg-type]

    def current(self) -> int:
        return int(self.rows("select slot from authz.outbox_rotation")[0][0])

    def undelivered(self) -> set[tuple[int, int]]:
        return set(
            self.rows(
                "select writer_id, first_sequence from authz.outbox join authz.outbox_writer w using (writer_id)"
                " where first_sequence > w.delivered_sequence"
            )
        )  # type: ignore[arg-type]
