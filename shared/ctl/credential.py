"""`plystractl credential`: make, import, list and revoke API keys."""

from __future__ import annotations

import sys
from typing import Annotated, Final

from cyclopts import App, Parameter

from shared.credentials import PERMISSION_KEYS, new_key
from shared.ctl.configuration import Which, chosen, owner_dsn
from shared.ctl.console import OUT, Format, print_json
from shared.ctl.keys import NamedKey, list_keys, revoke_keys, store_keys
from shared.migrations.errors import ExitCode, UsageError

app: Final = App(name="credential", help="Make, list and revoke the API keys that the services accept.")


@app.command
def create(
    *,
    service: Which,
    name: str,
    permission: Annotated[list[str], Parameter(negative="")],
    format: Format = "human",
) -> ExitCode:
    """Make a key and print it, this once: only its hash is stored.

    Parameters
    ----------
    service
        Where it is to be accepted; `both` makes one key for both.
    name
        What it is called in lists and messages.
    permission
        A permission key that it holds, such as authz:check; may be repeated.
    format
        For people, or one JSON document.
    """
    key = NamedKey(name, new_key().text, _checked(permission))
    for each in chosen(service):
        store_keys(each, owner_dsn(each), [key])
    if format == "json":
        permissions = list(key.permission_keys)
        print_json({"key": key.text, "name": name, "services": list(chosen(service)), "permission_keys": permissions})
    else:
        OUT.print(key.text)
    return ExitCode.CLEAN


@app.command(name="import")
def import_(
    *,
    service: Which,
    name: str,
    permission: Annotated[list[str], Parameter(negative="")] | None = None,
    every_permission: Annotated[bool, Parameter(negative="")] = False,
) -> ExitCode:
    """Store a key that was made elsewhere, read from standard input; doing it again changes nothing.

    A key that was revoked stays revoked: what a deployment repeats must not undo what an operator did.

    Parameters
    ----------
    service
        Where it is to be accepted.
    name
        What it is called in lists and messages.
    permission
        A permission key that it holds, such as authz:check; may be repeated.
    every_permission
        It holds every permission key.
    """
    permissions = tuple(PERMISSION_KEYS) if every_permission else _checked(permission or [])
    if not permissions:
        raise UsageError(
            "Neither --permission nor --every-permission is given.",
            why="A key that holds no permission opens nothing.",
            remedy="say what it may do, e.g. --permission audit:read",
        )
    key = NamedKey(name, sys.stdin.read().strip(), permissions)
    id = key.text.partition(".")[0].removeprefix("ply_")
    for each in chosen(service):
        dsn = owner_dsn(each)
        if any(row["credential_id"] == id and row["status"] == "revoked" for row in list_keys(each, dsn)):
            OUT.print(f"! {each}: {name} was revoked and stays so; import another key.", style="yellow")
            continue
        store_keys(each, dsn, [key])
        OUT.print(f"✓ {each}: {name} is stored.", style="green")
    return ExitCode.CLEAN


@app.command(name="list")
def list_(*, service: Which = "both", format: Format = "human") -> ExitCode:
    """Show each key's id, name, permissions and status; the keys themselves are nowhere.

    Parameters
    ----------
    service
        Whose keys.
    format
        For people, or one JSON document.
    """
    found = {each: list_keys(each, owner_dsn(each)) for each in chosen(service)}
    if format == "json":
        print_json({"credentials": [{"service": each, **row} for each, rows in found.items() for row in rows]})
        return ExitCode.CLEAN
    for each, rows in found.items():
        for row in rows:
            permissions = " ".join(row["permission_keys"])
            OUT.print(f"{each}  {row['credential_id']}  {row['status']:<7}  {row['name']}: {permissions}")
    return ExitCode.CLEAN


@app.command
def revoke(which: str, *, service: Which = "both") -> ExitCode:
    """Revoke the active keys of that id or name; services notice within some seconds.

    Parameters
    ----------
    which
        The key's id (between `ply_` and the dot) or its name.
    service
        Where.
    """
    revoked = [(each, id) for each in chosen(service) for id in revoke_keys(each, owner_dsn(each), which)]
    for each, id in revoked:
        OUT.print(f"✓ {each}: {id} is revoked.", style="green")
    if not revoked:
        raise UsageError(
            f"There is no active key with the id or name {which}.",
            why="Nothing was revoked.",
            remedy="plystractl credential list",
        )
    return ExitCode.CLEAN


def _checked(permissions: list[str]) -> tuple[str, ...]:
    if unknown := sorted(set(permissions) - set(PERMISSION_KEYS)):
        known = "; ".join(f"{key} ({text})" for key, text in PERMISSION_KEYS.items())
        raise UsageError(
            f"There is no permission key {', '.join(unknown)}.",
            why="A key with a permission that no route asks for would only look as if it allowed something.",
            remedy=f"choose among {known}",
        )
    return tuple(sorted(set(permissions)))
