"""What README and docs/ say can be checked against the code: names, tables, paths, commands. None of it is left to memory."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from shared.credentials import PERMISSION_KEYS
from shared.ctl.__main__ import _CODES, app
from shared.ctl.disagreements import FAULTS
from shared.migrations.errors import ExitCode
from shared.settings import known_variables
from tests.unit.oracle import EVERY_DENY_CODE

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def section(document, heading):
    """The text below a heading, up to the next one of any level."""
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    return re.split(r"^#+ ", text.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text):
    """The cells of each row of the table in a text, without the heading."""
    lines = [line for line in text.splitlines() if line.lstrip().startswith("|")]
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines[2:]]


@each_document
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


@each_document
def test_paths_exist(document):
    text = document.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:services|shared|migrations|deploy|tests|benchmarks|docs)/[\w./]*)(?:::\w+)?`", text):
        assert path.startswith("deploy/secrets/") or (REPOSITORY / path).exists(), path


@each_document
def test_variables_are_known(document):
    known = known_variables()
    for name in re.findall(r"\bPLYSTRA_[A-Z_]+[A-Z]", document.read_text(encoding="utf-8")):
        assert name.removesuffix("_FILE") in known, name


@each_document
def test_commands_exist(document):
    text = document.read_text(encoding="utf-8")
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:`|^)make ([a-z]+(?:-[a-z]+)*)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for code in re.findall(r"`([^`\n]+)`", text):
        for command in re.findall(r"plystractl ([a-z]+(?: [a-z]+(?:-[a-z]+)*)?)", code):
            group, *rest = command.split()
            assert group in app, command
            assert not rest or rest[0] in app[group], command


@each_document
def test_no_path_of_some_machine_is_shown(document):
    text = document.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.])/(?:home|root|work|tmp|var|opt)/", text)


def test_the_exit_codes_are_all_there():
    table = {int(code): meaning for code, meaning in rows(section("docs/operating.md", "Exit codes"))}
    assert set(table) == set(map(int, ExitCode))
    said = dict(re.findall(r"(\d) ([^·.]+?)(?= ·|\.)", _CODES))
    assert table == {int(code): meaning for code, meaning in said.items()}


def test_the_permissions_are_all_there():
    table = {
        name.strip("`"): meaning for name, meaning in rows(section("docs/operating.md", "API keys")) if ":" in name
    }
    assert table == PERMISSION_KEYS


def test_the_filters_of_a_search_are_all_there():
    document = json.loads((REPOSITORY / "docs/openapi/audit.json").read_text(encoding="utf-8"))
    table = rows(section("docs/auditing.md", "Filters"))
    for route, column in (("events", None), ("decisions", 2)):
        operation = document["paths"][f"/api/v1/audit/{route}"]["get"]
        asked = {parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"}
        said = {
            name for row in table if column is None or row[column] == "yes" for name in re.findall(r"`(\w+)`", row[0])
        }
        assert asked == said | {"limit", "cursor"}


def test_the_deny_codes_are_all_there():
    listed = re.findall(
        r"`([A-Z_]+)`", section("docs/architecture.md", "The path of a question").partition("| Step |")[2]
    )
    assert len(listed) == len(set(listed))
    assert set(listed) == set(EVERY_DENY_CODE)


def test_the_faults_that_a_replay_can_find_are_all_there():
    listed = [name.strip("`") for name, _ in rows(section("docs/operating.md", "Recorded decisions, derived again"))]
    assert [name for name in listed if "_" in name] == list(FAULTS)


def test_figures_have_their_place():
    text = (REPOSITORY / "docs" / "performance.md").read_text(encoding="utf-8")
    assert text.count("<!-- figures: begin") == text.count("<!-- figures: end -->") == 1
