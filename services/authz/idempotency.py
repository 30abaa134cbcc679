"""The same request twice is one command: an Idempotency-Key, and what the first request with it was answered.

The answer is kept in the transaction of what it tells of, so there is never one without the other. A refused command
keeps nothing: asked again, it is judged again.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from services.authz.store import SQL
from shared.db import Session
from shared.problems import Problem, ProblemError

KEPT_FOR: Final = timedelta(hours=24)


class Once(msgspec.Struct, frozen=True):
    """A key, as one API key gives it, and the digest of the request that it stands for."""

    credential_id: str
    key: str
    digest: bytes


def once_for(credential_id: str, key: str | None, method: str, path: str, body: bytes) -> Once | None:
    """Return what a request's key stands for; None without one."""
    if key is None:
        return None
    # The parts can't run into each other: neither method nor path holds a line break.
    digest = hashlib.sha256(f"{method}\n{path}\n".encode() + body).digest()
    return Once(credential_id, key, digest)


async def find_answer(connection: Session, once: Once, now: datetime) -> dict[str, Any] | None:
    """Return what the first request with the key was answered; raises a 409 problem if that was another request."""
    row = await connection.fetchrow(SQL["find_idempotent_answer"], once.credential_id, once.key, now - KEPT_FOR)
    if row is None:
        return None
    if row["request_digest"] != once.digest:
        raise Problem(
            "idempotency_key_reused",
            f"Idempotency-Key {once.key!r} stands for another request, which was answered before; give this one a new key.",
            errors=[ProblemError(parameter="Idempotency-Key", detail="stands for another request")],
        )
    answer: dict[str, Any] = msgspec.json.decode(row["answer"])
    return answer


async def keep_answer(connection: Session, once: Once, answer: dict[str, Any], now: datetime) -> None:
    """Keep what a request is answered, and let go of some that were kept for long enough."""
    await connection.execute(SQL["forget_idempotent_answers"], now - KEPT_FOR)
    kept = {name: value for name, value in answer.items() if name != "is_repeated"}
    await connection.execute(
        SQL["keep_idempotent_answer"],
        once.credential_id,
        once.key,
        once.digest,
        msgspec.json.encode(kept).decode(),
        now,
    )
