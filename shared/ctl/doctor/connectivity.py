"""Looks whether everything can be reached: databases as owner and as app, in a supported version, and services over HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
from psycopg import conninfo

from shared.ctl.doctor.context import Context
from shared.ctl.doctor.findings import Finding
from shared.ctl.doctor.limits import NEWEST_MAJOR, OLDEST_MAJOR
from shared.migrations.bootstrap import Roles
from shared.migrations.errors import OperatorError, UsageError
from shared.release import SERVICE_VERSION

# Told by checks of the same name, from the same database.
_TOLD_ELSEWHERE = frozenset({"migrations", "maintenance"})


def look_at_database(context: Context, service: str) -> Iterator[Finding]:
    """Find a database that doesn't let its owner in, or that is a standby."""
    try:
        context.open(service)
    except OperatorError as error:
        yield Finding(
            seen=error.found,
            why=error.why,
            next=_reaching(error, f"PLYSTRA_{service.upper()}_DSN", context.dsn(service)),
        )
        return
    if context.row(service, "is_standby")["is_standby"]:
        yield Finding(
            seen=f"PLYSTRA_{service.upper()}_DSN leads to a standby.",
            why="Nothing can be written there, so the service can neither record nor append.",
            next=f"export PLYSTRA_{service.upper()}_DSN=… of the primary, or on the standby: select pg_promote();",
        )


def look_at_server_version(context: Context, service: str) -> Iterator[Finding]:
    """Find a PostgreSQL that isn't supported."""
    major = context.session(service).info.server_version // 10_000
    if not OLDEST_MAJOR <= major <= NEWEST_MAJOR:
        yield Finding(
            seen=f"The server is PostgreSQL {major}.",
            why=f"Plystra is tested on PostgreSQL {OLDEST_MAJOR} to {NEWEST_MAJOR}.",
            next=f"move the database to PostgreSQL {NEWEST_MAJOR}: plystractl backup create --service {service}",
        )


def look_at_app_login(context: Context, service: str) -> Iterator[Finding]:
    """Find a service's own DSN that doesn't get in, or gets in as another role than the service's."""
    variable, role = f"PLYSTRA_{service.upper()}_APP_DSN", Roles(service).app
    try:
        session = context.open(service, "app")
    except OperatorError as error:
        yield Finding(
            seen=error.found,
            why=f"{service} can't work with it.",
            next=_reaching(error, variable, context.dsn(service, "app")),
        )
        return
    if session.info.user != role:
        yield Finding(
            seen=f"{variable} logs in as {session.info.user}.",
            why=f"{role} may do what {service} needs and no more.",
            next=f"export {variable}=… with the user {role}",
        )


def look_at_connect_privilege(context: Context, service: str) -> Iterator[Finding]:
    """Find a database that the service's role or its readers may not connect to."""
    for row in context.rows(service, "find_shut_out", roles=[Roles(service).app, Roles(service).reader]):
        yield Finding(
            seen=f"The role {row['role']} may not connect to the database {row['database']}.",
            why="Whoever logs in as a member of it is turned away.",
            next=f"grant connect on database {row['database']} to {row['role']};",
        )


def look_at_health(context: Context, service: str) -> Iterator[Finding]:
    """Find a service that doesn't answer, or another program in its place."""
    url = re.sub(r"//[^/]*@", "//", getattr(context.settings, f"{service}_url") or "")  # without a password in it
    try:
        found = _data(context.get(service, "/api/v1/health")).get("service")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, UnicodeError) as error:
        yield Finding(
            seen=f"{service} doesn't answer at {url}: {type(error).__name__}: {error}",
            why="Nobody who asks there gets an answer.",
            next=f"plystra-{service} serve",
        )
        return
    if found != service:
        yield Finding(
            seen=f"At {url} answers {found or 'something else'}, not {service}.",
            why="Questions and events would go to the wrong program.",
            next=f"export PLYSTRA_{service.upper()}_URL=… of {service}",
        )


def look_at_ready(context: Context, service: str) -> Iterator[Finding]:
    """Find what a service itself says it lacks."""
    response = context.ask(service, "/api/v1/ready")
    if response.is_success:
        return
    for fault in _document(response).get("errors") or [{"parameter": "ready", "detail": response.text[:300]}]:
        if fault.get("parameter") not in _TOLD_ELSEWHERE:
            yield Finding(
                seen=f"{service} isn't ready: {fault.get('detail')}",
                why="It answers 503, or should get no requests.",
                next=f"do what it says (docs/operating.md, Readiness, `{fault.get('parameter')}`), then: plystractl doctor",
            )


def look_at_version(context: Context, service: str) -> Iterator[Finding]:
    """Find a service of another release than this tool."""
    found = _data(context.ask(service, "/api/v1/version")).get("service_version")
    if found is not None and found != SERVICE_VERSION:
        yield Finding(
            seen=f"{service} is of release {found}, this tool of {SERVICE_VERSION}.",
            why="What one of them migrates or expects may not be what the other knows.",
            next=f"run plystractl of release {found}, or start {service} of release {SERVICE_VERSION}",
        )


def _reaching(error: OperatorError, variable: str, dsn: str | None) -> str:
    if isinstance(error, UsageError) or dsn is None:
        return f"export {variable}=postgresql://user:password@host:port/database"
    parts = conninfo.conninfo_to_dict(dsn)
    place = f"-h {parts.get('host', 'localhost')} -p {parts.get('port', 5432)}"
    return f"pg_isready {place}; if it runs, put right user, password and database in {variable}"


def _document(response: httpx.Response) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _data(response: httpx.Response) -> dict[str, Any]:
    data = _document(response).get("data")
    return data if isinstance(data, dict) else {}
