"""The six questions of the worked example of README.md: asks them over HTTP and finds each again in the log."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any, Final

import httpx
import msgspec

from shared.migrations.errors import ExitCode, OperatorError

FOUND_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05
_MEMBER: Final = "member_finance_reviewer"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One question with the answer that the worked example gives."""

    text: str
    user_id: str
    user_member_id: str
    action: str
    resource_id: str
    decision: str
    deny_code: str | None
    candidates: int
    covered: bool

    @property
    def body(self) -> dict[str, Any]:
        """The body of the request."""
        return {
            "actor": {
                "user_id": self.user_id,
                "member_id": _MEMBER,
                "user_member_id": self.user_member_id,
                "space_id": "space_acme",
            },
            "action": self.action,
            "resource_type": "invoice",
            "resource_id": self.resource_id,
        }


class Answer(msgspec.Struct, kw_only=True):
    """What came back, and where it is in the log; `differences` says what isn't as the example has it."""

    question: Question
    request_id: str
    decision: str = ""
    deny_code: str | None = None
    decision_id: str = ""
    log_index: int | None = None
    differences: list[str] = []


def _question(
    text: str, user: str, binding: str, action: str, resource: str, code: str | None, candidates: int
) -> Question:
    return Question(
        text=text,
        user_id=user,
        user_member_id=binding,
        action=action,
        resource_id=resource,
        decision="deny" if code else "allow",
        deny_code=code,
        candidates=candidates,
        covered=resource == "invoice_001",
    )


_ALICE, _BOB, _BINDING = "user_alice", "user_bob", "um_alice_finance_reviewer"
QUESTIONS: Final = (
    _question("Alice approves invoice_001", _ALICE, _BINDING, "approve", "invoice_001", None, 1),
    _question("Alice approves invoice_002", _ALICE, _BINDING, "approve", "invoice_002", "SCOPE_OUT_OF_BOUNDS", 1),
    _question("Bob approves invoice_001", _BOB, "um_bob_finance_reviewer", "approve", "invoice_001", None, 1),
    _question(
        "Alice, binding revoked", _ALICE, f"{_BINDING}_revoked", "approve", "invoice_001", "USER_MEMBER_REVOKED", 1
    ),
    _question(
        "Alice, binding expired", _ALICE, f"{_BINDING}_expired", "approve", "invoice_001", "USER_MEMBER_EXPIRED", 1
    ),
    _question("Alice rejects invoice_001", _ALICE, _BINDING, "reject", "invoice_001", "NO_MATCHING_PERMISSION", 0),
)


class NotAnswered(OperatorError):
    """A service refused a question, or couldn't be asked."""

    exit_code = ExitCode.FINDINGS


def ask_all(authz_url: str, audit_url: str, *, caller_key: str, auditor_key: str) -> Iterator[Answer]:
    """Ask each question, wait for its record in the log, and yield the answer with what differs from the example."""
    with _client(authz_url, caller_key) as authz, _client(audit_url, auditor_key) as audit:
        for question in QUESTIONS:
            answer = _ask(authz, question)
            _find(audit, answer)
            yield answer


def _ask(authz: httpx.Client, question: Question) -> Answer:
    answer = Answer(question=question, request_id=f"up-{secrets.token_hex(8)}")
    headers = {"X-Request-ID": answer.request_id}
    response = _send(authz, "POST", "/api/v1/authz/check", json=question.body, headers=headers)
    data = response.json()["data"]
    answer.decision, answer.deny_code, answer.decision_id = data["decision"], data["deny_code"], data["decision_id"]
    _compare(answer, "the answer's decision", data["decision"], question.decision)
    _compare(answer, "the answer's deny code", data["deny_code"], question.deny_code)
    _compare(answer, "the answer's allow", data["allow"], question.decision == "allow")
    _compare(answer, "the answer's X-Request-ID", response.headers.get("x-request-id"), answer.request_id)
    return answer


def _find(audit: httpx.Client, answer: Answer) -> None:
    """Wait for the record of the answer in the log and compare it."""
    rows: list[dict[str, Any]] = []
    deadline = time.monotonic() + FOUND_SECONDS
    while not rows and time.monotonic() < deadline:
        query = {"request_id": answer.request_id}
        rows = _send(audit, "GET", "/api/v1/audit/decisions", params=query).json()["data"]
        if not rows:
            time.sleep(_POLL_SECONDS)
    if len(rows) != 1:
        answer.differences.append(f"{len(rows)} records of it in the log after {FOUND_SECONDS:g} s, instead of one")
        return
    row, question = rows[0], answer.question
    answer.log_index = row["log_index"]
    expected = {
        "event_id": answer.decision_id,
        "decision": question.decision,
        "deny_code": question.deny_code,
        "user_id": question.user_id,
        "member_id": _MEMBER,
        "user_member_id": question.user_member_id,
        "action": question.action,
        "resource_id": question.resource_id,
        "space_id": "space_acme",
    }
    for name, value in expected.items():
        _compare(answer, f"the record's {name}", row.get(name), value)
    event = _send(audit, "GET", f"/api/v1/audit/events/{answer.decision_id}").json()["data"]
    _compare_trace(answer, event)


def _compare_trace(answer: Answer, event: dict[str, Any]) -> None:
    trace = event.get("trace") or event.get("event", event).get("data", {})
    candidates = trace.get("candidates", [])
    _compare(answer, "the number of candidates in the trace", len(candidates), answer.question.candidates)
    for candidate in candidates:
        _compare(answer, "whether the candidate covers", candidate["scope_check"]["covered"], answer.question.covered)


def _compare(answer: Answer, what: str, found: object, expected: object) -> None:
    if found != expected:
        answer.differences.append(f"{what} is {found!r}, expected {expected!r}")


def _client(url: str, key: str) -> httpx.Client:
    # Proxies of the shell have no business between us and 127.0.0.1.
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=10, trust_env=False)


def _send(client: httpx.Client, method: str, path: str, **options: Any) -> httpx.Response:
    try:
        response = client.request(method, path, **options)
    except httpx.TransportError as error:
        raise NotAnswered(
            f"{method} {client.base_url}{path} failed: {error}.",
            why="The question remains open.",
            remedy="look at the logs.",
        ) from error
    if not response.is_success:
        raise NotAnswered(
            f"{method} {path} was answered with {response.status_code}: {response.text}",
            why="The question remains open.",
            remedy="the answer above says what is wrong.",
        )
    return response
