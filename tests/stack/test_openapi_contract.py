"""Both services keep to their OpenAPI documents, whatever is thrown at them: schemathesis against the running pair."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.stack.pair import Pair

_DOCUMENTS = Path(__file__).parents[2] / "docs" / "openapi"
# What a schema cannot say is refused all the same: an event must be canonical, `resource_type` must agree with `resource`.
_EXCLUDED = "positive_data_acceptance"


EXAMPLES = {"authz": "3", "audit": "25"}


def _without_revisions(service: str, folder: Path) -> Path:
    """A service's document, without the fields and parameters whose right answer is a 503 when their value is made up.

    `tests/service/test_authz_at_least_revision.py` and `test_authz_as_of.py` ask for revisions that are there, to come, and none.
    """
    document = msgspec.json.decode((_DOCUMENTS / f"{service}.json").read_bytes())
    if service == "authz":
        for name in ("as_of", "at_least_revision"):
            del document["components"]["schemas"]["CheckRequest"]["properties"][name]
        for operation in (operation for path in document["paths"].values() for operation in path.values()):
            parameters = operation.get("parameters", [])
            operation["parameters"] = [known for known in parameters if known["name"] != "at_least_revision"]
    file = folder / f"{service}.json"
    file.write_bytes(msgspec.json.encode(document))
    return file


@pytest.mark.parametrize("service", ["authz", "audit"])
def test_a_service_answers_every_generated_request_as_its_document_says(
    pair: Pair, service: str, tmp_path: Path
) -> None:
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", str(_without_revisions(service, tmp_path))),
        *("--url", pair.urls[service]),
        *("--header", f"Authorization: Bearer {pair.secrets.admin_key}"),
        *("--checks", "all", "--exclude-checks", _EXCLUDED),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES[service], "--seed", "1", "--no-color"),
    ]
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": "tests.stack.ndjson",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    counted = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert counted, done.stdout[-2000:]
    assert counted[1] == counted[2]
    assert int(counted[1]) > 100
