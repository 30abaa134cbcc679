"""The seam between the relay and audit: `deliver(batch)` returns once the batch is in the log, or says why not.

HTTP is the one way at present; another transport is another class with this method.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import httpx
import msgspec

from shared.compression import CODING, decompress, new_compressor
from shared.envelope import MAX_BATCH_BYTES

EVENTS_PATH: Final = "/api/v1/events"
# These say that audit will never take these events; anything else may pass.
_REFUSALS: Final = frozenset({400, 409, 413, 422})
# This says that audit can't read what is put around them, as one of an older release can't: no fault of any event.
_UNREADABLE: Final = "malformed_json"
# Frames one after the other hold what they hold, one after the other: so a batch is put together without reading it.
_HEAD, _COMMA, _TAIL = map(new_compressor(), (b'{"events":[', b",", b"]}"))


class Refused(Exception):
    """audit will not take the batch, however often it is sent; the text is audit's reason."""


class Unavailable(Exception):
    """audit did not acknowledge the batch; sending it again is safe and right."""


class Delivery(Protocol):
    """A way to bring events to audit."""

    async def deliver(self, frames: Sequence[bytes], traceparent: str | None) -> None:
        """Bring events to audit in their order; raises `Refused` or `Unavailable`.

        Each frame is of Zstandard and holds canonical events joined by commas.
        """


class HttpDelivery:
    """Delivers by POST to audit's ingest route."""

    def __init__(self, base_url: str, key: str, *, timeout_seconds: float = 10.0) -> None:
        self._client = httpx.AsyncClient(
            base_url=base_url.rstrip("/"),
            headers={
                "authorization": f"Bearer {key}",
                "content-type": "application/json",
                "content-encoding": CODING,
            },
            timeout=timeout_seconds,
            trust_env=False,
        )

    async def deliver(self, frames: Sequence[bytes], traceparent: str | None) -> None:
        """Send one batch and wait for its acknowledgement."""
        headers = {} if traceparent is None else {"traceparent": traceparent}
        try:
            response = await self._client.post(
                EVENTS_PATH, content=_HEAD + _COMMA.join(frames) + _TAIL, headers=headers
            )
        except httpx.HTTPError as error:
            raise Unavailable(f"{type(error).__name__}: {error}") from error
        if response.status_code == 200:
            return
        reason = f"{response.status_code} {response.text[:1000]}"
        raise Refused(reason) if _is_refusal(response) else Unavailable(reason)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


class _Problem(msgspec.Struct):
    code: str


def _is_refusal(response: httpx.Response) -> bool:
    try:
        code = msgspec.json.decode(response.content, type=_Problem).code
    except (msgspec.DecodeError, UnicodeError):
        code = ""
    return response.status_code in _REFUSALS and code != _UNREADABLE


def split_events(frame: bytes) -> list[bytes]:
    """Return the single events of a commit, each byte for byte."""
    return [
        bytes(raw)
        for raw in msgspec.json.decode(b"[" + decompress(frame, MAX_BATCH_BYTES) + b"]", type=list[msgspec.Raw])
    ]
