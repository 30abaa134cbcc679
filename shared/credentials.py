"""API keys: `ply_<id>.<secret>`, stored as SHA-256 of the secret, each service its own table.

A secret is 32 random bytes, so a plain hash is enough: there is no dictionary to try. A key is looked up once and
then kept for a bounded time, so a revocation takes effect within `ttl` seconds.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

import msgspec

from shared.clock import Clock
from shared.problems import Problem

PERMISSION_KEYS: Final[dict[str, str]] = {
    "authz:check": "ask for a decision on stored facts",
    "authz:check_inline": "ask for a decision on facts sent in the request (context mode)",
    "authz:explain": "ask for a decision with its trace",
    "authz:read": "read the permission graph",
    "authz:write": "change the permission graph",
    "audit:write": "append events to the log",
    "audit:read": "search and read the log",
    "metrics:read": "read the Prometheus metrics",
}

_KEY: Final = re.compile(r"ply_([a-z0-9]{16})\.([A-Za-z0-9_-]{43})")
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_MAX_KNOWN: Final = 10_000
_FORM: Final = "Send `Authorization: Bearer ply_<id>.<secret>`."


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as stored; the secret itself is nowhere."""

    credential_id: str
    expires_at: datetime | None
    name: str
    permission_keys: frozenset[str]
    secret_hash: bytes
    status: str

    def require(self, permission_key: str) -> None:
        """Raise a 403 problem unless this credential holds the permission key."""
        if permission_key not in self.permission_keys:
            raise Problem(
                "permission_denied",
                f"This route needs the permission {permission_key}; the API key {self.name} does not hold it. "
                "Ask an administrator for a key that does.",
            )


class NewKey(msgspec.Struct, frozen=True, kw_only=True):
    """A freshly made key: the text to hand out once, and what is stored of it."""

    credential_id: str
    secret_hash: bytes
    text: str

    def __repr__(self) -> str:
        """Name the key without its secret: a repr ends up in logs."""
        return f"NewKey(credential_id={self.credential_id!r})"


def hash_secret(secret: str) -> bytes:
    """Return what is stored of a secret."""
    return hashlib.sha256(secret.encode("ascii")).digest()


def new_key() -> NewKey:
    """Make a key with a random id and a 256-bit secret."""
    credential_id = "".join(secrets.choice(_ALPHABET) for _ in range(16))
    secret = secrets.token_urlsafe(32)
    return NewKey(credential_id=credential_id, secret_hash=hash_secret(secret), text=f"ply_{credential_id}.{secret}")


def parse_key(text: str) -> tuple[str, str] | None:
    """Return (credential id, secret) of a key's text, or None when it isn't one."""
    match = _KEY.fullmatch(text)
    return (match[1], match[2]) if match else None


CredentialLoader = Callable[[str], Awaitable[Credential | None]]


class Authenticator:
    """Tells whose key a request carries; keeps what it looked up for at most `ttl` seconds.

    Unknown ids are remembered as well, in the same bounded table, so that guessing costs no database round trip each. A
    header that was found good is good again, without hashing, until its entry ends.
    """

    def __init__(self, load: CredentialLoader, clock: Clock, monotonic: Callable[[], float], ttl: float = 5.0) -> None:
        self._load = load
        self._clock = clock
        self._monotonic = monotonic
        self._ttl = ttl
        self._known: dict[str, tuple[float, Credential | None]] = {}
        self._good: dict[bytes, tuple[float, Credential]] = {}

    async def authenticate(self, authorization: bytes | None) -> Credential:
        """Return the credential of an `Authorization` header, or raise a 401 problem that says what is wrong."""
        good = self._good.get(authorization or b"")
        if good is not None and good[0] >= self._monotonic():
            return good[1]
        credential_id, secret = _split_header(authorization)
        entry = self._known.get(credential_id)
        if entry is None or entry[0] < self._monotonic():
            entry = (self._monotonic() + self._ttl, await self._load(credential_id))
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[credential_id] = entry
        credential = entry[1]
        # One text for unknown, wrong secret, revoked and expired: a guesser learns nothing.
        if (
            credential is None
            or not hmac.compare_digest(credential.secret_hash, hash_secret(secret))
            or credential.status != "active"
            or (credential.expires_at is not None and credential.expires_at < self._clock())
        ):
            raise Problem("credential_invalid", "The API key is unknown, revoked or expired.", headers=_CHALLENGE)
        if len(self._good) >= _MAX_KNOWN:
            self._good.clear()
        self._good[authorization or b""] = (entry[0], credential)
        return credential


_CHALLENGE: Final = (("www-authenticate", 'Bearer realm="plystra"'),)


def _split_header(authorization: bytes | None) -> tuple[str, str]:
    if authorization is None:
        raise Problem("credential_missing", f"The request has no Authorization header. {_FORM}", headers=_CHALLENGE)
    scheme, _, text = authorization.partition(b" ")
    parsed = parse_key(text.strip().decode("latin-1")) if scheme.lower() == b"bearer" else None
    if parsed is None:
        raise Problem("credential_invalid", f"The Authorization header is not an API key. {_FORM}", headers=_CHALLENGE)
    return parsed
