"""The operator's manual does what it says: its blocks of commands, run in their order as one operator would, in production."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from shared.embedded.binaries import find_wheel
from shared.embedded.server import HOST, SUPERUSER, EmbeddedPostgres
from tests.stack.deployment import REPOSITORY, Deployment
from tests.unit.test_reference import LEAVES, NAMED

MANUAL = (REPOSITORY / "docs" / "operating.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", MANUAL, re.MULTILINE | re.DOTALL)
# What isn't in a block, since it has its use when something is wrong, or is for those who develop: the test that runs it.
ELSEWHERE = {
    ("up",): "tests/stack/test_up.py",
    ("import",): "tests/stack/importing.py",
    ("credential", "create"): "tests/database/test_migrate_commands.py",
    ("credential", "list"): "tests/database/test_migrate_commands.py",
    ("credential", "revoke"): "tests/database/test_migrate_commands.py",
    ("migrate", "status"): "tests/database/test_migrate_commands.py",
    ("migrate", "down"): "tests/database/test_migrate_down.py",
    ("migrate", "repair"): "tests/database/test_migrate_repair.py",
    ("migrate", "baseline"): "tests/database/test_migrate_repair.py",
    ("migrate", "new"): "tests/database/test_migrate_new.py",
    ("migrate", "lint"): "tests/unit/test_migrate_lint.py",
    ("migrate", "lock"): "tests/database/test_migrate_commands.py",
    ("migrate", "diff"): "tests/catalogue/test_schema_commands.py",
    ("schema", "apply"): "tests/catalogue/test_schema_commands.py",
    ("schema", "lock-queries"): "Makefile",
}


@pytest.fixture
def machine():
    """A machine as the manual finds it: the programs, the scripts of deploy/, and an empty PostgreSQL."""
    folder = Path(tempfile.mkdtemp(prefix="plystra-tests-", dir="/var/tmp"))
    folder.chmod(0o711)
    made = Deployment(folder)
    made.server = EmbeddedPostgres(folder / "server")  # a durable one, as the doctor demands
    try:
        made.install()
        made.server.start()
        made.make_secrets()  # the DSNs name our PostgreSQL, as the manual tells the operator to see to
        yield made
    finally:
        made.server.remove()
        shutil.rmtree(folder)


def test_the_blocks_of_the_manual_run_one_after_the_other_as_they_stand(machine):
    password = (machine.server.home / "postgres.password").read_text().strip()
    environment = {
        "PATH": f"{machine.bin}:{find_wheel().program('psql').parent}:{os.defpath}",
        "PYTHONPATH": str(machine.folder / "site"),
        "PGHOST": HOST,
        "PGPORT": str(machine.server.port),
        "PGPASSWORD": password,
        "POSTGRES_USER": SUPERUSER,
        "SUPERUSER_DSN": machine.server.superuser_dsn,
        "PLYSTRA_AUTHZ_PORT": str(machine.ports["authz"]),
        "PLYSTRA_AUDIT_PORT": str(machine.ports["audit"]),
    }
    script = "".join(f"echo '== block {number}'\n{block}" for number, block in enumerate(BLOCKS, start=1))
    for service, port in (("authz", 8080), ("audit", 8081)):
        script = script.replace(f"http://127.0.0.1:{port}", machine.url(service))
    ending = "trap 'kill $authz $audit 2>/dev/null; wait' EXIT\n"
    with (machine.folder / "typed.log").open("w+b") as log:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", ending + script],
            cwd=machine.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=300,
        )
        log.seek(0)
        said = log.read().decode()
    assert done.returncode == 0, said[-6_000:]
    assert said.count("== block") == len(BLOCKS) > 6
    assert "Traceback" not in said


def test_every_command_that_the_manual_names_is_run_by_a_test():
    named = {leaf for words in NAMED.findall(MANUAL) if (leaf := leaf_of(words.split()))}
    run = {leaf for block in BLOCKS for words in NAMED.findall(block) if (leaf := leaf_of(words.split()))}
    assert named - run == set(ELSEWHERE)
    for leaf, file in ELSEWHERE.items():
        text = (REPOSITORY / file).read_text(encoding="utf-8")
        spelled = (", ".join(f'"{word}"' for word in leaf), " ".join(leaf))
        assert any(each in text for each in spelled), (leaf, file)


def leaf_of(words):
    return next((tuple(words[:length]) for length in range(len(words), 0, -1) if tuple(words[:length]) in LEAVES), None)
