"""Looks whether the catalogue of each database is the one that is expected after the migrations that are applied to it.

What another check looks at by itself, knowing what it means, is left to that one: a fault is told once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from shared.catalogue.compare import restore_script
from shared.catalogue.model import Difference, kind_of
from shared.ctl.doctor.context import Context
from shared.ctl.doctor.findings import Finding, NotApplicable
from shared.ctl.doctor.server import RULES
from shared.migrations.bootstrap import Roles
from shared.migrations.errors import CannotCompare
from shared.migrations.schema import check_schema

_POWERS: Final = frozenset(
    {"superuser", "bypass_row_security", "create_role", "create_database", "replication", "login", "connection_limit"}
)


def look_at_schema(context: Context, service: str) -> Iterator[Finding]:
    """Find every difference, each with the SQL that takes it back; a pending migration is none."""
    try:
        found = check_schema(service, context.session(service)).differences
    except CannotCompare as error:
        raise NotApplicable(f"{error.found} Next: {error.remedy}") from error
    for difference in found:
        if not _is_told_elsewhere(difference, Roles(service)):
            yield Finding(
                seen=f"{difference}.",
                why="The schema isn't the one that migrations make, so what was tested isn't what runs.",
                next=restore_script([difference]).strip(),
            )


def _is_told_elsewhere(difference: Difference, roles: Roles) -> bool:
    attribute, object = difference.attribute or "", difference.object
    match kind_of(object):
        case "role":  # roles, connections
            is_membership = attribute.startswith("member_of.") and object in (
                f"role {roles.app}",
                f"role {roles.reader}",
            )
            return attribute in _POWERS or is_membership
        case "settings":  # server_settings
            return bool(names := _settings(difference)) and names <= RULES.keys()
        case "database":  # connect_privilege, connections
            return attribute in ("connection_limit", f"grants.{roles.app}", f"grants.{roles.reader}")
        case "table":  # privileges
            return attribute == f"grants.{roles.app}"
        case "index":  # indexes
            return attribute == "invalid"
        case _:
            return False


def _settings(difference: Difference) -> set[str]:
    if difference.attribute is not None:
        return {difference.attribute.removeprefix("settings.")}
    whole: Any = difference.live or difference.expected or {}
    return set(whole.get("settings", {}))
