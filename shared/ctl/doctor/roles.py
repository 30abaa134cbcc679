"""Are the roles as powerful as they have to be, and no more? Effective rights, by whichever way a role came to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from shared.ctl.doctor.context import Context
from shared.ctl.doctor.findings import Finding, NotApplicable
from shared.migrations.bootstrap import Roles

_POWERS: Final = ("superuser", "bypassrls", "createrole", "createdb", "replication")
_GRAPH: Final = (
    "user", "space", "group", "member", "user_member", "resource_type", "resource_action", "role", "permission",
    "role_permission", "member_role", "resource",
)  # fmt: skip
_READ, _ADD, _CHANGE = frozenset({"SELECT"}), frozenset({"SELECT", "INSERT"}), frozenset({"SELECT", "INSERT", "UPDATE"})
# Everything that a service's role may do with each table; with no other table of the schema anything.
APP_PRIVILEGES: Final[dict[str, dict[str, frozenset[str]]]] = {
    "authz": {
        **dict.fromkeys(_GRAPH, _CHANGE),
        "event": _ADD,
        "outbox": _ADD,
        "outbox_refused": _ADD,
        "outbox_writer": _CHANGE,
        "outbox_rotation": _READ,
        "relay": frozenset({"SELECT", "UPDATE"}),
        "credential": _READ,
        "maintenance": _READ,
        "idempotency_key": _CHANGE | {"DELETE"},
    },
    "audit": {"entry": _ADD, "entry_by_event": _READ, "credential": _READ},
}


def look_at_roles(context: Context, service: str) -> Iterator[Finding]:
    """Find roles that are missing, that may do what no role of Plystra may, or that stand for another one."""
    roles = Roles(service)
    wanted = {roles.owner: False, roles.app: True, roles.reader: False}
    found = {row["name"]: row for row in context.rows(service, "load_roles", names=list(wanted))}
    for name, may_log_in in wanted.items():
        row = found.get(name)
        if row is None:
            login = "login password '…'" if may_log_in else "nologin"
            yield _role(f"There is no role {name}.", f"create role {name} {login};")
            continue
        if powers := [power for power in _POWERS if row[power]]:
            yield _role(
                f"The role {name} has {', '.join(powers)}.",
                f"alter role {name} {' '.join(f'no{power}' for power in powers)};",
            )
        if row["login"] != may_log_in:
            said = "can't log in" if may_log_in else "can log in"
            yield _role(f"The role {name} {said}.", f"alter role {name} {'login' if may_log_in else 'nologin'};")
    for row in context.rows(service, "list_memberships", names=[roles.app, roles.reader]):
        yield _role(
            f"The role {row['member']} is a member of {row['role']}.", f"revoke {row['role']} from {row['member']};"
        )


def look_at_privileges(context: Context, service: str) -> Iterator[Finding]:
    """Find tables with which the service's role may do more or less than it needs."""
    role, wanted = Roles(service).app, APP_PRIVILEGES[service]
    tables = {row["table_name"] for row in context.rows(service, "list_tables", schema=service)}
    if not tables:
        raise NotApplicable(f"There are no tables yet; see {service} migrations.")
    if not context.rows(service, "load_roles", names=[role]):
        raise NotApplicable(f"There is no role {role}; see {service} roles.")
    had: dict[str, set[str]] = {}
    for row in context.rows(service, "list_privileges", schema=service, grantee=role):
        had.setdefault(row["table_name"], set()).add(row["privilege"])
    for table in sorted(tables):
        name = f'{service}."{table}"'
        may, needs = had.get(table, set()), wanted.get(table, frozenset())
        if lacking := ", ".join(sorted(needs - may)):
            yield Finding(
                seen=f"The role {role} lacks {lacking} on {name}.",
                why=f"{service} fails where it needs it.",
                next=f"grant {lacking.lower()} on {name} to {role};",
            )
        if surplus := ", ".join(sorted(may - needs)):
            yield Finding(
                seen=f"The role {role} has {surplus} on {name}.",
                why="Nothing the service does needs it; a fault or an intruder could use it against what is recorded.",
                next=f"revoke {surplus.lower()} on {name} from {role}, public;",
            )


def _role(seen: str, sql: str) -> Finding:
    why = "The database's law holds for roles that may do little; one that may more can get around it, one that lacks can't work."
    return Finding(seen=seen, why=why, next=sql)
