"""Are the migrations of this release applied, byte for byte? The same as `plystractl migrate verify`."""

from __future__ import annotations

from collections.abc import Iterator

from shared.ctl.doctor.context import Context
from shared.ctl.doctor.findings import Finding
from shared.migrations.verify import verify


def look_at_migrations(context: Context, service: str) -> Iterator[Finding]:
    """Find what `migrate verify` finds."""
    context.session(service)
    dsn = context.dsn(service)
    assert dsn is not None  # there is a session
    for fault in verify(service, dsn):
        yield Finding(seen=f"{fault.code}: {fault.subject}: {fault.seen}", why=fault.why, next=fault.remedy)
