"""Looks at the environment: is every setting known and well formed, each DSN at its database, each key good for its use."""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from shared.credentials import PERMISSION_KEYS, hash_secret, parse_key
from shared.ctl.configuration import RELAXED
from shared.ctl.doctor.context import Context, own_variables
from shared.ctl.doctor.findings import Finding, NotApplicable
from shared.migrations.bootstrap import SERVICES
from shared.settings import PREFIXES, OperatorSettings, SettingsError, known_variables, load_settings, variable_of

_ENVIRONMENTS: Final = sorted({"production", *RELAXED})
# Which keys there are, and what each must be able to do where.
_KEYS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "admin": {"authz": tuple(PERMISSION_KEYS), "audit": tuple(PERMISSION_KEYS)},
    "caller": {"authz": ("authz:check", "authz:explain")},
    "auditor": {"audit": ("audit:read",)},
}


def look_at_settings(context: Context, _: str) -> Iterator[Finding]:
    """Find variables that no program knows, that are given twice, or whose values have the wrong form."""
    known = known_variables() | {f"{name}_FILE" for name in known_variables()}
    for name in sorted(context.environment):
        if name.startswith("PLYSTRA_") and name not in known:
            yield _setting(name, _faults(OperatorSettings, {name: ""})[0])
    told = set()
    for kind in PREFIXES:
        for field in msgspec.structs.fields(kind):
            variable = variable_of(kind, field.name)
            own = own_variables(context.environment, variable)
            if not own or variable in told:
                continue
            for fault in _faults(kind, own):
                if fault.startswith(f"{variable} is not usable"):
                    told.add(variable)
                    yield _setting(f"{variable}_FILE" if f"{variable}_FILE" in own else variable, fault)


def look_at_environment(context: Context, _: str) -> Iterator[Finding]:
    """Find an environment that is none of those that are known."""
    environment = context.settings.environment
    if environment not in _ENVIRONMENTS:
        yield Finding(
            seen=f"PLYSTRA_ENVIRONMENT is {environment!r}, which is none of {', '.join(_ENVIRONMENTS)}.",
            why="It counts as production, whatever was meant.",
            next="export PLYSTRA_ENVIRONMENT=production",
        )


def look_at_dsn(context: Context, service: str) -> Iterator[Finding]:
    """Find a service whose owner DSN isn't set."""
    if context.dsn(service) is None:
        variable = f"PLYSTRA_{service.upper()}_DSN"
        yield Finding(
            seen=f"{variable} isn't set (nor {variable}_FILE).",
            why=f"Nothing can be said about the database of {service}.",
            next=f"export {variable}=postgresql://user:password@host:port/database",
        )


def look_at_databases(context: Context, _: str) -> Iterator[Finding]:
    """Find DSNs of one service that name different databases, and one database that is named for both services."""
    places: dict[str, Any] = {}
    for service in SERVICES:
        with contextlib.suppress(NotApplicable):
            places[service] = tuple(context.row(service, "identify_database").values())
            app = tuple(context.row(service, "identify_database", "app").values())
            if app != places[service]:
                variable = f"PLYSTRA_{service.upper()}_APP_DSN"
                yield Finding(
                    seen=f"PLYSTRA_{service.upper()}_DSN names the database {places[service][0]}, {variable} {app[0]}"
                    + (
                        " of another server."
                        if app[1:] != places[service][1:] and app[0] == places[service][0]
                        else "."
                    ),
                    why=f"What is migrated and verified isn't what {service} works on.",
                    next=f"export {variable}=… with the database {places[service][0]} of the owner's server",
                )
    if not places:
        raise NotApplicable("No database can be asked; see authz database and audit database.")
    if len(places) == len(SERVICES) and len(set(places.values())) == 1:
        yield Finding(
            seen=f"PLYSTRA_AUTHZ_DSN and PLYSTRA_AUDIT_DSN both name the database {places['authz'][0]}.",
            why="Each service has a database of its own: neither may be able to change what is the other's.",
            next="export PLYSTRA_AUDIT_DSN=postgresql://user:password@host:port/database of audit",
        )


def look_at_keys(context: Context, _: str) -> Iterator[Finding]:
    """Find API keys that are missing, badly formed, or that the services won't accept for what they are for."""
    urls = {service for service in SERVICES if getattr(context.settings, f"{service}_url") is not None}
    texts = {name: getattr(context.settings, f"{name}_key") for name in _KEYS}
    if not urls and not any(texts.values()):
        raise NotApplicable("Neither a service's URL nor a key is set, so no key is used from here.")
    for name, needs in _KEYS.items():
        text, variable = texts[name], f"PLYSTRA_{name.upper()}_KEY"
        if text is None:
            if urls & needs.keys():
                yield _key(name, needs, f"{variable} isn't set, while a service's URL is.")
            continue
        parsed = parse_key(text)
        if parsed is None:
            yield _key(name, needs, f"{variable} hasn't the form ply_<id>.<secret>.")
            continue
        for service, permissions in needs.items():
            with contextlib.suppress(NotApplicable):
                if fault := _refused(context, service, parsed, permissions):
                    yield _key(name, needs, f"{variable} (id {parsed[0]}) {fault} on {service}.")
                    break


def _refused(context: Context, service: str, parsed: tuple[str, str], permissions: tuple[str, ...]) -> str | None:
    rows = context.rows(service, f"find_{service}_key", id=parsed[0])
    if not rows:
        return "is unknown"
    (row,) = rows
    if not hmac.compare_digest(row["secret_hash"], hash_secret(parsed[1])):
        return "has another secret than the one that is stored"
    if row["status"] != "active" or (row["expires_at"] and row["expires_at"] <= context.now()):
        return "is revoked or expired"
    lacking = sorted(set(permissions) - set(row["permission_keys"]))
    return f"lacks {', '.join(lacking)}" if lacking else None


def _key(name: str, needs: dict[str, tuple[str, ...]], seen: str) -> Finding:
    service = "both" if len(needs) > 1 else next(iter(needs))
    permissions = " ".join(f"--permission {key}" for key in sorted({key for keys in needs.values() for key in keys}))
    return Finding(
        seen=seen,
        why="Commands that ask the services, such as smoke, would be refused.",
        next=f"export PLYSTRA_{name.upper()}_KEY=$(plystractl credential create --service {service} --name {name} {permissions})",
    )


def _setting(name: str, fault: str) -> Finding:
    return Finding(
        seen=fault, why="A setting that can't be used is without effect, or ends the program.", next=f"unset {name}"
    )


def _faults(kind: type[Any], environment: dict[str, str]) -> list[str]:
    try:
        load_settings(kind, environment)
    except SettingsError as error:
        return str(error).splitlines()
    return []
