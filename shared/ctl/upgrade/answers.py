"""What a service answers over HTTP: which release it is of, and whether it is ready."""

from __future__ import annotations

from typing import Final

import httpx

from shared.ctl.configuration import load_operator_settings

_HTTP_SECONDS: Final = 5.0


def running_version(service: str) -> str | None:
    """Return the release of the service that answers at its URL; None when nobody does, or no URL is set."""
    response = get(service, "/api/v1/version")
    if response is None or not response.is_success:
        return None
    try:
        return str(response.json()["data"]["service_version"])
    except (ValueError, KeyError, TypeError):  # somebody else answers there
        return None


def get(service: str, path: str) -> httpx.Response | None:
    """Ask a service; None when nobody answers at its URL, or no URL is set."""
    url: str | None = getattr(load_operator_settings(), f"{service}_url")
    if url is None:
        return None
    try:
        return httpx.get(f"{url.rstrip('/')}{path}", timeout=_HTTP_SECONDS, trust_env=False)
    except (httpx.RequestError, httpx.InvalidURL):
        return None
