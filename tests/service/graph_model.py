"""What every administrative command must do: the permission graph as plain dicts, by brute force.

It is written from the rules and knows nothing of the code that it stands beside: no table, no constraint and no form of
the service is read here. Open `Graph.obey` first.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

Row = dict[str, Any]
Rows = dict[str, dict[tuple[str, ...], Row]]

TIMES: Final = frozenset({"created_at", "updated_at", "expires_at", "not_before", "revoked_at"})
DATED: Final = frozenset({"member_role", "user_member"})
# What a row is when its request leaves it out, beside id, status and metadata.
DEFAULTS: Final[dict[str, Row]] = {
    "user": {"display_name": None},
    "space": {},
    "group": {"parent_group_id": None},
    "member": {"member_type": "person"},
    "user_member": {
        "relation_type": "assigned",
        "is_primary": False,
        "expires_at": None,
        "revoked_at": None,
        "revoked_reason": None,
    },
    "resource_type": {"description": None},
    "resource_action": {},
    "role": {"description": None},
    "permission": {"condition": None},
    "role_permission": {},
    "member_role": {
        "scope_anchor_group_id": None,
        "not_before": None,
        "expires_at": None,
        "revoked_at": None,
        "revoked_reason": None,
    },
    "resource": {
        "external_id": None,
        "group_id": None,
        "owner_member_id": None,
        "display_name": None,
        "properties": {},
    },
}
IN_SPACE: Final = frozenset({"group", "member", "user_member", "role", "role_permission", "member_role", "resource"})
MADE: Final = {
    "user_member": "bound",
    "resource_type": "registered",
    "resource_action": "registered",
    "role_permission": "added",
    "member_role": "granted",
    "resource": "registered",
}
ENDED: Final = {"user_member": "revoked", "member_role": "revoked", "resource": "archived"}
# What no two rows of a noun may agree in.
UNIQUE: Final[dict[str, tuple[str, ...]]] = {
    "user": ("email",),
    "space": ("key",),
    "group": ("space_id", "parent_group_id", "key"),
    "resource_type": ("key",),
    "resource_action": ("resource_type", "key"),
    "role": ("space_id", "key"),
    "permission": ("resource_type", "action", "scope", "condition"),
    "role_permission": ("role_id", "permission_id"),
    "member_role": ("member_id", "role_id", "scope_anchor_group_id"),
}
# Which fields name another row; where both belong to a Space it must be the same.
LINKS: Final[dict[str, dict[str, str]]] = {
    "group": {"space_id": "space", "parent_group_id": "group"},
    "member": {"space_id": "space"},
    "role": {"space_id": "space"},
    "user_member": {"user_id": "user", "member_id": "member"},
    "role_permission": {"role_id": "role", "permission_id": "permission"},
    "member_role": {"member_id": "member", "role_id": "role", "scope_anchor_group_id": "group"},
    "resource": {"space_id": "space", "group_id": "group", "owner_member_id": "member"},
}
KEPT_FOR: Final = timedelta(hours=24)


class Command(NamedTuple):
    """What is asked for: create, update, end, restore or move, with `values` as the JSON of the request has them."""

    verb: str
    noun: str
    space_id: str | None
    identity: tuple[str, ...]
    values: Row
    reason: str | None = None
    if_match: str | None = None
    key: str | None = None

    @property
    def text(self) -> str:
        """The whole request as one text; Python holds 1 for True, and JSON doesn't."""
        return json.dumps(self)


class Done(NamedTuple):
    """What a command did: the row as it is answered, and the event's kind and row before, if there was an event."""

    row: Row
    kind: str | None = None
    before: Row | None = None
    is_repeated: bool = False


class Refused(Exception):
    """A command that must be refused, with any one of these problem codes."""

    def __init__(self, *codes: str) -> None:
        super().__init__(*codes)
        self.codes = frozenset(codes)


