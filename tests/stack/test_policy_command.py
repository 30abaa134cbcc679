"""`plystractl policy` against a real authz: what is exported can be planned, applied, and is then what is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from shared.ctl.__main__ import main
from tests.stack.pair import Pair

SPACE: Final = "space_acme"


@pytest.fixture
def file(pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The exported policy of the worked example, with an environment in which commands find authz."""
    monkeypatch.setenv("PLYSTRA_AUTHZ_URL", pair.urls["authz"])
    monkeypatch.setenv("PLYSTRA_ADMIN_KEY", pair.secrets.admin_key)
    file = tmp_path / "acme.yaml"
    assert main(["policy", "export", SPACE, "--output", str(file)]) == 0
    return file


def edited(file: Path) -> dict[str, Any]:
    """The policy with the grant anchored elsewhere and a member more, written back."""
    policy: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    policy["grants"][0]["anchor"] = "legal"
    policy["members"].append({"id": "member_auditor", "display_name": "Auditor"})
    file.write_text(yaml.safe_dump(policy, sort_keys=False), encoding="utf-8")
    return policy


def test_a_file_is_planned_applied_and_then_there_is_nothing_left_to_do(file: Path, capsys) -> None:
    assert main(["policy", "plan", str(file)]) == 0
    assert f"✓ {SPACE} is as declared (revision 33)." in capsys.readouterr().out
    policy = edited(file)
    assert main(["policy", "plan", str(file)]) == 1
    printed = capsys.readouterr().out
    assert "space_acme, at revision 33: 3 changes" in printed
    assert "+ member.created           member_auditor" in printed
    assert "- member_role.revoked      finance_approver to member_finance_reviewer at finance" in printed
    assert "Access: 5 gained, 5 lost" in printed
    assert "invoice_002" in printed
    assert main(["policy", "apply", str(file)]) == 2
    assert "give --yes" in capsys.readouterr().err
    assert main(["policy", "apply", str(file), "--yes", "--reason", "reorganised"]) == 0
    assert "✓ space_acme: 3 events, up to revision 39." in capsys.readouterr().out
    assert main(["policy", "plan", str(file)]) == 0
    capsys.readouterr()
    assert main(["policy", "export", SPACE, "--format", "json"]) == 0
    stored = json.loads(capsys.readouterr().out)
    assert stored["grants"][0]["anchor"] == "legal"
    assert [member["id"] for member in stored["members"]] == sorted(member["id"] for member in policy["members"])


def test_a_plan_is_one_document_for_a_machine(file: Path, capsys) -> None:
    edited(file)
    capsys.readouterr()
    assert main(["policy", "plan", str(file), "--format", "json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["dry_run"], len(report["changes"]), report["access"]["gained"]) == (True, 3, 5)


@pytest.mark.parametrize(
    "text, fault",
    [
        ("version: 1\nversion: 1\n", "the key 'version' is given twice"),
        ("- a\n", "it isn't a mapping"),
        ("a: [", "expected the node content"),
        ("version: 1\n", "doesn't say which Space it is of"),
    ],
)
def test_a_file_that_is_no_policy_is_refused_before_anybody_is_asked(file: Path, capsys, text: str, fault: str) -> None:
    file.write_text(text, encoding="utf-8")
    assert main(["policy", "plan", str(file)]) == 2
    assert fault in capsys.readouterr().err


def test_what_authz_refuses_is_told_with_its_place(file: Path, capsys) -> None:
    policy = edited(file)
    policy["grants"][0]["role"] = "nobody"
    file.write_text(json.dumps(policy), encoding="utf-8")
    assert main(["policy", "apply", str(file), "--yes"]) == 1
    assert "/grants/0/role: nobody is not declared" in capsys.readouterr().err
    assert main(["policy", "plan", str(file), "--url", "http://127.0.0.1:9"]) == 2 + 1
