"""Watches who keeps a session waiting, so that a lock timeout can name the one to blame."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Final, Self

import psycopg

from shared.migrations.errors import OperatorError
from shared.migrations.ledger import QUERIES, connect

_INTERVAL_SECONDS: Final = 0.2


class BlockerWatch:
    """Looks, from a connection of its own, for sessions that block the one with backend pid `pid`."""

    def __init__(self, dsn: str, pid: int) -> None:
        """Prepare to watch; the looking begins with the `with` block."""
        self._dsn = dsn
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.seen: list[str] = []
        self.pids: list[int] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def __str__(self) -> str:
        return "; ".join(self.seen) or "a session that is gone by now"

    @property
    def remedy(self) -> str:
        """What to do about those that were seen, as the SQL that ends them."""
        if not self.pids:
            return "wait for a quieter moment"
        ends = " ".join(f"select pg_terminate_backend({pid});" for pid in self.pids)
        return f"let them finish, or end them, as their user or a superuser: {ends}"

    def _look(self) -> None:
        if self._stop.wait(_INTERVAL_SECONDS):
            return  # done before it could have waited for anybody
        try:
            with connect(self._dsn, "migrate up (watch)", read_only=True) as connection:
                while not self._stop.wait(_INTERVAL_SECONDS):
                    if rows := connection.execute(QUERIES["find_blockers"], {"pid": self._pid}).fetchall():
                        self.seen = [
                            f"pid {pid}, {application or 'unnamed application'}, user {user}, "
                            f"{state or 'in a state that only its user may see'}: {query}"
                            for pid, user, application, state, query in rows
                        ]
                        self.pids = [int(pid) for pid, *_ in rows]
        except (OperatorError, psycopg.Error):
            return  # naming the blocker is a courtesy; the migration itself reports what is wrong