class Graph:
    """The rows by noun and identity, the revision, and the answers that are kept by their Idempotency-Key."""

    def __init__(self) -> None:
        self.rows: Rows = {noun: {} for noun in DEFAULTS}
        self.revision = 0
        self.answers: dict[str, tuple[str, Row, datetime]] = {}

    def obey(self, command: Command, now: datetime) -> Done:
        """Do what the command says, at a time that no earlier command is later than; or raise `Refused`, changed in nothing."""
        if command.key in self.answers:
            text, row, since = self.answers[command.key]
            if now - since <= KEPT_FOR:
                if text != command.text:
                    raise Refused("idempotency_key_reused")
                return Done(row, is_repeated=True)
        done = self._create(command, now) if command.verb == "create" else self._change(command, now)
        if command.key is not None:
            self.answers = {key: kept for key, kept in self.answers.items() if now - kept[2] <= KEPT_FOR}
            self.answers[command.key] = (command.text, done.row, now)
        return done

    def of(self, noun: str) -> Iterator[Row]:
        """The rows of a noun."""
        yield from self.rows[noun].values()

    def with_id(self, noun: str, id_: str | None) -> Row | None:
        """The row of a noun, not a resource, with that id, whatever its Space."""
        return self.rows[noun].get((id_ or "",))

    def is_at_or_below(self, group_id: str | None, top: str) -> bool:
        """Whether a group is another one or lies below it, told by going up."""
        while group_id is not None:
            if group_id == top:
                return True
            group = self.with_id("group", group_id)
            group_id = None if group is None else group["parent_group_id"]
        return False

    def _create(self, command: Command, now: datetime) -> Done:
        noun = command.noun
        if noun in IN_SPACE and self.with_id("space", command.space_id) is None:
            raise Refused("not_found")
        row = {"status": "active", "metadata": {}, **DEFAULTS[noun], **timed(command.values)}
        row |= {"id": command.identity[-1]} | ({"space_id": command.space_id} if noun in IN_SPACE else {})
        codes = expired(command, now)
        before = next((old for old in self.of(noun) if noun == "member_role" and is_revoked_grant(old, row)), None)
        if before is not None:
            row |= {"id": before["id"], "created_at": before["created_at"]}
        elif command.identity in self.rows[noun]:
            codes.add("duplicate_id")
        return self._write(noun, MADE.get(noun, "created"), before, row, now, codes)

    def _change(self, command: Command, now: datetime) -> Done:
        noun, verb = command.noun, command.verb
        before = self.rows[noun].get(command.identity)
        if before is None or (noun in IN_SPACE and before["space_id"] != command.space_id):
            raise Refused("not_found")
        if not matches(command.if_match, before["revision"]):
            raise Refused("etag_mismatch")
        ended = ENDED.get(noun, "disabled")
        if verb == "end":
            if before["status"] == ended:
                raise Refused("status_conflict")
            dated = {"revoked_at": now, "revoked_reason": command.reason} if noun in DATED else {}
            return self._write(noun, ended, before, before | {"status": ended} | dated, now, set())
        if verb == "restore":
            if before["status"] == "active":
                raise Refused("status_conflict")
            return self._write(noun, "restored", before, before | {"status": "active"}, now, set())
        if verb == "update" and before["status"] == "revoked":
            raise Refused("status_conflict")
        after = before | timed(command.values)
        codes = expired(command, now)
        if verb == "move" and self.is_at_or_below(after["parent_group_id"], before["id"]):
            codes.add("group_cycle")
        if as_json(after) == as_json(before) and not codes:
            return Done(before)
        return self._write(noun, "moved" if verb == "move" else "updated", before, after, now, codes)

    def _write(self, noun: str, verb: str, before: Row | None, row: Row, now: datetime, codes: set[str]) -> Done:
        codes = codes | self._broken(noun, row)
        if codes:
            raise Refused(*codes)
        self.revision += 1
        row = {"created_at": now} | row | {"updated_at": now, "revision": self.revision}
        identity = (row["resource_type"], row["id"]) if noun == "resource" else (row["id"],)
        self.rows[noun][identity] = row
        if noun == "group":
            self._place_all(now)
        return Done(self.rows[noun][identity], f"{noun}.{verb}", before)

    def _place_all(self, now: datetime) -> None:
        """Give every group the path that its parents make; one that has another now has been touched."""
        for group in list(self.of("group")):
            keys, above = [group["key"]], group["parent_group_id"]
            while above is not None:
                parent = self.rows["group"][(above,)]
                keys.append(parent["key"])
                above = parent["parent_group_id"]
            path = ".".join(reversed(keys))
            if group.get("path") != path:
                touched = {"path": path, "updated_at": now, "revision": self.revision}
                self.rows["group"][(group["id"],)] = group | touched

    def _broken(self, noun: str, row: Row) -> set[str]:
        """The code of every rule that a row would break."""
        codes = set()
        if has_fraction([row["metadata"], row.get("properties"), row.get("condition")]):
            codes.add("validation_failed")
        others = (other for other in self.of(noun) if other["id"] != row["id"])
        if noun in UNIQUE and any(unique(noun, other) == unique(noun, row) for other in others):
            codes.add("duplicate_key")
        for field, target in LINKS.get(noun, {}).items():
            other = self.with_id(target, row[field])
            if other is None and row[field] is not None:
                codes.add("reference_unknown")
            if other is not None and target in IN_SPACE and other["space_id"] != row["space_id"]:
                codes.add("foreign_space")
        if noun in {"resource_action", "permission", "resource"}:
            if all(known["key"] != row["resource_type"] for known in self.of("resource_type")):
                codes.add("resource_type_unknown")
            elif noun == "permission" and all(
                (known["resource_type"], known["key"]) != (row["resource_type"], row["action"])
                for known in self.of("resource_action")
            ):
                codes.add("resource_action_unknown")
        if noun == "permission" and row["scope"] not in {"self", "group", "group_tree", "space"}:
            codes.add("scope_refused")
        if (
            noun == "member_role"
            and None not in (begin := (row["not_before"], row["expires_at"]))
            and begin[0] > begin[1]
        ):
            codes.add("validity_window_empty")
        return codes


