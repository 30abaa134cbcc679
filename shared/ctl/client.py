"""How a command asks a service over HTTP: where it is, with which key, for how long it is asked again, and what a refusal is.

A request is sent again when nobody answered or the answer is a 503, so whoever sends one makes sure that a repetition is
harmless (an `Idempotency-Key`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec

from shared.ctl.configuration import load_operator_settings
from shared.migrations.errors import ExitCode, OperatorError, Unreachable, UsageError

CONNECT_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 60.0
# Between two attempts, at first and at most.
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_KEY_REFUSED: Final = frozenset({401, 403})


class _ProblemBody(msgspec.Struct):
    code: str
    detail: str


class ServiceRefused(OperatorError):
    """The service won't do what was asked; `code` is that of its problem document."""

    exit_code = ExitCode.FINDINGS

    def __init__(self, code: str, found: str) -> None:
        super().__init__(found, why="Nothing was changed by the request.", remedy="the answer above says what to mend.")
        self.code = code


def authz_client(url: str | None = None) -> httpx.Client:
    """Open a client of authz with the administrator's key; raises `UsageError` when one of the two isn't known."""
    settings = load_operator_settings()
    base_url, key = url or settings.authz_url, settings.admin_key
    if base_url is None:
        raise _unset("PLYSTRA_AUTHZ_URL", "--url http://host:port", "It says where authz is.")
    if key is None:
        raise _unset("PLYSTRA_ADMIN_KEY", "an API key", "Without a key authz takes no request.")
    if urlsplit(base_url).scheme not in ("http", "https") or not urlsplit(base_url).netloc:
        raise UsageError(
            f"{base_url!r} isn't the URL of a service.", why="Nothing can be asked there.", remedy="http://host:port"
        )
    # Proxies of the shell have no business between an operator and the service.
    return httpx.Client(
        base_url=base_url.rstrip("/"),
        headers={"authorization": f"Bearer {key}"},
        timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
        trust_env=False,
    )


def ask(
    client: httpx.Client,
    method: str,
    path: str,
    *,
    patience: float = 0.0,
    on_retry: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> httpx.Response:
    """Send a request until it is answered by more than a 503, for `patience` seconds at most; returns a successful answer.

    Raises `Unreachable` when the patience is over, `UsageError` for a key that isn't taken, else `ServiceRefused`.
    """
    deadline, pause = time.monotonic() + patience, _FIRST_PAUSE
    while True:
        try:
            response = client.request(method, path, **options)
        except httpx.RequestError as error:
            failure = f"{client.base_url} can't be reached: {type(error).__name__}: {error}"
        else:
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            failure = f"{client.base_url} can't answer at present: {_problem(response).detail}"
        if time.monotonic() + pause > deadline:
            raise Unreachable(
                failure,
                why=f"It was asked for {patience:g} seconds." if patience else "Nothing could be asked.",
                remedy="see that authz runs and is ready (GET /api/v1/ready), then run the command again.",
            )
        on_retry(failure)
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
    if response.is_success:
        _require_envelope(client, response)
        return response
    problem = _problem(response)
    found = f"{method} {path} was refused with {response.status_code} {problem.code}: {problem.detail}"
    if response.status_code in _KEY_REFUSED:
        raise UsageError(
            found, why="The key decides what may be done.", remedy="set PLYSTRA_ADMIN_KEY to a key that may."
        )
    raise ServiceRefused(problem.code, found)


def _require_envelope(client: httpx.Client, response: httpx.Response) -> None:
    """Raise unless what answered speaks as the services do: a proxy's page is no answer, whatever its status."""
    try:
        body = msgspec.json.decode(response.content) if response.content else {"data": None}
    except (msgspec.MsgspecError, UnicodeError):
        body = None
    if not isinstance(body, dict) or "data" not in body:
        raise Unreachable(
            f"What answers at {client.base_url} isn't a service of Plystra: {response.text[:100]!r}",
            why="Whether anything was done there can't be known.",
            remedy="correct the URL, or what stands before the service; then run the command again.",
        )


def _problem(response: httpx.Response) -> _ProblemBody:
    try:
        return msgspec.json.decode(response.content, type=_ProblemBody)
    except (msgspec.MsgspecError, UnicodeError):  # what stands before the service answered in its place
        return _ProblemBody("", response.text[:500])


def _unset(variable: str, alternative: str, why: str) -> UsageError:
    return UsageError(
        f"{variable} isn't set (nor {variable}_FILE).",
        why=why,
        remedy=f"`set -a; . .plystra/dev.env; set +a` after `make up`, or give {alternative}.",
    )
