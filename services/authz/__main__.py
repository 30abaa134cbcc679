"""`plystra-authz`: serve, relay, seed, openapi, statements."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import Literal

import msgspec
import uvloop
from cyclopts import App

from services.authz.delivery import HttpDelivery
from services.authz.relay import Relay
from services.authz.seeding import load_example
from services.authz.supervision import RelaySupervisor
from shared.clock import utc_now
from shared.db import Connection, connect
from shared.observe.logs import configure_logging
from shared.observe.tracing import Tracing
from shared.release import SERVICE_VERSION
from shared.settings import AuthzSettings, SettingsError, load_settings

RELAY_NICENESS = 10

cli = App(name="plystra-authz", help="The authorization service of Plystra.", version=SERVICE_VERSION)


@cli.command
def serve() -> None:
    """Answer over HTTP until SIGTERM, with a relay process beside it that delivers to audit."""
    # Web libraries are imported where they are used: the relay, which runs beside every service, needs none of them.
    from services.authz.app import create_app  # noqa: PLC0415
    from shared.web.server import serve as serve_app  # noqa: PLC0415

    settings = load_settings(AuthzSettings)
    supervisor = RelaySupervisor() if settings.relay == "on" and settings.audit_url else None
    if supervisor is not None:
        supervisor.start()
    try:
        serve_app(
            lambda: create_app(settings),
            host=settings.host,
            port=settings.port,
            drain_seconds=settings.drain_seconds,
        )
    finally:
        if supervisor is not None:
            supervisor.stop()


@cli.command
def relay() -> None:
    """Deliver the outbox to audit until SIGTERM; of several, one is active."""
    settings = load_settings(AuthzSettings)
    if settings.audit_url is None or settings.audit_key is None:
        raise SettingsError("The relay needs PLYSTRA_AUDIT_URL and PLYSTRA_AUTHZ_AUDIT_KEY.")
    # Whoever asks waits for an answer; nobody waits for a delivery. On a busy machine the relay therefore comes second.
    os.nice(RELAY_NICENESS)
    uvloop.run(_relay(settings, settings.audit_url, settings.audit_key))


async def _relay(settings: AuthzSettings, audit_url: str, audit_key: str) -> None:
    instance = f"{settings.instance}/relay"
    logger = configure_logging("authz-relay", settings.log_level)
    tracing = Tracing("authz-relay", instance, SERVICE_VERSION)
    delivery = HttpDelivery(audit_url, audit_key)

    async def connect_relay() -> Connection:
        return await connect(settings.app_dsn, f"plystra-authz {instance}")

    worker = Relay(
        connect_relay,
        delivery,
        instance=instance,
        clock=utc_now,
        monotonic=time.monotonic,
        logger=logger,
        tracing=tracing,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, worker.stop)
    logger.info("started", instance=instance)
    await worker.run()
    await delivery.close()
    tracing.close()
    logger.info("stopped", instance=instance)


@cli.command
def seed(example: Literal["finance-reviewer"]) -> None:
    """Load an example through the command path; what is there already is left as it is."""
    settings = load_settings(AuthzSettings)
    print(uvloop.run(load_example(settings.app_dsn, example)))


@cli.command
def openapi() -> None:
    """Print the OpenAPI document."""
    from services.authz.app import create_app  # noqa: PLC0415
    from shared.web.openapi import document_of  # noqa: PLC0415

    app = create_app(AuthzSettings(app_dsn="postgresql://unused@localhost/unused"), documented=True)
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(document_of(app.app)), indent=2) + b"\n")


@cli.command
def statements() -> None:
    """Print every statement that is sent to the database, by file and name, as JSON."""
    from services.authz.statements import STATEMENTS  # noqa: PLC0415

    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(STATEMENTS), indent=2) + b"\n")


def main() -> None:
    """Run the command line; settings that can't be used are named, with exit code 2."""
    try:
        cli()
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
