"""JSON log lines on stdout: structlog for what happens, a buffered writer for the one line per request."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog

from shared.clock import utc_now
from shared.web.context import RequestContext

Logger = structlog.typing.FilteringBoundLogger
LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# Polled every few seconds by machines; a line each would only bury the others.
_QUIET: Final = frozenset({"/api/v1/health", "/api/v1/ready", "/metrics"})


def configure_logging(service: str, level: str) -> Logger:
    """Set structlog up for this process and return its logger; called once, by the composition root."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.EventRenamer("event"),
            # Without the frames' local variables: among them are headers with API keys.
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(serializer=_serialize),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
        cache_logger_on_first_use=True,
    )
    logger: Logger = structlog.get_logger(service=service)
    # What libraries say is a line like any other: from their warnings on, as they have no request to belong to.
    logging.basicConfig(level=logging.WARNING, handlers=[_Forward(logger)], force=True)
    return logger


class _Forward(logging.Handler):
    """Passes the records of the standard library's logging on to structlog."""

    def __init__(self, logger: Logger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        level = min(record.levelno, LEVELS["error"])
        self._logger.log(level, "library", logger=record.name, message=record.getMessage(), exc_info=record.exc_info)


def _serialize(event: Any, default: Any = None, **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=default or repr).decode()


class _Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    time: datetime
    level: str = "info"
    service: str
    event: str
    method: str
    route: str
    status: int
    milliseconds: float
    request_id: str
    trace_id: str | None = None
    span_id: str | None = None
    credential_id: str | None = None
    ip: str | None = None


class AccessLog:
    """One line per request, written in batches: a system call for each would cost as much as the decision itself.

    The lines of the last tenth of a second are lost when the process is killed; the decision's event is not.
    """

    def __init__(self, service: str, level: str, *, delay: float = 0.1, descriptor: int = 1) -> None:
        self._service = service
        self._enabled = LEVELS[level] <= LEVELS["info"]
        self._delay = delay
        self._descriptor = descriptor
        self._lines: list[_Line] = []
        self._encoder = msgspec.json.Encoder()

    def write(self, method: str, route: str, status: int, seconds: float, context: RequestContext) -> None:
        """Note one answered request; `seconds` is the time from its first byte to its answer."""
        if not self._enabled or (route in _QUIET and status < 400):
            return
        if not self._lines:
            asyncio.get_running_loop().call_later(self._delay, self.flush)
        line = _Line(
            time=utc_now(),
            service=self._service,
            event="request",
            method=method,
            route=route,
            status=status,
            milliseconds=round(seconds * 1000, 3),
            request_id=context.request_id,
            trace_id=context.trace_id,
            span_id=context.span_id,
            credential_id=context.credential_id,
            ip=context.ip,
        )
        self._lines.append(line)

    def flush(self) -> None:
        """Write what has gathered."""
        lines, self._lines = self._lines, []
        data = self._encoder.encode_lines(lines)
        while data:
            data = data[os.write(self._descriptor, data) :]
