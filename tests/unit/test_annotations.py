"""Findings as annotations: workflow commands that can't be broken out of, and SARIF that its readers accept."""

from __future__ import annotations

import json
import re

import msgspec
import pytest

from shared.ctl.__main__ import main
from shared.ctl.annotations import print_github, print_sarif


class Found(msgspec.Struct, frozen=True):
    code: str = "modified"
    subject: str = "0001.first.sql"
    seen: str = "It differs."
    why: str = "It matters."
    remedy: str = "mend it"
    file: str | None = "migrations/authz/0001.first.sql"
    line: int | None = 7


def test_a_finding_is_one_workflow_command(capsys):
    print_github([Found()])
    expected = (
        "::error file=migrations/authz/0001.first.sql,line=7,title=modified::"
        "0001.first.sql: It differs.%0Awhy: It matters.%0Anext: mend it\n"
    )
    assert capsys.readouterr().out == expected


def test_nothing_in_a_finding_ends_its_command(capsys):
    hostile = "a,b:c%0A\r\n::warning::x"
    print_github([Found(code=hostile, subject=hostile, seen=hostile, why=hostile, remedy=hostile, file=hostile)])
    (line,) = capsys.readouterr().out.splitlines()
    properties = re.fullmatch(r"::error (.*?)::(.*)", line)
    assert properties is not None
    assert [each.partition("=")[0] for each in properties[1].split(",")] == ["file", "line", "title"]
    assert "a%2Cb%3Ac%250A%0D%0A%3A%3Awarning%3A%3Ax" in properties[1]


def test_a_finding_without_a_place_names_none(capsys):
    print_github([Found(file=None, line=None)])
    assert capsys.readouterr().out.startswith("::error title=modified::")


def test_a_path_below_the_current_folder_is_relative_to_it(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    print_github([Found(file=str(tmp_path / "a" / "b.sql"))])
    assert "file=a/b.sql," in capsys.readouterr().out


def check_sarif(document):
    """Check what SARIF 2.1.0 (OASIS, §3.13 to §3.29) requires of the parts that are used here."""
    assert document["version"] == "2.1.0"
    assert document["$schema"].startswith("https://")
    for run in document["runs"]:
        driver = run["tool"]["driver"]
        assert isinstance(driver["name"], str)
        ids = [rule["id"] for rule in driver["rules"]]
        assert len(ids) == len(set(ids))
        assert all(isinstance(rule["shortDescription"]["text"], str) for rule in driver["rules"])
        for result in run["results"]:
            assert ids[result["ruleIndex"]] == result["ruleId"]
            assert result["level"] in {"none", "note", "warning", "error"}
            assert result["message"]["text"]
            for location in result.get("locations", []):
                physical = location["physicalLocation"]
                uri = physical["artifactLocation"]["uri"]
                assert not uri.startswith("/")
                assert "\\" not in uri
                assert physical.get("region", {"startLine": 1})["startLine"] >= 1
    return document["runs"][0]


def test_findings_are_a_sarif_document(capsys):
    print_sarif("a tool", {"modified": "It matters."}, [Found(), Found(code="new", line=None), Found(file=None)])
    run = check_sarif(json.loads(capsys.readouterr().out))
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["modified", "new"]
    assert [result["ruleId"] for result in run["results"]] == ["modified", "new", "modified"]
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place == {"artifactLocation": {"uri": "migrations/authz/0001.first.sql"}, "region": {"startLine": 7}}
    assert "locations" not in run["results"][2]


def test_no_finding_is_a_sarif_document_without_results(capsys):
    print_sarif("a tool", {}, [])
    assert check_sarif(json.loads(capsys.readouterr().out))["results"] == []


@pytest.mark.parametrize("format", ["github", "sarif", "json"])
def test_lint_prints_each_format(capsys, tmp_path, format):
    (tmp_path / "0001.case.sql").write_text("select 1;\n")
    assert main(["migrate", "lint", "--service", "authz", "--folder", str(tmp_path), "--format", format]) == 1
    printed = capsys.readouterr().out
    if format == "github":
        assert all(line.startswith("::error ") for line in printed.splitlines())
    else:
        document = json.loads(printed)
        found = document["findings"] if format == "json" else document["runs"][0]["results"]
        assert len(found) == 2  # its header and its rollback
