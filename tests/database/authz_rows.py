"""Rows of authz as raw SQL, for tests that break the laws of the schema: two Spaces with one row of every kind each.

Space `s1` has the group `g1`, the member `m1`, the role `r1` and so on; `s2` the same with a 2. The registry (type
`doc`, action `read`), the user `u1` and the permission `p1` belong to the instance.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

Connection = psycopg.Connection[tuple[Any, ...]]

_STAMPS: Final = {"created_at": "2026-03-01T12:00:00Z", "updated_at": "2026-03-01T12:00:00Z", "revision": 1}

# A row of each table that is in order as it stands; what a test changes is what it is about.
PROPER: Final[dict[str, dict[str, Any]]] = {
    "user": {"id": "u", "email": "u@example.com"},
    "space": {"id": "s", "key": "s", "name": "S"},
    "group": {"id": "g", "space_id": "s1", "key": "g", "name": "G", "path": "g"},
    "member": {"id": "m", "space_id": "s1", "display_name": "M"},
    "user_member": {"id": "um", "space_id": "s1", "user_id": "u1", "member_id": "m1"},
    "resource_type": {"id": "rt", "key": "rt", "display_name": "RT"},
    "resource_action": {"id": "ra", "resource_type": "doc", "key": "ra", "display_name": "RA", "risk_level": "low"},
    "role": {"id": "r", "space_id": "s1", "key": "r", "name": "R"},
    "permission": {"id": "p", "resource_type": "doc", "action": "read", "scope": "space"},
    "role_permission": {"id": "rp", "space_id": "s1", "role_id": "r1", "permission_id": "p3"},
    "member_role": {"id": "mr", "space_id": "s1", "member_id": "m1", "role_id": "r1"},
    "resource": {"id": "x", "space_id": "s1", "resource_type": "doc"},
}
TABLES: Final = tuple(PROPER)


def insert(connection: Connection, table: str, **changes: Any) -> None:
    """Insert the proper row of a table with some columns changed."""
    row = PROPER[table] | _STAMPS | changes
    values = [Jsonb(value) if isinstance(value, dict | list) else value for value in row.values()]
    connection.execute(
        sql.SQL("insert into authz.{} ({}) values ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join([sql.SQL("%s")] * len(row)),
        ),
        values,
    )


def settle(connection: Connection) -> None:
    """Check what is deferred now, as a commit would."""
    connection.execute("set constraints all immediate")


def fill(connection: Connection) -> None:
    """Insert the two Spaces with everything in them."""
    insert(connection, "user", id="u1", email="u1@example.com")
    insert(connection, "resource_type", id="rt1", key="doc")
    insert(connection, "resource_action", id="ra1", key="read")
    insert(connection, "resource_action", id="ra2", key="write")
    insert(connection, "permission", id="p1", scope="group_tree")
    insert(connection, "permission", id="p2", scope="self")
    insert(connection, "permission", id="p3", action="write", scope="self")
    for n in "12":
        space = {"space_id": f"s{n}"}
        insert(connection, "space", id=f"s{n}", key=f"s{n}")
        insert(connection, "group", id=f"g{n}", key=f"top{n}", path=f"top{n}", **space)
        insert(connection, "group", id=f"gg{n}", key="sub", path=f"top{n}.sub", parent_group_id=f"g{n}", **space)
        insert(
            connection, "group", id=f"ggg{n}", key="leaf", path=f"top{n}.sub.leaf", parent_group_id=f"gg{n}", **space
        )
        insert(connection, "member", id=f"m{n}", **space)
        insert(connection, "user_member", id=f"um{n}", member_id=f"m{n}", **space)
        insert(connection, "role", id=f"r{n}", key=f"reader{n}", **space)
        insert(connection, "role_permission", id=f"rp{n}", role_id=f"r{n}", permission_id=f"p{n}", **space)
        anchored = {"member_id": f"m{n}", "role_id": f"r{n}", "scope_anchor_group_id": f"g{n}"}
        insert(connection, "member_role", id=f"mr{n}", **anchored, **space)
        insert(connection, "resource", id=f"x{n}", group_id=f"gg{n}", owner_member_id=f"m{n}", **space)