def timed(values: Row) -> Row:
    """Values of a request or a row as JSON has it, with every time as one, in UTC."""
    return {
        name: datetime.fromisoformat(value).astimezone(UTC) if name in TIMES and isinstance(value, str) else value
        for name, value in values.items()
    }


def as_json(value: Any) -> str:
    """A value as a text that is another one for every other JSON value."""
    return json.dumps(value, sort_keys=True, default=datetime.isoformat)


def unique(noun: str, row: Row) -> str:
    """What no other row of the noun may have, as a text."""
    return as_json([row[field].lower() if field == "email" else row[field] for field in UNIQUE[noun]])


def expired(command: Command, now: datetime) -> set[str]:
    """The refusal of a validity that is over before it is given."""
    expires_at = timed(command.values).get("expires_at")
    is_over = command.noun in DATED and expires_at is not None and expires_at < now
    return {"expires_in_the_past"} if is_over else set()


def is_revoked_grant(old: Row, row: Row) -> bool:
    """Whether a stored grant was revoked and is of the same role, member and anchor."""
    fields = ("space_id", "member_id", "role_id", "scope_anchor_group_id")
    return old["status"] == "revoked" and all(old[field] == row[field] for field in fields)


def matches(if_match: str | None, revision: int) -> bool:
    """Whether an If-Match lets a row of that revision be changed."""
    return if_match is None or bool({"*", f'"{revision}"'} & {tag.strip() for tag in if_match.split(",")})


def has_fraction(value: Any) -> bool:
    """Whether a number with a fraction or exponent is anywhere in a JSON value; the log has no form for one."""
    match value:
        case float():
            return True
        case dict():
            return any(has_fraction(child) for child in value.values())
        case list():
            return any(has_fraction(child) for child in value)
    return False
