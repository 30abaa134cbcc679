"""The statements that change what belongs to the cluster: roles and settings; and those that need a block of code."""

from __future__ import annotations

from typing import Any, Final

from shared.catalogue.words import literal

# Where a role's attribute has a word of its own in `alter role`.
_ROLE_WORDS: Final = {
    "login": ("login", "nologin"),
    "superuser": ("superuser", "nosuperuser"),
    "no_inherit": ("noinherit", "inherit"),
    "create_role": ("createrole", "nocreaterole"),
    "create_database": ("createdb", "nocreatedb"),
    "replication": ("replication", "noreplication"),
    "bypass_row_security": ("bypassrls", "nobypassrls"),
}

# The triggers of a constraint have names that nobody knows in advance.
_ENFORCE: Final = """\
do $do$ declare one record; begin
    for one in select t.tgrelid::regclass as place, t.tgname as name from pg_trigger t
        join pg_constraint c on c.oid = t.tgconstraint
        where c.conrelid = <table>::regclass and quote_ident(c.conname) = <name>
        and t.tgisinternal and t.tgenabled <> 'O' loop
        execute format('alter table %s enable trigger %I', one.place, one.name);
    end loop;
end $do$"""

# A membership may have been granted by several, and each grant is taken back by whoever gave it.
_LEAVE: Final = """\
do $do$ declare one record; begin
    for one in select g.rolname from pg_auth_members m join pg_roles g on g.oid = m.grantor
        where m.member = <member>::regrole and m.roleid = <role>::regrole loop
        execute format('revoke %s from %s granted by %I cascade', <role>, <member>, one.rolname);
    end loop;
end $do$"""


def enforce(table: str, constraint: str) -> str:
    """Return the statement that lets a constraint be enforced again."""
    return _ENFORCE.replace("<table>", literal(table)).replace("<name>", literal(constraint))


def change_role(name: str, attribute: str, member: str, value: Any, live: Any) -> list[str]:
    """Return the statements that make one attribute of a role, or one member of it, what it is to be."""
    match attribute:
        case "connection_limit":
            return [f"alter role {name} connection limit {-1 if value is None else value}"]
        case "valid_until":
            return [f"alter role {name} valid until {literal(value or 'infinity')}"]
        case "member_of":
            return _change_membership(name, member, value)
        case "parameters":
            grant = [f"grant {value} on parameter {member} to {name}"] if value else []
            return [f"revoke all on parameter {member} from {name}", *grant]
        case "system_objects":
            return [_take_system_object(name, member, live)]
    return [f"alter role {name} {_ROLE_WORDS[attribute][0 if value else 1]}"]


def _change_membership(name: str, role: str, options: str | None) -> list[str]:
    leave = _LEAVE.replace("<member>", literal(name)).replace("<role>", literal(role))
    if options is None:
        return [leave]
    words = {"admin": "admin true", "no inherit": "inherit false", "no set": "set false"}
    given = ", ".join(words[word] for word in options.split(", ") if word)
    return [leave, f"grant {role} to {name}" + (f" with {given}" if given else "")]


def _take_system_object(name: str, described: str, how: Any) -> str:
    kind, _, place = described.partition(" ")
    if how != "granted" or kind not in {"function", "table", "view"}:
        return f"-- take from {name} what it has on PostgreSQL's own {described}"
    return f"revoke all on {'function' if kind == 'function' else 'table'} {place} from {name}"


def setting_statement(whose: str, name: str, value: str | None) -> str:
    """Return the statement that sets or resets a setting of a role, of the database, or of a role in it."""
    whose = whose.removeprefix("of ")
    who = whose.removesuffix("this database").removesuffix(" in ").removeprefix("role ")
    database = whose.endswith("this database")
    if database and who:
        begin = f"alter role {who} in database :database"
    elif database:
        begin = "alter database :database"
    else:
        begin = "alter role all" if who == "all roles" else f"alter role {who}"
    return f"{begin} reset {name}" if value is None else f"{begin} set {name} = {literal(value)}"
