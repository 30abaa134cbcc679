"""The compose file of a template runs what the product's own does: same services, same settings, same confinement."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
import yaml

from shared.credentials import parse_key
from shared.ctl.__main__ import main
from shared.ctl.templates.catalogue import NAMES, load_template
from shared.ctl.templates.installation import interpolate, plan_installation, read_variables
from shared.ctl.templates.naming import name_application
from shared.settings import known_variables
from tests.stack.deployment import COMPOSE, PROGRAMS, SCRIPTS, SERVICES, run

each_template = pytest.mark.parametrize("template", NAMES)
OURS = ("migrate", "audit", "authz")


def composed(template):
    files = plan_installation(load_template(template), name_application("Acme SaaS"))[1]
    variables = read_variables(files[".env.example"].decode())
    return interpolate(yaml.safe_load(files["docker-compose.yml"]), variables), files


@each_template
def test_the_pair_and_its_postgres_are_those_of_the_product(template):
    compose, _ = composed(template)
    for name in OURS:
        # The image is named, not built: the folder has no source.
        product = {key: value for key, value in SERVICES[name].items() if key not in {"build", "image"}}
        product["environment"] = {
            variable: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value) for variable, value in product["environment"].items()
        }
        image = compose["services"][name].pop("image")
        assert re.fullmatch(r"plystra:[0-9.]+", image)
        assert compose["services"][name] == product
    moved = [volume.replace("./deploy/", "./plystra/") for volume in SERVICES["postgres"]["volumes"]]
    assert compose["services"]["postgres"] == SERVICES["postgres"] | {"volumes": moved}
    assert set(COMPOSE["secrets"]) <= set(compose["secrets"])


@each_template
def test_every_name_in_it_is_known_declared_or_there(template):
    compose, files = composed(template)
    services = compose["services"]
    known = known_variables()
    for name, service in services.items():
        for variable, value in service.get("environment", {}).items():
            assert isinstance(value, str), f"{name}: YAML reads {variable} as something else than text"
            if variable.startswith("PLYSTRA_"):
                assert variable.removesuffix("_FILE") in known
            if variable.endswith("_FILE"):
                assert value.removeprefix("/run/secrets/") in service["secrets"]
            assert not re.search(r"PASSWORD$|SECRET$|_KEY$", variable), "a secret is a file"
        assert set(service.get("secrets", [])) <= set(compose["secrets"])
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("./"):
                assert any(path == source[2:] or path.startswith(f"{source[2:]}/") for path in files), volume
            else:
                assert source in compose["volumes"]
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[needed]
            else:
                assert how["condition"] == "service_completed_successfully"
                assert services[needed]["restart"] == "no"
        assert "build" not in service
        assert ":" in service["image"]
        assert "." not in service["image"].partition("/")[0] or "/" not in service["image"], "no registry's host"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    used = {secret for service in services.values() for secret in service.get("secrets", [])}
    assert used == set(compose["secrets"])
    assert {name: secret["file"] for name, secret in compose["secrets"].items()} == {
        name: f"secrets/{name}" for name in compose["secrets"]
    }
    mounted = {volume.partition(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert set(compose["volumes"]) <= mounted


@each_template
def test_the_operator_s_tool_runs_by_hand_alone_and_as_confined_as_the_services(template):
    compose, _ = composed(template)
    tool = compose["services"]["plystractl"]
    assert tool["profiles"] == ["operator"]
    script, program = tool["entrypoint"]
    assert script in SCRIPTS
    assert program in PROGRAMS
    for name in (*OURS, "plystractl"):
        service = compose["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]


@each_template
def test_the_script_makes_exactly_the_secrets_that_compose_hands_out(template, tmp_path):
    folder = tmp_path / "acme"
    assert main(["templates", "create", template, "--name", "Acme SaaS", "--out", str(folder)]) == 0
    compose, _ = composed(template)
    secrets = folder / "secrets"
    assert not secrets.exists()
    for _ in range(2):
        run(["sh", str(folder / "plystra" / "make-secrets.sh")], cwd="/", env={"PATH": os.defpath})
        found = {file.name: file.read_text() for file in secrets.iterdir()}
        assert set(found) == set(compose["secrets"])
        before = locals().get("before", found)
        assert found == before, "what is there is kept"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    passwords = [text for name, text in found.items() if name.endswith("_password")]
    assert len(set(passwords)) == len(passwords)
    assert all(re.fullmatch(r"[A-Za-z0-9]{40}", password) for password in passwords)
    assert None not in {parse_key(found[name]) for name in ("admin_key", "relay_key")}
    for service in ("authz", "audit"):
        for role, file in (("migrator", "dsn"), ("app", "app_dsn")):
            password = found[f"{service}_{role}_password"]
            expected = f"postgresql://{service}_{role}:{password}@postgres:5432/plystra_{service}"
            assert found[f"{service}_{file}"] == expected
    ignored = (folder / ".gitignore").read_text().splitlines()
    assert {"/.env", "/secrets/"} <= set(ignored)


@pytest.mark.parametrize("status, healthy", [(200, True), (503, False)])
def test_the_health_of_the_identity_provider_is_told_by_its_answer(status, healthy):
    compose, _ = composed("auth-ready-saas")

    class Health(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status if self.path == "/health/ready" else 404)
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Health) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        kind, *command = compose["services"]["identity"]["healthcheck"]["test"]
        assert kind == "CMD"
        # Compose reads $$ as $; the port is the one that this test may have.
        command[-1] = command[-1].replace("$$", "$").replace("/9000", f"/{server.server_port}")
        assert (subprocess.run(command, check=False, timeout=10).returncode == 0) is healthy
        server.shutdown()
    assert subprocess.run(command, check=False, timeout=10, capture_output=True).returncode != 0, "nobody answers"


def test_the_identity_provider_gets_its_password_from_the_secret_and_its_command_as_given(tmp_path):
    compose, _ = composed("auth-ready-saas")
    (tmp_path / "secret").write_text("a password")
    (tmp_path / "kc.sh").write_text('#!/bin/sh\nprintf "%s|" "$KC_DB_PASSWORD" "$@"\n')
    (tmp_path / "kc.sh").chmod(0o700)
    entrypoint = [
        word.replace("$$", "$")
        .replace("/run/secrets/identity_database_password", str(tmp_path / "secret"))
        .replace("/opt/keycloak/bin", str(tmp_path))
        for word in compose["services"]["identity"]["entrypoint"]
    ]
    assert run([*entrypoint, "bootstrap-admin", "user"]) == "a password|bootstrap-admin|user|"
