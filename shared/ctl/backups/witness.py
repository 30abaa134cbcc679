"""What is known of audit's log outside of a backup: a log that is put back behind it has lost what others rely on."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
import psycopg
from msgspec import Raw
from psycopg import sql

from shared.canonical import canonical_json
from shared.clock import epoch_microseconds
from shared.ctl.backups.contents import read_producers
from shared.ctl.backups.faults import RefusedByPolicy
from shared.ctl.backups.manifest import AuditCheckpoint, Manifest, Producer
from shared.db import load_queries
from shared.envelope import ChangeActor, ChangeData, ChangeEntity, encode_event
from shared.identifiers import new_uuid7
from shared.migrations.bootstrap import Connection
from shared.migrations.errors import OperatorError
from shared.migrations.ledger import connect
from shared.recorded import Recorded, read_event

LOG_RESTORED: Final = "log.restored"
SOURCE: Final = "plystractl"
SQL: Final = load_queries(Path(__file__).with_name("restoring.sql"))
_COLUMNS: Final = Recorded.__struct_fields__


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """How far a log would be put back behind what one witness has seen of it."""

    witness: str
    missing: int
    seen: str


def missing_events(log: Sequence[Producer], acknowledged: Sequence[Producer]) -> int:
    """Return how many events authz was told to be in the log, and are beyond what the log has of their writers."""
    reached = {(producer.source, producer.epoch): producer.last_sequence for producer in log}
    return sum(max(0, writer.last_sequence - reached.get((writer.source, writer.epoch), -1)) for writer in acknowledged)


def ask_authz(checkpoint: AuditCheckpoint, dsn: str) -> Loss | None:
    """Compare with what authz remembers audit to have acknowledged; raises when it can't be asked."""
    with connect(dsn, "backup restore", read_only=True) as connection:
        acknowledged = read_producers(connection, "read_acknowledged")
    missing = missing_events(checkpoint.producers, acknowledged)
    if not missing:
        return None
    return Loss(
        witness="authz", missing=missing, seen=f"audit has acknowledged {missing} events to authz that it lacks"
    )


def ask_replaced(checkpoint: AuditCheckpoint, connection: Connection) -> Loss | None:
    """Compare with the log that is to be replaced."""
    there = connection.execute(SQL["log_is_there"]).fetchone()
    if not (there and there[0]):
        return None
    head = connection.execute(SQL["read_head"]).fetchone()
    size = head[0] if head else 0
    if size <= checkpoint.size:
        return None
    seen = f"the log that would be replaced has {size} entries, the backup {checkpoint.size}"
    return Loss(witness="replaced log", missing=size - checkpoint.size, seen=seen)


def require_acknowledged(losses: Sequence[Loss], *, acknowledged: bool) -> None:
    """Raise unless nothing is lost, or somebody has said that this is meant."""
    if losses and not acknowledged:
        raise RefusedByPolicy(
            f"This backup of audit is behind what is known of its log: {'; '.join(loss.seen for loss in losses)}.",
            why="Those records would be lost for good: authz won't send again what was acknowledged.",
            remedy="restore a younger backup; if there is none: add --acknowledge-loss --reason '…', which is recorded.",
        )


def record_loss(dsn: str, manifest: Manifest, losses: Sequence[Loss], reason: str | None) -> str:
    """Append to the restored log that it was put back behind its witnesses, and by whom; returns the event's id."""
    assert isinstance(manifest.contents.checkpoint, AuditCheckpoint)  # only a log has witnesses
    with connect(dsn, "backup restore", read_only=False) as connection, connection.transaction():
        owned = connection.execute(SQL["own_the_log"]).fetchone()
        if not (owned and owned[0]):
            raise RefusedByPolicy(
                f"Somebody writes the log of {connection.info.dbname} already.",
                why="One session at a time may, or indexes would be given twice.",
                remedy="stop audit, then run the same command again.",
            )
        head = connection.execute(SQL["read_head"]).fetchone()
        assert head is not None  # an aggregate returns one row always
        index, last, now = head
        event = _event(manifest, losses, reason, now, str(connection.info.user))
        connection.execute(SQL["ensure_partition"], {"index": index})
        statement = sql.SQL(SQL["append_entry"]).format(
            columns=sql.SQL(", ").join(map(sql.Identifier, _COLUMNS)),
            values=sql.SQL(", ").join(sql.Placeholder() * len(_COLUMNS)),
        )
        recorded_at = now if last is None else max(now, last)
        connection.execute(statement, [index, recorded_at, *msgspec.structs.astuple(event)])
    return event.event_id


def _event(
    manifest: Manifest, losses: Sequence[Loss], reason: str | None, now: datetime, database_user: str
) -> Recorded:
    assert isinstance(manifest.contents.checkpoint, AuditCheckpoint)  # as above
    after = {
        "backup": manifest.id,
        "backup_digest": manifest.digest,
        "backup_size": manifest.contents.checkpoint.size,
        "database_user": database_user,
        "losses": [msgspec.to_builtins(loss) for loss in losses],
        "operator": _operator(),
    }
    data = ChangeData(
        actor=ChangeActor(credential_id=None, type="operator"),
        after=Raw(canonical_json(after)),
        before=Raw(b"null"),
        entity=ChangeEntity(id=manifest.id, type="backup"),
        reason=reason,
        request=None,
        revision=0,
        space_id=None,
    )
    # Each such event is an epoch of its own: who wrote the last one is another process, and perhaps lost.
    leaf = encode_event(
        data=data,
        epoch=epoch_microseconds(now),
        event_id=new_uuid7(),
        kind=LOG_RESTORED,
        occurred_at=now,
        sequence=0,
        source=SOURCE,
    )
    return read_event(leaf)


def _operator() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def witnesses_of(checkpoint: AuditCheckpoint, authz_dsn: str | None) -> tuple[list[Loss], str]:
    """Ask authz, if it is named and can be reached; returns what is lost, and a sentence about who was asked."""
    if authz_dsn is None:
        return [], "authz wasn't asked what audit has acknowledged: PLYSTRA_AUTHZ_DSN isn't set"
    try:
        loss = ask_authz(checkpoint, authz_dsn)
    except (OperatorError, psycopg.Error) as error:
        return [], f"authz couldn't be asked what audit has acknowledged: {str(error).splitlines()[0]}"
    return [] if loss is None else [loss], "authz was asked what audit has acknowledged"
