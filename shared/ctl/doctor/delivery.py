"""Looks whether what authz records gets into audit's log, soon and whole."""

from __future__ import annotations

from collections.abc import Iterator

from shared.ctl.doctor.context import Context, own_variables
from shared.ctl.doctor.findings import Finding, NotApplicable
from shared.settings import AuthzSettings, SettingsError, load_settings

_CEILING = "PLYSTRA_AUTHZ_OUTBOX_CEILING"
_RECENT_SECONDS = 60.0  # an outage that is over is no fault any more


def look_at_outbox(context: Context, service: str) -> Iterator[Finding]:
    """Find an outbox that fills up, or whose oldest event waits too long."""
    row, ceiling = context.row(service, "read_outbox"), _ceiling(context)
    limits = context.limits
    if row["events"] >= limits.outbox_share * ceiling or row["seconds"] > limits.outbox_age_seconds:
        yield Finding(
            seen=f"{row['events']} events wait for delivery, the oldest since {row['seconds']:.0f} s (the ceiling is {ceiling}).",
            why="They aren't in audit's log yet, and at the ceiling authz takes no decision.",
            next="plystra-authz relay",
        )


def look_at_refused(context: Context, service: str) -> Iterator[Finding]:
    """Find events that audit refused for good."""
    row = context.row(service, "read_refused")
    if row["events"]:
        yield Finding(
            seen=f"audit refused {row['events']} events for good; the first: {str(row['problem'])[:300]}",
            why="They are missing in the log: a fault of a program. Keep the rows, and report them.",
            next="select writer_id, sequence, refused_at, problem, event from authz.outbox_refused order by refused_at;",
        )


def look_at_delivery(context: Context, service: str) -> Iterator[Finding]:
    """Find deliveries that fail or are late."""
    row = context.row(service, "read_relay")
    if row["last_error"] is not None:
        yield Finding(
            seen=f"Delivery to audit fails at present: {row['last_error'][:300]}",
            why="The outbox grows until the ceiling, then authz takes no decision.",
            next="curl -sS $PLYSTRA_AUDIT_URL/api/v1/ready",
        )
    elif (row["seconds"] or 0) < _RECENT_SECONDS and (
        row["delivered_lag_ms"] or 0
    ) > 1000 * context.limits.delivery_lag_seconds:
        yield Finding(
            seen=f"The last delivered batch was {row['delivered_lag_ms'] / 1000:.0f} s old when audit acknowledged it.",
            why="Who searches the log doesn't find what was decided just now.",
            next="curl -sS $PLYSTRA_AUDIT_URL/api/v1/ready",
        )


def look_at_relay(context: Context, service: str) -> Iterator[Finding]:
    """Find that no relay is at work."""
    if not context.row(service, "has_relay")["found"]:
        yield Finding(
            seen="No session holds the lock of the active relay.",
            why="Nothing is delivered to audit; events wait in the outbox.",
            next="plystra-authz relay",
        )


def look_at_sequencer(context: Context, service: str) -> Iterator[Finding]:
    """Find that no process writes the log."""
    if not context.row(service, "has_sequencer")["found"]:
        yield Finding(
            seen="No session holds the lock of the one that writes the log.",
            why="audit acknowledges nothing; events wait in authz's outbox.",
            next="plystra-audit serve",
        )


def look_at_log_tail(context: Context, service: str) -> Iterator[Finding]:
    """Find a gap among the newest entries, or one that goes back in time."""
    row = context.row(service, "read_log_tail", limit=context.limits.tail_entries)
    if not row["entries"]:
        return
    missing = row["last"] - row["first"] + 1 - row["entries"]
    if missing or row["back_in_time"]:
        yield Finding(
            seen=f"Of the log indexes {row['first']} to {row['last']}, {missing} are missing"
            f" and {row['back_in_time']} go back in time.",
            why="The database refuses both, so somebody got around its law. The log is no longer proof.",
            next="plystractl backup verify, then restore the log from the newest backup that has them",
        )


def look_at_revisions(context: Context, _: str) -> Iterator[Finding]:
    """Find that the log has seen a later revision than authz has."""
    authz = context.row("authz", "read_authz_revision")["revision"]
    audit = context.row("audit", "read_audit_revision", limit=context.limits.tail_entries)["revision"]
    if audit > authz:
        yield Finding(
            seen=f"audit's log names revision {audit}, and authz's history ends at {authz}.",
            why="authz was restored to an earlier moment: it would give revisions a second time, with other changes.",
            next="plystractl authz catch-up --check",
        )


def look_at_maintenance(context: Context, service: str) -> Iterator[Finding]:
    """Find that maintenance was left on."""
    for row in context.rows(service, "read_maintenance"):
        yield Finding(
            seen=f"Maintenance is on: {row['reason']} (by {row['operator']}, {row['switched_at']:%Y-%m-%d %H:%M:%S%z}).",
            why="authz answers every question with 503.",
            next="plystractl maintenance off",
        )


def _ceiling(context: Context) -> int:
    required = {"PLYSTRA_AUTHZ_APP_DSN": ""}
    try:
        return load_settings(AuthzSettings, required | own_variables(context.environment, _CEILING)).outbox_ceiling
    except SettingsError as error:
        raise NotApplicable(f"{_CEILING} can't be used; see settings.") from error
