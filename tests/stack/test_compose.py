"""compose.yaml, Dockerfile and .dockerignore say nothing that isn't so: names, files, commands, limits."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatch

import yaml

from shared.observe.tracing import Tracing
from shared.settings import AuthzSettings, known_variables
from tests.stack.deployment import COMPOSE, DOCKERFILE, PROGRAMS, REPOSITORY, SCRIPTS, SERVICES

OURS = sorted(name for name, service in SERVICES.items() if service["image"] == "plystra")


def test_every_name_in_compose_is_known_declared_or_there():
    known = known_variables()
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            assert isinstance(value, str), f"{name}: YAML reads {variable} as something else than text"
            if variable.startswith("PLYSTRA_"):
                assert variable.removesuffix("_FILE") in known
            if variable.endswith("_FILE"):
                assert value.removeprefix("/run/secrets/") in service["secrets"]
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert (REPOSITORY / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[needed]
            else:
                assert how["condition"] == "service_completed_successfully"
                assert SERVICES[needed]["restart"] == "no"
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])
    assert {name: secret["file"] for name, secret in COMPOSE["secrets"].items()} == {
        name: f"deploy/secrets/{name}" for name in COMPOSE["secrets"]
    }
    assert set(re.findall(r"PLYSTRA_\w+", DOCKERFILE)) <= known


def test_every_command_in_compose_is_in_the_image():
    scripts = re.findall(r'^(\S+) = "', (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    for name in OURS:
        program = SERVICES[name]["command"][0]
        assert program in SCRIPTS or program in scripts
    assert set(PROGRAMS) <= set(scripts)
    assert re.search(r'^ENTRYPOINT \["(\S+)"\]$', DOCKERFILE, re.MULTILINE)[1] in SCRIPTS
    assert all(os.access(REPOSITORY / source, os.X_OK) for source in SCRIPTS.values())


def test_our_containers_are_confined_and_reachable_from_this_machine_alone():
    assert OURS == ["audit", "authz", "migrate", "operator"]
    for name in OURS:
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert "ports" not in SERVICES["postgres"]
    assert [name for name in OURS if "build" in SERVICES[name]] == ["migrate"], "parallel builds collide on the tag"
    assert re.search(r"^USER (\d+):", DOCKERFILE, re.MULTILINE)[1] != "0"
    assert all(":" in service["image"] for name, service in SERVICES.items() if name not in OURS)


def test_operators_find_backups_in_a_volume_that_outlives_their_container():
    operator = SERVICES["operator"]
    assert f"backups:{operator['environment']['PLYSTRA_BACKUP_DIR']}" in operator["volumes"]


def test_containers_get_the_time_that_their_services_may_take_to_stop():
    drain = AuthzSettings(app_dsn="").drain_seconds
    for name in ("authz", "audit"):
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > drain


def test_the_build_sees_what_it_copies_and_no_secret():
    ignore = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert ignore[0] == "*"
    admitted = [line[1:] for line in ignore if line.startswith("!")]
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in [word for word in line.split() if not word.startswith("--")][:-1]
    ]
    for source in copied:
        assert (REPOSITORY / source).exists()
        assert any(fnmatch(source, pattern) for pattern in admitted)
    assert not any(
        fnmatch("deploy/secrets/admin_key", each) or each in ("deploy", "deploy/secrets") for each in admitted
    )
    assert "/deploy/secrets/" in (REPOSITORY / ".gitignore").read_text().splitlines()


def test_an_empty_otlp_endpoint_counts_as_unset(monkeypatch):
    """compose.yaml passes it on empty when nobody has set it."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", raising=False)
    assert Tracing("authz", "authz-1", "0").enabled is False


def test_the_collector_s_pipelines_name_what_it_has():
    collector = yaml.safe_load((REPOSITORY / "deploy" / "collector.yaml").read_text(encoding="utf-8"))
    for pipeline in collector["service"]["pipelines"].values():
        assert set(pipeline["receivers"]) <= set(collector["receivers"])
        assert set(pipeline["exporters"]) <= set(collector["exporters"])
