"""deploy/ and compose.yaml at work: secrets, PostgreSQL, migration, both services, a question, an orderly end."""

from __future__ import annotations

import json
import re
import shutil
import signal
import stat
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psycopg
import pytest

from shared.credentials import PERMISSION_KEYS, new_key, parse_key
from shared.ctl.templates.catalogue import NAMES, load_template
from shared.ctl.templates.installation import plan_installation
from shared.ctl.templates.naming import name_application
from shared.embedded.server import EmbeddedPostgres
from shared.migrations.bootstrap import create_database, create_roles
from tests.stack.deployment import COMPOSE, Deployment, run

DEADLINE_SECONDS = 60
QUESTION = {
    "actor": {
        "user_id": "user_alice",
        "member_id": "member_finance_reviewer",
        "user_member_id": "um_alice_finance_reviewer",
        "space_id": "space_acme",
    },
    "action": "approve",
    "resource_type": "invoice",
    "resource_id": "invoice_001",
}


@pytest.fixture(scope="module")
def deployment():
    """Everything up to the point where the services start: secrets, PostgreSQL, roles, schemas, keys."""
    folder = Path(tempfile.mkdtemp(prefix="plystra-tests-", dir="/var/tmp"))
    folder.chmod(0o711)
    made = Deployment(folder)
    try:
        made.install()
        made.server.start()
        made.make_secrets()
        made.init_postgres()
        made.run("migrate")
        yield made
    finally:
        made.server.remove()
        shutil.rmtree(folder)


def test_the_services_run_from_the_image_s_files_answer_record_and_stop_with_0(deployment):
    # As docs/operating.md says.
    assert "made" in deployment.run("authz", "plystra-authz", "seed", "finance-reviewer")
    running = {service: deployment.start(service) for service in ("audit", "authz")}
    try:
        for service, process in running.items():
            eventually(lambda s=service, p=process: p.poll() is not None or is_ready(deployment, s))
            assert process.poll() is None, deployment.log(service)
        ask_and_find(deployment)
        version = deployment.ask("authz", "GET", "/api/v1/version").json()["data"]
        assert version["build"] == {"commit": None, "time": None}
        for service in ("authz", "audit"):
            running[service].send_signal(signal.SIGTERM)
            assert running[service].wait(DEADLINE_SECONDS) == 0, deployment.log(service)
            assert '"event":"stopped"' in deployment.log(service)
            assert '"level":"error"' not in deployment.log(service)
            assert deployment.secret("admin_key") not in deployment.log(service)
    finally:
        for process in running.values():
            if process.poll() is None:
                process.kill()
                process.wait()


def is_ready(deployment, service):
    try:
        return deployment.ask(service, "GET", "/api/v1/ready").status_code == 200
    except httpx.TransportError:
        return False


def ask_and_find(deployment):
    asked = deployment.ask(
        "authz", "POST", "/api/v1/authz/check", key="admin_key", json=QUESTION, headers={"X-Request-ID": "deployed-1"}
    )
    assert asked.status_code == 200, asked.text
    assert asked.json()["data"]["allow"] is True

    def found():
        path = "/api/v1/audit/decisions?request_id=deployed-1"
        return deployment.ask("audit", "GET", path, key="admin_key").json()["data"]

    (row,) = eventually(found)
    assert row["event_id"] == asked.json()["data"]["decision_id"]
    assert row["source"] == "authz-1"
    # The relay's key does nothing but write.
    assert deployment.ask("audit", "GET", "/api/v1/audit/decisions", key="relay_key").status_code == 403


def test_the_programs_are_those_of_the_wheel(deployment):
    """The image has no repository: what runs must bring queries, migrations and its version along."""
    environment = deployment.environment("migrate")
    code = "import services, shared, shared.release as r; print(services.__file__, shared.__file__, r.SERVICE_VERSION)"
    *files, version = run([sys.executable, "-c", code], cwd="/", env=environment).split()
    assert all(file.startswith(str(deployment.folder / "site")) for file in files)
    assert version in run([str(deployment.bin / "plystractl"), "--version"], cwd="/", env=environment)
    wheel = {
        str(path.relative_to(deployment.folder / "site"))
        for path in (deployment.folder / "site").rglob("*")
        if path.is_file() and "dist-info" not in str(path) and "__pycache__" not in path.parts
    }
    built_from = {
        str(path.relative_to(deployment.context))
        for name in ("services", "shared", "migrations")
        for path in (deployment.context / name).rglob("*")
        if path.is_file()
    }
    assert wheel == built_from


