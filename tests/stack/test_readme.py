"""What README.md and docs/operating.md show is what a running pair gives."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.stack.pair import wait_until
from tests.unit.test_documents import rows, section

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def home(pair, tmp_path):
    """A folder that looks to a shell as the repository does while `make up` runs."""
    folder = tmp_path / "checkout"
    (folder / ".plystra").mkdir(parents=True)
    values = {
        "PLYSTRA_AUTHZ_URL": pair.urls["authz"],
        "PLYSTRA_AUDIT_URL": pair.urls["audit"],
        "PLYSTRA_CALLER_KEY": pair.secrets.caller_key,
        "PLYSTRA_AUDITOR_KEY": pair.secrets.auditor_key,
        "PLYSTRA_ADMIN_KEY": pair.secrets.admin_key,
    }
    (folder / ".plystra" / "dev.env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    return folder


def test_the_commands_of_the_readme_do_what_it_says(home):
    check, find, explain = re.findall(r"```sh\n(.*?)```", section("README.md", "Ask one yourself"), re.DOTALL)
    answer = shell(check, home)
    assert (answer["data"]["decision"], answer["data"]["deny_code"]) == ("deny", "SCOPE_OUT_OF_BOUNDS")
    (row,) = wait_until(lambda: shell(find, home)["data"], what="the record")
    assert row["event_id"] == answer["data"]["decision_id"]
    trace = shell(explain, home)["data"]["trace"]
    assert trace["decision"] == "allow"
    assert [candidate["scope_check"]["covered"] for candidate in trace["candidates"]] == [True]


def test_the_graph_is_changed_asked_of_the_past_and_found_in_audit_as_the_readme_says(home):
    move, past, find = re.findall(r"```sh\n(.*?)```", section("README.md", "Change something"), re.DOTALL)
    moved = shell(move, home)["data"]
    assert (moved["path"], moved["revision"]) == ("legal.finance", 37)
    assert shell(move, home)["data"] == moved
    answer = shell(past, home)["data"]
    assert (answer["decision"], answer["purpose"], answer["revision"]) == ("allow", "as_of", 36)
    assert answer["trace"]["target"]["group"]["path"] == "finance.apac"
    (row,) = wait_until(lambda: shell(find, home)["data"], what="the event")
    assert (row["revision"], row["kind"]) == (37, "group.moved")


def shell(command, folder):
    done = subprocess.run(["sh", "-euc", command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_metrics_and_readiness_checks_are_those_of_the_page(pair):
    documented = rows(section("docs/operating.md", "Metrics"))
    checks = [(row[0], row[1].strip("`")) for row in rows(section("docs/operating.md", "Readiness"))]
    for service in ("authz", "audit"):
        with pair.client(service) as client:
            wait_until(lambda c=client: c.get("/metrics").text.count("plystra_http_request_seconds_count"))
            text = client.get("/metrics").text
        shown = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
        shown = {name: kind for name, kind in shown.items() if not name.endswith("_created")}
        assert shown == {row[1].strip("`"): row[2] for row in documented if row[0] in ("both", service)}
        answer = httpx.get(f"{pair.urls[service]}/api/v1/ready", trust_env=False).json()
        assert {check["name"] for check in answer["data"]["checks"]} == {
            name for where, name in checks if where in ("both", service)
        }
