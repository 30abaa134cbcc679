"""Looks whether the server keeps what it acknowledges, and lets the services' sessions live, as many as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from shared.ctl.doctor.context import Context
from shared.ctl.doctor.findings import Finding, NotApplicable
from shared.migrations.bootstrap import Roles

# One replica each: authz's pools, tail, outbox and relay; audit's pool and its sequencer.
SESSIONS: Final = {"authz": 17, "audit": 5}
_SPARE: Final = 3  # plystractl, a migration with its watch
_DURABLE: Final = "An answer is given once it is committed; with this a crash can take back what was acknowledged."
_SESSIONS_LIVE: Final = "The services keep sessions for as long as they run, and are cut off by this again and again."
_FIRST_SECONDS: Final = "A statement of the service that takes a little longer is ended by this and answered 503."


class Rule(NamedTuple):
    """A parameter: which values are well, the one to be set otherwise, and why it matters."""

    is_well: Callable[[str], bool]
    wanted: str
    why: str


def _is(*values: str) -> Callable[[str], bool]:
    return lambda value: value in values


def _off_or_at_least(milliseconds: int) -> Callable[[str], bool]:
    return lambda value: int(value) == 0 or int(value) >= milliseconds


RULES: Final[dict[str, Rule]] = {
    "fsync": Rule(_is("on"), "on", _DURABLE),
    "full_page_writes": Rule(_is("on"), "on", _DURABLE),
    "synchronous_commit": Rule(_is("on", "local", "remote_write", "remote_apply"), "on", _DURABLE),
    "default_transaction_isolation": Rule(
        _is("read committed"),
        "read committed",
        "Statements that wait for a lock must see what was committed meanwhile.",
    ),
    "session_replication_role": Rule(
        _is("origin"), "origin", "Triggers that state the database's law don't fire in another one."
    ),
    "idle_session_timeout": Rule(_off_or_at_least(86_400_000), "0", _SESSIONS_LIVE),
    "transaction_timeout": Rule(_off_or_at_least(60_000), "0", _FIRST_SECONDS),
    "statement_timeout": Rule(_off_or_at_least(30_000), "0", _FIRST_SECONDS),
    "lock_timeout": Rule(_off_or_at_least(5_000), "0", _FIRST_SECONDS),
    "idle_in_transaction_session_timeout": Rule(_off_or_at_least(30_000), "0", _FIRST_SECONDS),
}


def look_at_server_settings(context: Context, service: str) -> Iterator[Finding]:
    """Find parameters with which the server loses what it acknowledged, or cuts the services off."""
    role = "owner"
    try:
        context.session(service, "app")
        role = "app"
    except NotApplicable:
        pass  # the owner's session has the same but for what is set for the service's role alone
    rows = context.rows(service, "load_parameters", role, names=list(RULES))
    database = context.session(service, role).info.dbname
    login = context.session(service, role).info.user
    for row in rows:
        rule = RULES[row["name"]]
        if not rule.is_well(row["setting"]):
            yield Finding(
                seen=f"{row['name']} is {row['setting']} for {login} (from: {row['source']}).",
                why=rule.why,
                next=_mend(row, rule, database, login),
            )


def look_at_connections(context: Context, service: str) -> Iterator[Finding]:
    """Find limits of sessions below what one replica of each service opens."""
    counts = context.row(service, "count_connections")
    needed = SESSIONS[service] + _SPARE
    everybody = sum(SESSIONS.values()) + _SPARE
    if counts["allowed"] < everybody:
        yield Finding(
            seen=f"The server lets {counts['allowed']} sessions in that aren't superusers'.",
            why=f"One replica of authz and of audit open up to {everybody} with what operators need; who comes last gets none.",
            next="alter system set max_connections = 100; -- then restart the server;",
        )
    elif counts["used"] > 0.9 * counts["allowed"]:
        yield Finding(
            seen=f"{counts['used']} of {counts['allowed']} sessions are in use.",
            why="Soon nobody gets in, neither services nor operators.",
            next="select usename, application_name, count(*) from pg_stat_activity group by 1, 2 order by 3 desc;",
        )
    if 0 <= counts["database_limit"] < needed:
        yield Finding(
            seen=f"The database {counts['database']} lets {counts['database_limit']} sessions in.",
            why=f"One replica of {service} opens up to {SESSIONS[service]}, and operators need some.",
            next=f"alter database {counts['database']} connection limit -1;",
        )
    for row in context.rows(service, "load_roles", names=[Roles(service).app]):
        if 0 <= row["connection_limit"] < SESSIONS[service]:
            yield Finding(
                seen=f"The role {row['name']} may have {row['connection_limit']} sessions.",
                why=f"One replica of {service} opens up to {SESSIONS[service]}.",
                next=f"alter role {row['name']} connection limit -1;",
            )


def _mend(row: dict[str, Any], rule: Rule, database: str, login: str) -> str:
    name = row["name"]
    match row["source"]:
        case "user":
            return f"alter role {login} reset {name};"
        case "database user":
            return f"alter role {login} in database {database} reset {name};"
        case "database":
            return f"alter database {database} reset {name};"
        case "command line" | "environment variable":
            return f"start the server without {name} on its command line, or with {name}={rule.wanted}"
        case "client":
            return f"take {name} out of the DSN"
        case _:
            return f"alter system set {name} = '{rule.wanted}'; select pg_reload_conf();"