def test_the_wheel_s_tool_writes_every_template_as_the_repository_s_does(deployment):
    """The texts are data of the package, and whoever has the image needs nothing else to begin."""
    for name in NAMES:
        out = deployment.folder / f"written-{name}"
        words = ("plystractl", "templates", "create", name, "--name", "Acme SaaS", "--out", str(out))
        deployment.run("migrate", *words)
        written = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        assert written == plan_installation(load_template(name), name_application("Acme SaaS"))[1]


def test_what_init_makes_is_what_bootstrap_makes(deployment):
    """Two ways lead to a prepared PostgreSQL; migrations and services must find the same on both."""
    made = cluster(deployment.server)
    other = EmbeddedPostgres(deployment.folder / "other", fast=True)
    try:
        other.start()
        with psycopg.connect(other.superuser_dsn, autocommit=True) as connection:
            for service in ("authz", "audit"):
                create_roles(connection, service, migrator_password="m", app_password="a")
                create_database(connection, service, f"plystra_{service}")
        assert made == cluster(other)
    finally:
        other.remove()
    assert len(made) == 10


def cluster(server):
    """Every role with what it may and whom it belongs to, every database with its owner, locale and grants."""
    with psycopg.connect(server.superuser_dsn) as connection:
        roles = connection.execute(
            "select rolname, rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolinherit, rolbypassrls,"
            " array(select roleid::regrole::text from pg_auth_members where member = r.oid order by 1)"
            " from pg_roles r where rolname ~ '^(authz|audit)_' order by 1"
        ).fetchall()
        databases = connection.execute(
            "select datname, datdba::regrole::text, encoding, datlocprovider, datcollate, datctype, datacl::text"
            " from pg_database where datname like 'plystra%' order by 1"
        ).fetchall()
    return [*roles, *databases]


def test_a_second_deployment_changes_nothing_and_revives_no_revoked_key(deployment):
    before = {file.name: file.read_text() for file in deployment.secrets.iterdir()}
    deployment.make_secrets()
    assert {file.name: file.read_text() for file in deployment.secrets.iterdir()} == before
    assert "nothing to apply" in deployment.run("migrate")

    key = new_key()
    store = ("plystractl", "credential", "import", "--service", "audit", "--name", "gone", "--permission", "audit:read")
    assert "stored" in deployment.run("operator", *store, input=key.text + "\n")
    deployment.run("operator", "plystractl", "credential", "revoke", key.credential_id)
    assert "stays so" in deployment.run("operator", *store, input=key.text)
    listed = json.loads(deployment.run("operator", "plystractl", "credential", "list", "--format", "json"))
    by_id = {(row["service"], row["credential_id"]): row for row in listed["credentials"]}
    assert by_id["audit", key.credential_id]["status"] == "revoked"
    for service in ("authz", "audit"):
        admin = by_id[service, parse_key(deployment.secret("admin_key"))[0]]
        assert (admin["status"], set(admin["permission_keys"])) == ("active", set(PERMISSION_KEYS))
    assert by_id["audit", parse_key(deployment.secret("relay_key"))[0]]["permission_keys"] == ["audit:write"]


def test_secrets_are_whole_distinct_and_out_of_others_reach(deployment):
    assert stat.S_IMODE(deployment.secrets.stat().st_mode) == 0o700
    assert {file.name for file in deployment.secrets.iterdir()} == set(COMPOSE["secrets"])
    passwords = [file.read_text() for file in deployment.secrets.glob("*_password")]
    assert len(set(passwords)) == 5
    assert all(re.fullmatch(r"[A-Za-z0-9]{40}", password) for password in passwords)
    keys = {parse_key(deployment.secret(name)) for name in ("admin_key", "relay_key")}
    assert len(keys) == 2
    assert None not in keys


def eventually(probe):
    """Ask until the answer is true and return it; fail at the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"{probe} did not come true"
        time.sleep(0.05)
    return answer
