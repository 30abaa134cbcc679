"""The production shape without its containers: the scripts of deploy/ and the commands of compose.yaml, run as there.

The programs come from the wheel that the image installs, unpacked apart from the repository. The environment of each is
exactly what compose.yaml and the Dockerfile give it, but for where secrets, ports and PostgreSQL are.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import yaml

from shared.embedded.binaries import find_wheel
from shared.embedded.server import HOST, SUPERUSER, EmbeddedPostgres
from tests.stack.test_up import free_ports

REPOSITORY = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((REPOSITORY / "compose.yaml").read_text(encoding="utf-8"))
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
SERVICES = COMPOSE["services"]
# Program in the image → file in the repository.
SCRIPTS = dict(
    reversed(found) for found in re.findall(r"^COPY --chmod=0755 (\S+) /usr/local/bin/(\S+)$", DOCKERFILE, re.MULTILINE)
)
PROGRAMS = ("plystra-authz", "plystra-audit", "plystractl")
ANYWHERE = "0.0.0.0"  # noqa: S104 - inside a container; the host publishes it on 127.0.0.1 alone


class Deployment:
    """A folder that stands for a machine: the image's programs, the secrets, and PostgreSQL made ready by the scripts."""

    def __init__(self, folder):
        self.folder = folder
        self.secrets = folder / "deploy" / "secrets"
        self.bin = folder / "bin"
        self.context = folder / "dist" / "context"
        self.ports = dict(zip(("authz", "audit"), free_ports(), strict=True))
        self.server = EmbeddedPostgres(folder / "server", fast=True)

    def install(self):
        """Put the programs where the image has them, and the scripts beside them."""
        for path in (REPOSITORY / "deploy").iterdir():
            if path.is_file():
                (self.folder / "deploy").mkdir(exist_ok=True)
                shutil.copy(path, self.folder / "deploy")
        wheel = build_wheel(self.context)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.folder / "site")
        self.bin.mkdir()
        for name in PROGRAMS:
            (self.bin / name).symlink_to(Path(sys.executable).with_name(name))
        for name, source in SCRIPTS.items():
            (self.bin / name).symlink_to(self.folder / source)

    def make_secrets(self):
        """Run make-secrets.sh, and name our PostgreSQL in the DSNs instead of the container's."""
        run(["sh", str(self.folder / "deploy" / "make-secrets.sh")], cwd="/", env={"PATH": os.defpath})
        for file in self.secrets.glob("*_dsn"):
            file.chmod(0o600)
            file.write_text(file.read_text().replace("@postgres:5432/", f"@{HOST}:{self.server.port}/"))

    def init_postgres(self):
        """Run postgres-init.sh as the postgres container does on an empty data folder."""
        environment = {
            "PATH": f"{find_wheel().program('psql').parent}:{os.defpath}",
            "PGHOST": HOST,
            "PGPORT": str(self.server.port),
            "PGPASSWORD": (self.server.home / "postgres.password").read_text(),
            "POSTGRES_USER": SUPERUSER,
            "SECRETS": str(self.secrets),
        }
        run(["sh", str(self.folder / "deploy" / "postgres-init.sh")], cwd="/", env=environment)

    def environment(self, service):
        """What a container of the service gets: the image's variables, then compose.yaml's."""
        image = dict.fromkeys(re.findall(r"PLYSTRA_\w+(?==\$)", DOCKERFILE), "")
        given = SERVICES[service].get("environment", {})
        return {
            "PATH": f"{self.bin}:{os.defpath}",
            "PYTHONPATH": str(self.folder / "site"),
            "SECRETS": str(self.secrets),
            **image,
            **{name: self._local(value) for name, value in given.items()},
        }

    def _local(self, value):
        value = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value).replace("/run/secrets", str(self.secrets))
        for service, port in (("authz", 8080), ("audit", 8081)):
            value = value.replace(f"http://{service}:{port}", self.url(service))
        return {"8080": str(self.ports["authz"]), "8081": str(self.ports["audit"]), ANYWHERE: HOST}.get(value, value)

    def url(self, service):
        return f"http://{HOST}:{self.ports[service]}"

    def secret(self, name):
        return (self.secrets / name).read_text()

    def run(self, service, *command, **options):
        """`docker compose run --rm <service> <command>`; without a command, the service's own."""
        words = ["plystra-entrypoint", *(command or SERVICES[service]["command"])]
        return run([str(self.bin / words[0]), *words[1:]], cwd="/", env=self.environment(service), **options)

    def start(self, service):
        """`docker compose up <service>`."""
        words = [str(self.bin / "plystra-entrypoint"), *SERVICES[service]["command"]]
        with (self.folder / f"{service}.log").open("wb") as log:
            return subprocess.Popen(
                words, cwd="/", env=self.environment(service), stdout=log, stderr=log, start_new_session=True
            )

    def log(self, service):
        return (self.folder / f"{service}.log").read_text()

    def ask(self, service, method, path, key=None, **options):
        headers = {"Authorization": f"Bearer {self.secret(key)}"} if key else {}
        headers |= options.pop("headers", {})
        with httpx.Client(base_url=self.url(service), trust_env=False, timeout=10) as client:
            return client.request(method, path, headers=headers, **options)


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


def build_wheel(context):
    """Build the wheel as the Dockerfile does, from a copy of what it copies."""
    for name in ("services", "shared", "migrations"):
        shutil.copytree(REPOSITORY / name, context / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(REPOSITORY / name, context)
    run([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", ".."], cwd=context)
    (wheel,) = context.parent.glob("*.whl")
    return wheel
