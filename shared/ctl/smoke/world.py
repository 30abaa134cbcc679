"""Whom the steps ask, and what they have learnt from each other so far."""

from __future__ import annotations

import secrets
from typing import Any, Final

import httpx
import msgspec

from shared.settings import OperatorSettings

SPACE: Final = "smoke_space"
_ANSWER_SECONDS: Final = 10.0


class Missed(Exception):
    """A step found something else than it must: what was expected, what came, and what to do next."""

    def __init__(self, expected: str, came: str, next: str) -> None:
        super().__init__(f"expected {expected}; came {came}")
        self.expected, self.came, self.next = expected, came, next


class NotApplicable(Exception):
    """There is nothing that the step could ask; the text is a sentence that says why."""


class Registered(msgspec.Struct, frozen=True):
    """A resource type and an action of it that are active."""

    resource_type: str
    action: str


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A question that was answered: under which request id, and what came back."""

    request_id: str
    header: str | None
    document: dict[str, Any]

    @property
    def data(self) -> dict[str, Any]:
        """The answer itself."""
        data: dict[str, Any] = self.document["data"]
        return data


class World:
    """The two services and the keys to ask them with."""

    def __init__(self, settings: OperatorSettings, *, patience: float) -> None:
        self.settings = settings
        self.patience = patience
        self.registered: Registered | None = None
        self.trace_version: int | None = None
        self.asked: dict[str, Asked] = {}

    def url(self, service: str) -> str:
        """Return where a service is."""
        return str(getattr(self.settings, f"{service}_url")).rstrip("/")

    def send(self, service: str, method: str, path: str, *, key: str | None = None, **options: Any) -> httpx.Response:
        """Send a request with one of the keys; raises `Missed` when nobody answers."""
        headers = dict(options.pop("headers", {}))
        if key is not None:
            text = getattr(self.settings, f"{key}_key")
            if text is None:
                variable = f"PLYSTRA_{key.upper()}_KEY"
                raise Missed(f"{variable} to be set", f"it isn't (nor {variable}_FILE)", _key_command(key))
            headers["authorization"] = f"Bearer {text}"
        try:
            # Proxies of the shell have no business between an operator and the service.
            return httpx.request(
                method, self.url(service) + path, headers=headers, timeout=_ANSWER_SECONDS, trust_env=False, **options
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Missed(
                f"an answer from {self.url(service)}",
                f"{type(error).__name__}: {error}",
                f"see that {service} runs (plystra-{service} serve) and PLYSTRA_{service.upper()}_URL, then: plystractl doctor",
            ) from error

    def get(self, service: str, path: str, *, key: str | None = None, **options: Any) -> Any:
        """Return the `data` of a successful answer; raises `Missed` otherwise."""
        return document_of(self.send(service, "GET", path, key=key, **options), service, key)["data"]

    def ask(self, name: str, path: str, body: dict[str, Any]) -> Asked:
        """Ask authz a question under a request id of its own, and remember the answer under a name."""
        request_id = f"smoke-{secrets.token_hex(8)}"
        headers = {"x-request-id": request_id}
        response = self.send("authz", "POST", path, key="caller", json=body, headers=headers)
        document = document_of(response, "authz", "caller")
        asked = self.asked[name] = Asked(
            request_id=request_id, header=response.headers.get("x-request-id"), document=document
        )
        return asked

    def recall(self, name: str) -> Asked:
        """Return what was answered before; raises `NotApplicable` when nothing was."""
        if name not in self.asked:
            raise NotApplicable(f"No answer was had; see {name}.")
        return self.asked[name]


def document_of(response: httpx.Response, service: str, key: str | None) -> dict[str, Any]:
    """Return the JSON object of a successful answer; raises `Missed` for anything else."""
    try:
        document = response.json()
    except ValueError:
        document = None
    if response.is_success and isinstance(document, dict) and "data" in document:
        return document
    told = (
        f"{response.status_code} {document.get('code')}: {document.get('detail')}"
        if isinstance(document, dict)
        else (f"{response.status_code} {response.text[:200]!r}")
    )
    if response.status_code in (401, 403) and key is not None:
        next = _key_command(key)
    elif isinstance(document, dict) and document.get("code") == "maintenance":
        next = "plystractl maintenance off"
    else:
        next = f"plystractl doctor, and look for the request id {response.headers.get('x-request-id')} in the log of {service}"
    raise Missed(f"200 from {response.request.method} {response.request.url.path}", told, next)


def _key_command(key: str) -> str:
    service, permissions = {
        "admin": ("both", ("authz:read", "audit:read")),
        "caller": ("authz", ("authz:check", "authz:check_inline", "authz:explain")),
        "auditor": ("audit", ("audit:read",)),
    }[key]
    options = " ".join(f"--permission {permission}" for permission in permissions)
    return f"export PLYSTRA_{key.upper()}_KEY=$(plystractl credential create --service {service} --name smoke-{key} {options})"
