"""Every error a client can see: the closed list of codes, and the one exception that carries them (RFC 9457)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

# code -> (HTTP status, title). A code keeps its meaning for ever; docs/problems.md is compared with this table.
PROBLEMS: Final[dict[str, tuple[int, str]]] = {
    "malformed_request": (400, "The request is not HTTP/1.1"),
    "malformed_json": (400, "The body is not one strict JSON document"),
    "validation_failed": (400, "The request does not have the expected form"),
    "invalid_id": (400, "An id does not have the form of one"),
    "unknown_parameter": (400, "The query has a parameter that this route does not know"),
    "invalid_cursor": (400, "The cursor does not belong to this query"),
    "credential_missing": (401, "An API key is required"),
    "credential_invalid": (401, "The API key is not valid"),
    "permission_denied": (403, "The API key lacks a permission"),
    "not_found": (404, "There is nothing here"),
    "event_not_found": (404, "The log has no such event"),
    "method_not_allowed": (405, "The route does not take this method"),
    "conflict": (409, "The request conflicts with what is stored"),
    "duplicate_id": (409, "There is a row with this id already"),
    "duplicate_key": (409, "Another row has what must be unique"),
    "status_conflict": (409, "The row's status does not admit this"),
    "group_cycle": (409, "A group cannot lie below itself"),
    "idempotency_key_reused": (409, "The Idempotency-Key stands for another request"),
    "event_conflict": (409, "An event with this id and other bytes is in the log"),
    "etag_mismatch": (412, "The row was changed since it was read"),
    "body_too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "The body's media type or coding is not taken"),
    "reference_unknown": (422, "The request names something that is not there"),
    "foreign_space": (422, "The request names something of another Space"),
    "resource_type_unknown": (422, "The resource type is not registered"),
    "resource_action_unknown": (422, "The action is not registered for the resource type"),
    "scope_refused": (422, "The scope cannot be granted"),
    "expires_in_the_past": (422, "The validity is over before it begins"),
    "validity_window_empty": (422, "The validity ends before it begins"),
    "group_too_deep": (422, "The group's path would be too long"),
    "head_too_large": (431, "The head of the request is too large"),
    "internal_error": (500, "The service failed"),
    "decision_not_recorded": (503, "The decision could not be recorded, so it is not given"),
    "outbox_full": (503, "Too many events wait for delivery; no decision is taken until they drain"),
    "revision_not_reached": (503, "The revision that was asked for is not there yet"),
    "facts_unavailable": (503, "The facts for a decision could not be read"),
    "not_the_sequencer": (503, "Another process writes the log at present"),
    "log_unavailable": (503, "The log could not be written"),
    "database_unavailable": (503, "The database could not be reached"),
    "maintenance": (503, "The service is in maintenance"),
    "not_ready": (503, "The service is not ready"),
    "shutting_down": (503, "The service is stopping"),
}


class ProblemError(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One fault of a request: a JSON pointer (RFC 6901) into the body, or a parameter's name, and what is wrong there."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None


class ProblemDocument(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of an error answer, `application/problem+json`."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: tuple[ProblemError, ...] = ()


class Problem(Exception):
    """A refusal or failure that the client is told of; `detail` names the fault and the way out.

    `log_detail` is for the operator's log and never leaves the service.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[ProblemError] = (),
        headers: Sequence[tuple[str, str]] = (),
        log_detail: str | None = None,
    ) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.status, self.title = PROBLEMS[code]
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = tuple(headers)
        self.log_detail = log_detail

    def document(self, request_id: str) -> ProblemDocument:
        """Return what the client reads."""
        return ProblemDocument(
            type=f"urn:plystra:problem:{self.code}",
            title=self.title,
            status=self.status,
            detail=self.detail,
            code=self.code,
            request_id=request_id,
            errors=self.errors,
        )


def problem_at(code: str, pointer: str, says: str) -> Problem:
    """Make the refusal of one place of the body; `says` goes on after its JSON pointer, without a full stop."""
    return Problem(code, f"{pointer}: {says}.", errors=[ProblemError(pointer=pointer, detail=says)])


def retry_later(code: str, detail: str, seconds: int = 1, *, log_detail: str | None = None) -> Problem:
    """Make a 503 that tells the client when to come back."""
    return Problem(code, detail, headers=(("retry-after", str(seconds)),), log_detail=log_detail)
