"""`plystractl credential`: make, import, list and revoke API keys."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from cyclopts import App, Parameter

from shared.credentials import PERMISSION_KEYS, new_key
from shared.ctl.configuration import Which, chosen, owner_dsn
from shared.ctl.console import OUT, Format
from shared.ctl.keys import NamedKey, list_keys, revoke_keys, store_keys
from shared.ctl.reports import Report, print_report
from shared.migrations.errors import ExitCode, UsageError

app: Final = App(name="credential", help="Make, list and revoke the API keys that the services accept.")


class CreatedReport(Report, frozen=True, kw_only=True, tag="plystractl.credential.create/1"):
    """A key that was made; it is told this once."""

    key: str
    name: str
    services: list[str]
    permission_keys: list[str]


class ListedKey(msgspec.Struct, frozen=True, kw_only=True):
    """What a service has stored of a key."""

    service: str
    credential_id: str
    name: str
    permission_keys: list[str]
    status: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class ListReport(Report, frozen=True, kw_only=True, tag="plystractl.credential.list/1"):
    """All keys of the services that were asked about."""

    credentials: list[ListedKey]


class ChangedKey(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a key at a service."""

    service: str
    credential_id: str
    outcome: Literal["stored", "stays revoked", "revoked"]


class ChangedReport(Report, frozen=True, kw_only=True, tag="plystractl.credential.change/1"):
    """What `import` or `revoke` did."""

    changes: list[ChangedKey]


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
        services, permissions = list(chosen(service)), list(key.permission_keys)
        print_report(CreatedReport(key=key.text, name=name, services=services, permission_keys=permissions))
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
    format: Format = "human",
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
    format
        For people, or one JSON document.
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
    changes: list[ChangedKey] = []
    for each in chosen(service):
        dsn = owner_dsn(each)
        if any(row["credential_id"] == id and row["status"] == "revoked" for row in list_keys(each, dsn)):
            changes.append(ChangedKey(service=each, credential_id=id, outcome="stays revoked"))
        else:
            store_keys(each, dsn, [key])
            changes.append(ChangedKey(service=each, credential_id=id, outcome="stored"))
    _tell(changes, format)
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
        print_report(
            ListReport(credentials=[ListedKey(service=each, **row) for each, rows in found.items() for row in rows])
        )
        return ExitCode.CLEAN
    for each, rows in found.items():
        for row in rows:
            permissions = " ".join(row["permission_keys"])
            OUT.print(f"{each}  {row['credential_id']}  {row['status']:<7}  {row['name']}: {permissions}")
    return ExitCode.CLEAN


@app.command
def revoke(which: str, *, service: Which = "both", format: Format = "human") -> ExitCode:
    """Revoke the active keys of that id or name; services notice within some seconds.

    Parameters
    ----------
    which
        The key's id (between `ply_` and the dot) or its name.
    service
        Where.
    format
        For people, or one JSON document.
    """
    revoked = [
        ChangedKey(service=each, credential_id=id, outcome="revoked")
        for each in chosen(service)
        for id in revoke_keys(each, owner_dsn(each), which)
    ]
    if not revoked:
        raise UsageError(
            f"There is no active key with the id or name {which}.",
            why="Nothing was revoked.",
            remedy="plystractl credential list",
        )
    _tell(revoked, format)
    return ExitCode.CLEAN


def _tell(changes: list[ChangedKey], format: Format) -> None:
    if format == "json":
        print_report(ChangedReport(changes=changes))
        return
    for each in changes:
        if each.outcome == "stays revoked":
            OUT.print(
                f"! {each.service}: {each.credential_id} was revoked and stays so; import another.", style="yellow"
            )
        else:
            OUT.print(f"✓ {each.service}: {each.credential_id} is {each.outcome}.", style="green")


def _checked(permissions: list[str]) -> tuple[str, ...]:
    if unknown := sorted(set(permissions) - set(PERMISSION_KEYS)):
        known = "; ".join(f"{key} ({text})" for key, text in PERMISSION_KEYS.items())
        raise UsageError(
            f"There is no permission key {', '.join(unknown)}.",
            why="A key with a permission that no route asks for would only look as if it allowed something.",
            remedy=f"choose among {known}",
        )
    return tuple(sorted(set(permissions)))
