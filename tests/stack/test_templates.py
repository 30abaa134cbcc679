"""`plystractl templates`: a folder as a whole or not at all, and a policy that means on running services what it says."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.ctl.__main__ import main
from shared.ctl.templates.catalogue import NAMES, load_template
from shared.ctl.templates.installation import INSTALLATION_FILE, plan_installation
from shared.ctl.templates.naming import name_application
from tests.conftest import fresh_database
from tests.stack.pair import Pair
from tests.unit.test_documents import rows, section

REPOSITORY = Path(__file__).parents[2]
each_template = pytest.mark.parametrize("template", NAMES)


@pytest.fixture(scope="module")
def empty_pair(server, template_of, tmp_path_factory) -> Iterator[Pair]:
    """A running pair with nothing in its permission graph, which the templates of this module are installed on."""
    with (
        fresh_database(server, "authz", template=template_of("authz")) as authz,
        fresh_database(server, "audit", template=template_of("audit")) as audit,
        Pair(authz, audit, tmp_path_factory.mktemp("pair")) as opened,
    ):
        yield opened.start()


@pytest.fixture
def reachable(empty_pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """The pair, with an environment in which commands find it."""
    monkeypatch.setenv("PLYSTRA_AUTHZ_URL", empty_pair.urls["authz"])
    monkeypatch.setenv("PLYSTRA_ADMIN_KEY", empty_pair.secrets.admin_key)
    return empty_pair


def create(template: str, out: Path, name: str = "Acme SaaS", *more: str) -> int:
    return main(["templates", "create", "--template", template, "--name", name, "--out", str(out), *more])


@each_template
def test_a_folder_holds_what_describe_foretold_and_nothing_else(template, tmp_path, capsys):
    assert main(["templates", "describe", template, "--name", "Acme SaaS", "--format", "json"]) == 0
    foretold = json.loads(capsys.readouterr().out)
    assert foretold["schema"] == "plystractl.templates.describe/1"
    assert list(tmp_path.iterdir()) == []
    out = tmp_path / "acme"
    assert create(template, out, "Acme SaaS", "--format", "json") == 0
    created = json.loads(capsys.readouterr().out)
    written = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert written == plan_installation(load_template(template), name_application("Acme SaaS"))[1]
    assert sorted(created["files"]) == sorted(written)
    assert json.loads(written[INSTALLATION_FILE]) == foretold["installation"] == created["installation"]
    assert [path.name for path in tmp_path.iterdir()] == ["acme"]


def test_what_people_read_names_all_of_it(capsys):
    assert main(["templates", "list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in NAMES)
    assert main(["templates", "list", "--format", "json"]) == 0
    assert [template["name"] for template in json.loads(capsys.readouterr().out)["templates"]] == list(NAMES)
    assert main(["templates", "describe", "auth-ready-saas"]) == 0
    printed = capsys.readouterr().out
    for told in ("plystra/policy.yaml", "identity-database", "team_lead", "teams.product.design", "4096 MiB"):
        assert told in printed


@pytest.mark.parametrize("kind", ["folder", "empty folder", "file", "link to nothing", "link to a folder"])
def test_what_exists_is_refused_and_left_alone(kind, tmp_path, capsys):
    out, elsewhere = tmp_path / "acme", tmp_path / "elsewhere"
    if kind == "file":
        out.write_text("mine")
    elif kind.startswith("link"):
        if kind == "link to a folder":
            elsewhere.mkdir()
        out.symlink_to(elsewhere)
    else:
        out.mkdir()
        if kind == "folder":
            (out / "mine").write_text("mine")

    def seen():
        return sorted(
            (str(path), path.is_symlink(), path.is_file() and path.read_text()) for path in tmp_path.rglob("*")
        )

    before = seen()
    assert create("minimal", out) == 2
    assert "exists already" in capsys.readouterr().err
    assert seen() == before


@pytest.mark.parametrize(
    "out, fault", [("missing/acme", "No such file or directory"), ("file/acme", "Not a directory")]
)
def test_a_place_that_can_t_be_written_to_is_told(out, fault, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert create("minimal", tmp_path / out) == 2
    assert fault in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_half_way_leaves_nothing(tmp_path):
    """A file may have 3,000 bytes at most here, so some are written before one fails."""
    done = subprocess.run(
        [sys.executable, "-m", "shared.ctl", "templates", "create", "minimal", "--name", "Acme", "--out", "acme"],
        cwd=tmp_path,
        env={"PATH": os.defpath, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, 3_000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "can't be written: File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_as_any_that_its_maker_makes(tmp_path):
    umask = os.umask(0o027)
    try:
        assert create("minimal", tmp_path / "acme") == 0
    finally:
        os.umask(umask)
    assert (tmp_path / "acme").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "acme" / "README.md").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "acme" / "plystra" / "make-secrets.sh").stat().st_mode & 0o777 == 0o750


def test_a_name_or_template_that_can_t_be_is_refused_with_the_way_out(tmp_path, capsys):
    assert create("minimal", tmp_path / "acme", 'Acme "SaaS"') == 2
    assert "letters of any script" in capsys.readouterr().err
    assert create("minimal", tmp_path / "acme", "北京") == 2
    assert "--slug acme-saas" in capsys.readouterr().err
    assert create("minimum", tmp_path / "acme") == 2
    assert "plystractl templates list" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@each_template
def test_an_installed_template_answers_every_line_of_its_checks(template, reachable, tmp_path, capsys):
    out = tmp_path / "acme"
    assert create(template, out, f"Checks of {template}") == 0
    assert main(["templates", "register", str(out / "plystra/registry.yaml"), "--format", "json"]) == 0
    capsys.readouterr()
    assert main(["templates", "register", str(out / "plystra/registry.yaml")]) == 0
    assert ": 0 made, " in capsys.readouterr().out, "a second time makes nothing"
    policy_file = out / "plystra/policy.yaml"
    assert main(["policy", "plan", str(policy_file), "--format", "json"]) == 1
    planned = json.loads(capsys.readouterr().out)["changes"]
    preview = json.loads((out / INSTALLATION_FILE).read_text())["preview"]
    for noun in ("group", "role"):
        labels = [change["label"] for change in planned if change["kind"] == f"{noun}.created"]
        assert sorted(labels) == sorted(preview[f"{noun}s"]["names"])
    made = sum(change["kind"] == "permission.created" for change in planned)
    assert 0 < made <= preview["permissions"]["count"], "Spaces share permissions"
    assert main(["policy", "apply", str(policy_file), "--yes", "--reason", "first installation"]) == 0
    assert main(["policy", "plan", str(policy_file)]) == 0

    checks = yaml.safe_load((out / "plystra/checks.yaml").read_text(encoding="utf-8"))
    revision = play_cast(reachable, policy_file, preview["space_id"], checks)
    answers = {}
    with reachable.client("authz") as client:
        for check in checks["checks"]:
            type_, id_ = check["resource"].split("/")
            who = check["who"]
            ids = {"user_id": user_of(preview, who), "member_id": who, "user_member_id": f"um_{who}"}
            asked = {
                "actor": ids | {"space_id": preview["space_id"]},
                "action": check["action"],
                "resource_type": type_,
                "resource_id": f"{preview['space_id']}.{id_}",
                "at_least_revision": revision,
            }
            data = client.post("/api/v1/authz/check", json=asked).json()["data"]
            answers[who, check["action"], check["resource"]] = data["deny_code"] or data["decision"]
    assert answers == {(one["who"], one["action"], one["resource"]): one["answer"] for one in checks["checks"]}


def play_cast(pair: Pair, policy_file: Path, space: str, checks: dict[str, Any]) -> int:
    """Let the cast of a checks.yaml join the Space, by its policy and by requests; returns the revision that has it all."""
    policy = yaml.safe_load(policy_file.read_text(encoding="utf-8"))
    for one in checks["cast"]:
        grants = one.pop("grants")
        policy["members"].append({"id": one.pop("member"), **one})
        policy["grants"] += [{"member": policy["members"][-1]["id"], **grant} for grant in grants]
    policy_file.write_text(yaml.safe_dump(policy), encoding="utf-8")
    assert main(["policy", "apply", str(policy_file), "--yes"]) == 0
    with pair.client("authz") as client:

        def make(path: str, row: dict[str, Any]) -> dict[str, Any]:
            answer = client.post(f"/api/v1/{path}", json=row)
            assert answer.status_code == 201, answer.text
            return dict(answer.json()["data"])

        listed = client.get(f"/api/v1/spaces/{space}/groups", params={"limit": 200}).json()["data"]
        groups = {row["path"]: row["id"] for row in listed}
        for member in policy["members"]:
            user = f"user_{space}_{member['id']}"
            make("users", {"id": user, "email": f"{member['id']}@{space.replace('_', '-')}.example"})
            binding = {"id": f"um_{member['id']}", "user_id": user, "member_id": member["id"]}
            make(f"spaces/{space}/user-members", binding)
        for one in checks["resources"]:
            type_, id_ = one["resource"].split("/")
            place = {"group_id": groups[one["group"]] if "group" in one else None, "owner_member_id": one.get("owner")}
            # A resource is known by its type and id in all Spaces of an instance.
            row = {"id": f"{space}.{id_}", "resource_type": type_, "properties": one.get("properties", {})} | place
            revision = make(f"spaces/{space}/resources", row)["revision"]
    return int(revision)


def user_of(preview: dict[str, Any], who: str) -> str:
    return f"user_{preview['space_id']}_{who}"


@each_template
def test_the_commands_of_a_folder_s_readme_lead_to_an_allowed_question(template, pair, tmp_path, monkeypatch):
    monkeypatch.setenv("PLYSTRA_AUTHZ_URL", pair.urls["authz"])
    monkeypatch.setenv("PLYSTRA_ADMIN_KEY", pair.secrets.admin_key)
    out = tmp_path / "acme"
    assert create(template, out) == 0
    readme = (out / "README.md").read_text(encoding="utf-8")
    assert main(["templates", "register", str(out / "plystra/registry.yaml")]) == 0
    (first_member,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    policy_file = out / "plystra/policy.yaml"
    begun, _, end = policy_file.read_text(encoding="utf-8").partition("members: []\ngrants: []\n")
    assert end == ""
    policy_file.write_text(begun + first_member, encoding="utf-8")
    assert main(["policy", "apply", str(policy_file), "--yes", "--reason", "the first member"]) == 0
    (out / "secrets").mkdir()
    (out / "secrets" / "admin_key").write_text(pair.secrets.admin_key)
    make, ask = re.findall(r"```sh\n(.*?)```", readme, re.DOTALL)
    answers = []
    for command in (make, ask):
        words = ["sh", "-euc", command.replace("http://127.0.0.1:8080", pair.urls["authz"])]
        done = subprocess.run(words, cwd=out, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        answers += [json.loads(answer)["data"] for answer in re.sub(r"\}\{", "}\n{", done.stdout).splitlines()]
    assert [answer.get("id") for answer in answers[:2]] == ["user_ada", "um_ada"]
    assert answers[3]["allow"] is True


def test_a_registry_that_differs_is_told_and_left_alone(reachable, tmp_path, capsys):
    registry = {
        "space": {"id": "space_register", "key": "register", "name": "Register"},
        "resource_types": [
            {
                "key": "parcel",
                "display_name": "Parcel",
                "actions": [{"key": "send", "display_name": "Send", "risk_level": "low"}],
            }
        ],
    }
    file = tmp_path / "registry.yaml"
    file.write_text(yaml.safe_dump(registry))
    assert main(["templates", "register", str(file)]) == 0
    assert "+ action parcel send" in capsys.readouterr().out
    registry["resource_types"][0]["actions"] = [
        {"key": "send", "display_name": "Send", "risk_level": "high"},
        {"key": "open", "display_name": "Open", "risk_level": "high"},
    ]
    file.write_text(yaml.safe_dump(registry))
    for made in (["action parcel open"], []):
        assert main(["templates", "register", str(file), "--format", "json"]) == 1
        told = json.loads(capsys.readouterr().out)
        assert told["made"] == made
        assert told["different"] == [{"row": "action parcel send", "fields": {"risk_level": ["high", "low"]}}]
    assert main(["templates", "register", str(file)]) == 1
    assert "~ action parcel send  risk_level: declared 'high', stored 'low'" in capsys.readouterr().out


def test_a_file_that_is_no_registry_is_refused_before_anybody_is_asked(tmp_path, capsys):
    file = tmp_path / "registry.yaml"
    for text in ("space: {}", "a: [", ""):
        file.write_text(text)
        assert main(["templates", "register", str(file)]) == 2
        assert "isn't a registry" in capsys.readouterr().err
    assert main(["templates", "register", str(tmp_path / "none.yaml")]) == 2


def test_the_commands_of_the_page_do_what_it_says(reachable, tmp_path):
    (tmp_path / ".plystra").mkdir()
    (tmp_path / ".plystra" / "dev.env").write_text(
        f"PLYSTRA_AUTHZ_URL={reachable.urls['authz']}\nPLYSTRA_ADMIN_KEY={reachable.secrets.admin_key}\n"
    )
    write, apply = re.findall(r"```sh\n(.*?)```", section("docs/templates.md", "Five minutes"), re.DOTALL)
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command in (write, apply):
        done = subprocess.run(
            ["sh", "-euc", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "✓ space_acme_saas: " in done.stdout
    assert (tmp_path / "acme" / "README.md").exists()
    quoted = re.findall(r"^- \{who: .*$", (REPOSITORY / "docs" / "templates.md").read_text("utf-8"), re.MULTILINE)
    assert len(quoted) == 2
    assert set(quoted) <= set((tmp_path / "acme/plystra/checks.yaml").read_text("utf-8").splitlines())


def test_the_tables_of_the_page_are_whole():
    (_, *templates), (_, *members) = (
        [[row[0].strip("`"), *row[1:]] for row in [["head"], *table]]
        for table in (
            rows(section("docs/templates.md", "Templates"))[: len(NAMES)],
            rows(section("docs/templates.md", "template-installation.json")),
        )
    )
    assert [row[0] for row in templates] == list(NAMES)
    document = json.loads(plan_installation(load_template("minimal"), name_application("Acme"))[1][INSTALLATION_FILE])
    assert [row[0] for row in members] == list(document)
    for name, told in members[1:]:
        for member in document[name]:
            assert f"`{member}`" in told, (name, member)
