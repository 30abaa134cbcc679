"""What checks look with: settings as far as they can be used, one session a database and role, HTTP, and the time."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import psycopg
from psycopg.rows import dict_row

from shared.clock import Clock, utc_now
from shared.ctl.configuration import RELAXED
from shared.ctl.doctor.findings import NotApplicable
from shared.ctl.doctor.limits import Limits
from shared.db import load_queries
from shared.migrations.bootstrap import Connection
from shared.migrations.errors import OperatorError
from shared.migrations.ledger import connect
from shared.settings import OperatorSettings, SettingsError, load_settings, variable_of

QUERIES: Final = load_queries(Path(__file__).with_name("queries.sql"))
_HTTP_SECONDS: Final = 5.0


class Context:
    """Made once for an examination; a session that failed is opened anew by the next check."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        home: Path = Path(".plystra"),
        backups: Path | None = None,
        backup_max_age_hours: float = 24.0,
        limits: Limits | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self.environment = environment
        self.settings = usable_settings(environment)
        self.home = home
        self.backups = backups or (Path(self.settings.backup_dir) if self.settings.backup_dir else None)
        self.backup_max_age_hours = backup_max_age_hours
        self.limits = limits or Limits()
        self.now = clock
        self.reached = False
        self._sessions: dict[str, Connection] = {}
        self._failures: dict[str, OperatorError] = {}

    @property
    def is_production(self) -> bool:
        """Whether what is demanded of production is demanded."""
        return self.settings.environment not in RELAXED

    def dsn(self, service: str, role: str = "owner") -> str | None:
        """Return the DSN of a service's owner or app, None when it isn't set."""
        dsn: str | None = getattr(self.settings, f"{service}_dsn" if role == "owner" else f"{service}_app_dsn")
        return dsn

    def open(self, service: str, role: str = "owner") -> Connection:
        """Return a session of a service's owner or app; raises `NotApplicable` without a DSN, else `OperatorError`."""
        dsn = self.dsn(service, role)
        if dsn is None:
            part = "" if role == "owner" else "_APP"
            raise NotApplicable(f"PLYSTRA_{service.upper()}{part}_DSN isn't set.")
        if dsn in self._failures:
            raise self._failures[dsn]
        session = self._sessions.get(dsn)
        if session is None or session.closed:
            try:
                session = self._sessions[dsn] = connect(dsn, "doctor", read_only=True)
            except OperatorError as error:
                self._failures[dsn] = error
                raise
            self.reached = True
        return session

    def session(self, service: str, role: str = "owner") -> Connection:
        """Return the same for a check that is about something else: that it can't be had is told by another check."""
        try:
            return self.open(service, role)
        except OperatorError as error:
            check = "database" if role == "owner" else "app_login"
            raise NotApplicable(f"The database can't be asked; see {service} {check}.") from error

    def rows(self, service: str, query: str, role: str = "owner", **parameters: Any) -> list[dict[str, Any]]:
        """Run one of this package's statements and return its rows."""
        with self.session(service, role).cursor(row_factory=dict_row) as cursor:
            return cursor.execute(QUERIES[query], parameters).fetchall()

    def row(self, service: str, query: str, role: str = "owner", **parameters: Any) -> dict[str, Any]:
        """Run a statement that returns one row."""
        (row,) = self.rows(service, query, role, **parameters)
        return row

    def get(self, service: str, path: str) -> httpx.Response:
        """Ask a service; raises `NotApplicable` without a URL, else `httpx.HTTPError`."""
        url: str | None = getattr(self.settings, f"{service}_url")
        if url is None:
            raise NotApplicable(f"PLYSTRA_{service.upper()}_URL isn't set.")
        response = httpx.get(url.rstrip("/") + path, timeout=_HTTP_SECONDS, trust_env=False)
        self.reached = True
        return response

    def ask(self, service: str, path: str) -> httpx.Response:
        """Do the same for a check that is about something else than whether the service answers."""
        try:
            return self.get(service, path)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotApplicable(f"{service} doesn't answer; see {service} health.") from error

    def abandon(self) -> None:
        """Cancel what sessions are doing and let go of them: a check was given up."""
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            with contextlib.suppress(psycopg.Error):
                session.cancel_safe(timeout=1.0)

    def close(self) -> None:
        """Close all sessions."""
        for session in self._sessions.values():
            session.close()


def usable_settings(environment: Mapping[str, str]) -> OperatorSettings:
    """Read each setting by itself and leave out what can't be used; the check `settings` tells of those."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(OperatorSettings):
        with contextlib.suppress(SettingsError):
            own = own_variables(environment, variable_of(OperatorSettings, field.name))
            values[field.name] = getattr(load_settings(OperatorSettings, own), field.name)
    return OperatorSettings(**values)


def own_variables(environment: Mapping[str, str], variable: str) -> dict[str, str]:
    """Return a variable and its `_FILE` form, as far as they are set."""
    return {name: environment[name] for name in (variable, f"{variable}_FILE") if name in environment}
