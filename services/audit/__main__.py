"""`plystra-audit`: serve, openapi, statements."""

from __future__ import annotations

import sys

import msgspec
from cyclopts import App

from services.audit.app import create_app
from services.audit.store import SQL
from shared.release import SERVICE_VERSION
from shared.settings import AuditSettings, SettingsError, load_settings
from shared.web.openapi import document_of
from shared.web.server import serve as serve_app

cli = App(name="plystra-audit", help="The audit service of Plystra.", version=SERVICE_VERSION)


@cli.command
def serve() -> None:
    """Answer over HTTP until SIGTERM; of several processes on one database, one writes the log."""
    settings = load_settings(AuditSettings)
    serve_app(
        lambda: create_app(settings),
        host=settings.host,
        port=settings.port,
        drain_seconds=settings.drain_seconds,
    )


@cli.command
def openapi() -> None:
    """Print the OpenAPI document."""
    app = create_app(AuditSettings(app_dsn="postgresql://unused@localhost/unused"), documented=True)
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(document_of(app.app)), indent=2) + b"\n")


@cli.command
def statements() -> None:
    """Print every statement that is sent to the database, by file and name, as JSON."""
    document = {"queries.sql": SQL}
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")


def main() -> None:
    """Run the command line; settings that can't be used are named, with exit code 2."""
    try:
        cli()
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
