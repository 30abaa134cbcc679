"""The release before this one, as far as an upgrade from it needs: its migrations, its statements, and data that it wrote.

Until there is a release, it is the first set of migrations that landed for both services (authz up to 0006, audit up to
0002). The files lie here because a checkout may be shallow:

    first/<service>/migrations/         the folder as it was, with its lock file in the form that is read today
    first/<service>/queries.sql         its statements, and in queries.lock.json what each took and gave on its schema
    first/<service>/data.sql            what its programs had written after the worked example: everything from grants to the
                                        entries of the log, and six decisions that were still to be delivered to audit
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psycopg

from shared.migrations.bootstrap import Roles
from shared.migrations.runner import migrate_up

PREVIOUS: Final = Path(__file__).parent / "first"


def folder_of(service: str) -> Path:
    """The folder of a service of the previous release."""
    return PREVIOUS / service


def install_previous(service: str, owner_dsn: str, superuser_dsn: str) -> list[str]:
    """Bring an empty database to where the previous release left it, data and all; returns what was applied."""
    applied = migrate_up(service, owner_dsn, folder_of(service) / "migrations")
    with psycopg.connect(superuser_dsn) as connection:
        # Its ledger had no such column; the runner that makes it here is today's.
        connection.execute("alter table public._migration_ledger drop column schema_digest")
        connection.execute(psycopg.sql.SQL("set role {}").format(psycopg.sql.Identifier(Roles(service).owner)))
        if service == "audit":
            connection.execute("select audit.ensure_partition(0)")
        connection.execute((folder_of(service) / "data.sql").read_bytes())
    return applied
