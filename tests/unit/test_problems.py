"""Problems are a closed list that docs/problems.md tells in full, and any failure becomes one of them."""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path

import msgspec
import pytest
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException

from shared.problems import PROBLEMS, Problem, ProblemError, retry_later
from shared.web.answers import problem_from

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = REPOSITORY / "docs" / "problems.md"
SOURCES = [
    file.read_text(encoding="utf-8")
    for folder in ("services", "shared")
    for file in (REPOSITORY / folder).rglob("*.py")
    if file != REPOSITORY / "shared" / "problems.py"
]
ROW = re.compile(r"^\| `(\w+)` \| (\d{3}) \| (.+?) \| (.+) \|$", re.MULTILINE)


def test_the_document_lists_every_code_with_its_status_and_title():
    rows = ROW.findall(DOCUMENT.read_text(encoding="utf-8"))
    assert [(code, int(status), title) for code, status, title, _ in rows] == [
        (code, status, title) for code, (status, title) in PROBLEMS.items()
    ]


def test_the_document_says_for_every_code_what_to_do():
    for code, _, _, way_out in ROW.findall(DOCUMENT.read_text(encoding="utf-8")):
        assert way_out.endswith("."), code


@pytest.mark.parametrize("code", PROBLEMS)
def test_every_code_can_occur(code):
    assert any(f'"{code}"' in text for text in SOURCES), "nothing raises it"


@pytest.mark.parametrize("code", PROBLEMS)
def test_every_problem_has_an_error_status_and_a_title_that_is_one_sentence(code):
    problem = Problem(code, "why")
    assert HTTPStatus(problem.status) >= HTTPStatus.BAD_REQUEST
    assert problem.title[0].isupper()
    assert not problem.title.endswith(".")


def test_a_code_outside_the_list_cannot_be_used():
    with pytest.raises(KeyError):
        Problem("teapot", "short and stout")


def test_the_document_of_a_problem_leaves_out_what_is_only_for_the_log():
    problem = Problem("internal_error", "It failed.", log_detail="the password is hunter2")
    document = msgspec.to_builtins(problem.document("req_1"))
    assert document == {
        "type": "urn:plystra:problem:internal_error",
        "title": "The service failed",
        "status": 500,
        "detail": "It failed.",
        "code": "internal_error",
        "request_id": "req_1",
    }


def test_single_faults_name_their_pointer_or_parameter_and_nothing_empty():
    errors = [ProblemError(pointer="/a", detail="x"), ProblemError(parameter="b", detail="y"), ProblemError(detail="z")]
    document = msgspec.to_builtins(Problem("validation_failed", "why", errors=errors).document("req_1"))
    assert document["errors"] == (
        {"detail": "x", "pointer": "/a"},
        {"detail": "y", "parameter": "b"},
        {"detail": "z"},
    )


def test_an_answer_to_come_back_later_says_when():
    problem = retry_later("outbox_full", "why", seconds=5)
    assert problem.status == 503
    assert problem.headers == (("retry-after", "5"),)


def test_an_unforeseen_exception_tells_nothing_of_the_inside():
    problem = problem_from(ValueError("dsn=postgresql://app:hunter2@db"))
    assert problem.code == "internal_error"
    assert "hunter2" not in str(problem.document("req_1"))


@pytest.mark.parametrize(
    "error, code",
    [
        (NotFoundException(), "not_found"),
        (MethodNotAllowedException(headers={"Allow": "POST"}), "method_not_allowed"),
        (HTTPException(status_code=413), "body_too_large"),
        (HTTPException(status_code=400, detail="no"), "validation_failed"),
        (HTTPException(status_code=418, detail="no"), "validation_failed"),
        (HTTPException(status_code=500, detail="the password is hunter2"), "internal_error"),
        (HTTPException(status_code=502, detail="the password is hunter2"), "internal_error"),
    ],
)
def test_an_error_of_the_framework_becomes_the_problem_of_its_status(error, code):
    problem = problem_from(error)
    assert problem.code == code
    assert "hunter2" not in problem.detail


def test_a_refused_method_keeps_the_header_that_names_the_others():
    problem = problem_from(MethodNotAllowedException(headers={"Allow": "POST", "X-Other": "1"}))
    assert problem.headers == (("allow", "POST"),)


def test_a_problem_stays_itself():
    problem = Problem("conflict", "why")
    assert problem_from(problem) is problem
