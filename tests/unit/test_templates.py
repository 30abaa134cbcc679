"""What the templates write: the same bytes each time, no secret, safely named, and saying of itself what is so."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import msgspec
import pytest
import yaml

from shared.ctl.templates.catalogue import NAMES, SOURCES, all_templates, load_template
from shared.ctl.templates.installation import (
    INSTALLATION_FILE,
    Installation,
    interpolate,
    plan_installation,
    read_variables,
)
from shared.ctl.templates.naming import name_application
from shared.migrations.errors import UsageError
from shared.settings import known_variables
from tests.unit.oracle import EVERY_DENY_CODE

REPOSITORY = Path(__file__).parents[2]
ACME = name_application("Acme SaaS")
each_template = pytest.mark.parametrize("template", NAMES)


def files_of(template, naming=ACME):
    return plan_installation(load_template(template), naming)[1]


def loaded(template, path):
    return yaml.safe_load(files_of(template)[path])


@pytest.mark.parametrize(
    "name, slug, space_id",
    [
        ("Acme SaaS", "acme-saas", "space_acme_saas"),
        ("Überseehandel Groß & Söhne", "uberseehandel-gross-and-sohne", "space_uberseehandel_gross_and_sohne"),
        ("No", "no", "space_no"),
        ("Nº 5", "no-5", "space_no_5"),
        ("Éclair 2.0", "eclair-2-0", "space_eclair_2_0"),
    ],
)
def test_a_slug_and_a_space_are_made_of_a_name(name, slug, space_id):
    assert name_application(name) == (name, slug, space_id)


@pytest.mark.parametrize("name", ["北京", "Łódź", "Ελλάδα"])
def test_a_name_in_another_script_asks_for_a_slug_rather_than_losing_letters(name):
    with pytest.raises(UsageError, match="No slug can be made"):
        name_application(name)
    assert name_application(name, "acme") == (name, "acme", "space_acme")


@pytest.mark.parametrize(
    "name",
    [
        "",
        " Acme",
        "Acme ",
        "Acme  SaaS",
        "a" * 81,
        "7 Seas",
        'Acme "SaaS"',
        "Acme's",
        "Acme: SaaS",
        "Acme\nSaaS",
        "Acme\u2028SaaS",
        "Acme\u202eSaaS",
        "Acme # SaaS",
        "Acme {x}",
        "Acme $HOME",
        "Acme @@{slug}",
        "Acme `x`",
        "Acme <b>",
        "Acme [x](y)",
        "Acme | x",
        "Acme \\ x",
        "Acme_*x*",
    ],
)
def test_a_name_that_could_mean_something_to_a_format_is_refused(name):
    with pytest.raises(UsageError, match="can't be the name of an application"):
        name_application(name)


@pytest.mark.parametrize(
    "slug", ["", "Acme", "acme_saas", "-acme", "acme-", "a--b", "7seas", "a" * 41, "acme\n", "ácme"]
)
def test_a_slug_of_the_wrong_form_is_refused(slug):
    with pytest.raises(UsageError, match="can't be a slug"):
        name_application("Acme", slug)


@each_template
@pytest.mark.parametrize("name", ["Acme SaaS", "No", "Ärzte - Nord & Süd", "Null", "E1.5"])
def test_a_name_is_text_wherever_it_is_written(template, name):
    naming = name_application(name)
    files = files_of(template, naming)
    registry = yaml.safe_load(files["plystra/registry.yaml"])
    assert registry["space"] == {"id": naming.space_id, "key": naming.slug, "name": name}
    assert yaml.safe_load(files["plystra/policy.yaml"])["space_id"] == naming.space_id
    assert yaml.safe_load(files["docker-compose.yml"])["name"] == naming.slug
    assert json.loads(files[INSTALLATION_FILE])["manifest"]["name"] == name
    assert files["README.md"].decode().startswith(f"# {name}\n")


@each_template
def test_the_same_command_gives_the_same_bytes(template):
    assert files_of(template) == files_of(template)
    for path, content in files_of(template).items():
        text = content.decode()
        assert "@@" not in text, path
        assert "\r" not in text
        assert text.endswith("\n")
        assert not re.search(r"\b20[2-9]\d-\d\d-\d\d", text.replace("2020-01-01", "long ago")), f"{path} holds a date"
        # Of registries only an image's name is written: whose machine it comes from is for the reader to say.
        assert not re.search(r"\b[a-z0-9-]+\.(?:io|com|dev|net|org)\b", text.replace("docker.com", "")), path


@each_template
def test_the_manifest_names_every_file_and_its_digest(template):
    installation, files = plan_installation(load_template(template), ACME)
    document = json.loads(files[INSTALLATION_FILE])
    assert document["schema"] == "plystra.template-installation/1"
    assert msgspec.json.decode(files[INSTALLATION_FILE], type=Installation) == installation
    digests = {file["path"]: file["sha256"] for file in document["manifest"]["files"]}
    assert digests == {
        path: hashlib.sha256(content).hexdigest() for path, content in files.items() if path != INSTALLATION_FILE
    }
    assert [file["bytes"] for file in document["manifest"]["files"]] == [len(files[path]) for path in digests]


@each_template
def test_the_preview_counts_what_the_files_declare(template):
    preview = plan_installation(load_template(template), ACME)[0].preview
    policy, registry = loaded(template, "plystra/policy.yaml"), loaded(template, "plystra/registry.yaml")
    assert preview.roles.names == [role["key"] for role in policy["roles"]]
    assert preview.groups.count == len(policy["groups"])
    assert preview.resource_actions.count == sum(len(type_["actions"]) for type_ in registry["resource_types"])
    meanings = {
        json.dumps(permission, sort_keys=True) for role in policy["roles"] for permission in role["permissions"]
    }
    assert preview.permissions.count == len(meanings)


@each_template
def test_a_policy_says_nothing_of_anybody_and_asks_for_nothing_unregistered(template):
    policy, registry = loaded(template, "plystra/policy.yaml"), loaded(template, "plystra/registry.yaml")
    assert policy["members"] == policy["grants"] == []
    registered = {(type_["key"], action["key"]) for type_ in registry["resource_types"] for action in type_["actions"]}
    held = {(one["resource_type"], one["action"]) for role in policy["roles"] for one in role["permissions"]}
    assert held == registered, "an action that no role holds can't be meant"


@each_template
def test_the_checks_teach_each_role_by_what_it_may_and_what_it_may_not(template):
    checks, policy = loaded(template, "plystra/checks.yaml"), loaded(template, "plystra/policy.yaml")
    cast = {one["member"]: [grant["role"] for grant in one["grants"]] for one in checks["cast"]}
    answers = [(role, check["answer"] == "allow") for check in checks["checks"] for role in cast[check["who"]]]
    for role in policy["roles"]:
        assert {(role["key"], True), (role["key"], False)} <= set(answers), role["key"]
    for check in checks["checks"]:
        assert set(check) == {"who", "action", "resource", "answer", "because"}
        assert check["answer"] in EVERY_DENY_CODE | {"allow"}
    asked = [(check["who"], check["action"], check["resource"]) for check in checks["checks"]]
    assert len(asked) == len(set(asked))
    scopes = {one["scope"] for role in policy["roles"] for one in role["permissions"]}
    assert scopes == {"self", "group", "group_tree", "space"} or template in {"internal-admin", "community"}


@each_template
def test_what_is_to_be_copied_to_env_holds_no_secret_and_everything_that_compose_asks_for(template):
    files = files_of(template)
    variables = read_variables(files[".env.example"].decode())
    compose = files["docker-compose.yml"].decode()
    assert set(re.findall(r"\$\{(\w+):\?", compose)) == set(variables)
    forms = {
        "IMAGE": r"[a-z/]+:[0-9.]+",
        "PORT": r"[0-9]{4,5}",
        "URL": r"http://localhost:[0-9]{4,5}",
    }
    for name, value in variables.items():
        # Each value is of a form in which no password or key fits.
        assert re.fullmatch(forms[name.partition("_")[0]], value), name
        assert not re.search(r"PASSWORD|SECRET|KEY|TOKEN|DSN", name)
        assert not name.startswith("PLYSTRA_"), "a program that is given .env would refuse it"
    for path, content in files.items():
        text = content.decode()
        assert not re.search(r"ply_[a-z0-9]{16}\.", text), path
        assert not re.findall(r"[A-Za-z0-9+/]{32,}", re.sub(r"[0-9a-f]{64}", "", text)), path


@each_template
def test_compose_refuses_to_start_without_any_one_of_its_variables(template):
    files = files_of(template)
    compose, variables = yaml.safe_load(files["docker-compose.yml"]), read_variables(files[".env.example"].decode())
    assert "${" not in json.dumps(interpolate(compose, variables))
    for name in variables:
        with pytest.raises(LookupError, match=rf"{name}: is not set, see \.env\.example"):
            interpolate(compose, {key: value for key, value in variables.items() if key != name})
        with pytest.raises(LookupError, match=name):
            interpolate(compose, variables | {name: ""})


@each_template
def test_every_variable_of_plystra_that_is_named_is_known(template):
    known = known_variables()
    for path, content in files_of(template).items():
        for name in re.findall(r"(?<![A-Z_])PLYSTRA_[A-Z_]+[A-Z]", content.decode()):
            assert name.removesuffix("_FILE") in known, (path, name)


@each_template
def test_links_and_paths_in_what_is_written_lead_to_files_of_the_folder(template):
    files = files_of(template)
    for path, content in files.items():
        if path.endswith(".md"):
            for target in re.findall(r"\]\(([^)#]+)\)", content.decode()):
                assert str(Path(path).parent / target) in files
    named = set(re.findall(r"^\| `([\w./-]+)` \|", files["README.md"].decode().partition("## Start")[0], re.MULTILINE))
    assert named == set(files) - {"README.md", ".gitignore", "plystra/install-explanation.md"}


def test_the_script_that_prepares_postgres_is_the_product_s_own():
    for template in NAMES:
        assert (
            files_of(template)["plystra/postgres-init.sh"] == (REPOSITORY / "deploy" / "postgres-init.sh").read_bytes()
        )


def test_every_source_is_used_and_every_template_named():
    assert [template.name for template in all_templates()] == list(NAMES)
    assert {path.name for path in SOURCES.iterdir()} == {"common", *NAMES}
    known = {
        "about.md", "checks.yaml", "env.part", "explanation.md", "policy.yaml", "registry.yaml", "secrets.part",
        "services.part", "template.yaml", "volumes.part",
    }  # fmt: skip
    for name in NAMES:
        assert {path.name for path in (SOURCES / name).iterdir()} <= known


def test_an_unknown_template_is_refused_with_the_names_that_there_are():
    with pytest.raises(UsageError, match="The templates are minimal, auth-ready-saas, internal-admin, community"):
        load_template("../minimal")
