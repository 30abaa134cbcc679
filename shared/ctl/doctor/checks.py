"""The table of all checks, in the order in which they are run and shown; docs/operating.md is compared with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from shared.ctl.doctor import configuration as conf
from shared.ctl.doctor import connectivity as reach
from shared.ctl.doctor import delivery, migrations, roles, schema, server, sessions, surroundings
from shared.ctl.doctor.findings import Check, Group, Look
from shared.migrations.bootstrap import SERVICES

_Row = tuple[str, Group, tuple[str, ...], str, Look]
_BOTH: Final = SERVICES
_WHOLE: Final = ("",)
_AUTHZ: Final = ("authz",)
_AUDIT: Final = ("audit",)

_ROWS: Final[tuple[_Row, ...]] = (
    ("settings", "configuration", _WHOLE, "every PLYSTRA_* variable is known, usable and given once", conf.look_at_settings),
    ("environment", "configuration", _WHOLE, "the environment is one that is known", conf.look_at_environment),
    ("dsn", "configuration", _BOTH, "the owner DSN is set", conf.look_at_dsn),
    ("databases", "configuration", _WHOLE, "owner and app name one database, two services name two", conf.look_at_databases),
    ("keys", "configuration", _WHOLE, "the API keys are accepted for what they are for", conf.look_at_keys),
    ("database", "connectivity", _BOTH, "the owner gets in, and can write there", reach.look_at_database),
    ("server_version", "connectivity", _BOTH, "PostgreSQL is of a version that is supported", reach.look_at_server_version),
    ("app_login", "connectivity", _BOTH, "the service's own role gets in", reach.look_at_app_login),
    ("connect_privilege", "connectivity", _BOTH, "the service's role and readers may connect", reach.look_at_connect_privilege),
    ("health", "connectivity", _BOTH, "the service answers", reach.look_at_health),
    ("ready", "connectivity", _BOTH, "the service says that it is ready", reach.look_at_ready),
    ("version", "connectivity", _BOTH, "service and tool are of one release", reach.look_at_version),
    ("migrations", "migrations", _BOTH, "every migration of this release is applied, byte for byte", migrations.look_at_migrations),
    ("schema", "schema", _BOTH, "the catalogue is the one that the migrations make", schema.look_at_schema),
    ("roles", "runtime", _BOTH, "the roles are there and none may more than it should", roles.look_at_roles),
    ("privileges", "runtime", _BOTH, "the service's role may do exactly what it needs", roles.look_at_privileges),
    ("server_settings", "runtime", _BOTH, "what is committed lasts, and sessions are let live", server.look_at_server_settings),
    ("connections", "runtime", _BOTH, "there are sessions enough", server.look_at_connections),
    ("transactions", "runtime", _BOTH, "no transaction lasts too long", sessions.look_at_transactions),
    ("prepared", "runtime", _BOTH, "no prepared transaction was forgotten", sessions.look_at_prepared),
    ("replication_slots", "runtime", _BOTH, "no replication slot that nobody reads keeps WAL", sessions.look_at_replication_slots),
    ("wraparound", "runtime", _BOTH, "transaction ids are far from running out", sessions.look_at_wraparound),
    ("indexes", "runtime", _BOTH, "every index is valid", sessions.look_at_indexes),
    ("outbox", "runtime", _AUTHZ, "few events wait for delivery, and not for long", delivery.look_at_outbox),
    ("refused", "runtime", _AUTHZ, "audit has refused no event", delivery.look_at_refused),
    ("delivery", "runtime", _AUTHZ, "events are delivered, and soon", delivery.look_at_delivery),
    ("relay", "runtime", _AUTHZ, "a relay is at work", delivery.look_at_relay),
    ("maintenance", "runtime", _AUTHZ, "maintenance is off", delivery.look_at_maintenance),
    ("sequencer", "runtime", _AUDIT, "a process writes the log", delivery.look_at_sequencer),
    ("log_tail", "runtime", _AUDIT, "the newest entries have no gap and don't go back in time", delivery.look_at_log_tail),
    ("revisions", "runtime", _WHOLE, "authz isn't behind what audit has seen of it", delivery.look_at_revisions),
    ("database_clock", "runtime", _BOTH, "the database server's clock is right", surroundings.look_at_database_clock),
    ("service_clock", "runtime", _BOTH, "the service's clock is right", surroundings.look_at_service_clock),
    ("disk", "runtime", _BOTH, "there is room where the data lies", surroundings.look_at_disk),
    ("backup", "runtime", _BOTH, "there is a backup that is young enough", surroundings.look_at_backup),
)  # fmt: skip


def _checks() -> Iterator[Check]:
    for name, group, services, proves, look in _ROWS:
        for service in services:
            yield Check(name=name, group=group, service=service, proves=proves, look=look)


CHECKS: Final = tuple(_checks())
