"""What `plystractl` is told by its environment, and the services that a command is about."""

from __future__ import annotations

from typing import Final, Literal

from shared.migrations.bootstrap import SERVICES
from shared.migrations.errors import UsageError
from shared.settings import OperatorSettings, SettingsError, load_settings

Which = Literal["authz", "audit", "both"]
RELAXED: Final = frozenset({"development", "test"})


def chosen(which: Which) -> tuple[str, ...]:
    """Return the services that `--service` names."""
    return SERVICES if which == "both" else (which,)


def load_operator_settings() -> OperatorSettings:
    """Read the environment, raising `UsageError` for a setting that is unknown or badly formed."""
    try:
        return load_settings(OperatorSettings)
    except SettingsError as error:
        raise UsageError(
            str(error), why="A misspelt setting would silently be without effect.", remedy="correct the environment."
        ) from error


def is_production() -> bool:
    """Tell whether what guards production applies; an environment that isn't known counts as production."""
    return load_operator_settings().environment not in RELAXED


def owner_dsn(service: str) -> str:
    """Return the DSN that a service's database is migrated with."""
    dsn: str | None = getattr(load_operator_settings(), f"{service}_dsn")
    if dsn is None:
        variable = f"PLYSTRA_{service.upper()}_DSN"
        raise UsageError(
            f"{variable} isn't set (nor {variable}_FILE).",
            why=f"It says which database is meant for {service}, and who may change it.",
            remedy="`set -a; . .plystra/dev.env; set +a` after `make up`, or set it to postgresql://user:password@host:port/database",
        )
    return dsn
