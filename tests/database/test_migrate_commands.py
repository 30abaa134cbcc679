"""`plystractl migrate` and `credential` as operators meet them: exit codes, JSON, and a next step in every failure."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from shared.credentials import hash_secret, new_key, parse_key
from shared.migrations.ledger import lock_key

REPOSITORY = Path(__file__).parents[2]


def test_up_verify_and_status_of_both_services(operate, empty_database, audit_database):
    both = {"authz": empty_database, "audit": audit_database}
    code, text = operate("migrate", "verify", **both)
    assert code == 1
    assert "pending: 0001.permission_graph" in text
    assert "next: plystractl migrate up --service authz" in text
    assert "✓ audit: clean" in text
    assert "yoyo's table, schema)" in text
    code, text = operate("migrate", "up", **both)
    assert code == 0
    assert "audit: nothing to apply" in text
    assert operate("migrate", "verify", **both)[0] == 0
    code, text = operate("migrate", "status", **both)
    assert code == 0
    assert "authz  applied" in text
    assert "pending" not in text


def test_verify_names_what_somebody_did_to_the_schema_unless_told_not_to_look(operate, authz_database):
    with psycopg.connect(authz_database.superuser_dsn) as connection:
        connection.execute("drop index authz.member_role_list_idx")
    verify = ("migrate", "verify", "--service", "authz")
    code, text = operate(*verify, authz=authz_database)
    assert (code, text.count("schema_differs")) == (1, 1)
    assert "index authz.member_role_list_idx is missing" in text
    code, text = operate(*verify, "--format", "github", authz=authz_database)
    assert code == 1
    (line,) = re.findall(r"^::error file=migrations/authz/schema.lock.json,line=(\d+),", text, re.MULTILINE)
    lock = (REPOSITORY / "migrations" / "authz" / "schema.lock.json").read_text(encoding="utf-8").splitlines()
    assert lock[int(line) - 1].startswith('"index authz.member_role_list_idx"')
    code, sarif = operate("schema", "check", "--service", "authz", "--format", "sarif", authz=authz_database)
    (result,) = json.loads(sarif)["runs"][0]["results"]
    assert (code, result["ruleId"]) == (1, "schema_differs")
    code, text = operate(*verify, "--no-schema", authz=authz_database)
    assert (code, "schema" in text) == (0, False)
    assert operate(*verify, authz=authz_database)[0] == 1


def test_json_is_one_document_that_says_the_same(operate, empty_database, audit_database):
    code, text = operate("migrate", "verify", "--format", "json", authz=empty_database, audit=audit_database)
    document = json.loads(text)
    assert (code, document["exit_code"], document["schema"]) == (1, 1, "plystractl.migrate.verify/1")
    authz, audit = document["services"]
    assert (authz["service"], authz["exit_code"], audit["exit_code"]) == ("authz", 1, 0)
    assert {"code", "subject", "seen", "why", "next", "service"} == set(authz["findings"][0])
    code, text = operate("migrate", "up", "--format", "json", "--service", "authz", authz=empty_database)
    assert code == 0
    applied = json.loads(text)["services"][0]["applied"]
    code, text = operate("migrate", "status", "--format", "json", "--service", "authz", authz=empty_database)
    rows = json.loads(text)["services"][0]["migrations"]
    assert [row["id"] for row in rows if row["state"] == "applied"] == applied


@pytest.mark.parametrize(
    "dsn, code, said",
    [
        (None, 2, "PLYSTRA_AUTHZ_DSN isn't set"),
        ("nonsense", 2, "The DSN isn't one"),
        ("postgresql://authz_migrator:secret@127.0.0.1:1/x", 3, "can't be reached"),
    ],
)
@pytest.mark.parametrize("command", ["up", "verify", "status"])
def test_configuration_and_connectivity_have_their_exit_codes(operate, command, dsn, code, said):
    found, text = operate("migrate", command, "--service", "authz", authz=dsn)
    assert found == code
    assert said in text
    assert "why: " in text
    assert "next: " in text
    assert "secret" not in text


def test_an_unknown_setting_or_option_is_refused(operate, empty_database):
    code, text = operate("migrate", "verify", authz=empty_database, PLYSTRA_AUTHZ_DNS="x")
    assert code == 2
    assert "Did you mean PLYSTRA_AUTHZ_DSN?" in text
    assert operate("migrate", "verify", "--service", "billing")[0] == 2
    assert operate("migrate", "upp")[0] == 2


def test_a_dsn_may_come_from_a_file(operate, authz_database, tmp_path):
    (tmp_path / "dsn").write_text(authz_database.owner_dsn + "\n")
    code, _ = operate("migrate", "verify", "--service", "authz", PLYSTRA_AUTHZ_DSN_FILE=str(tmp_path / "dsn"))
    assert code == 0


def test_verify_annotates_a_change_and_writes_sarif(operate, empty_database):
    code, text = operate("migrate", "verify", "--service", "authz", "--format", "github", authz=empty_database)
    assert code == 1
    lines = text.splitlines()
    assert lines[0].startswith("::error file=migrations/authz/0001.permission_graph.sql,title=pending::")
    assert all(line.startswith("::error ") for line in lines)
    code, text = operate("migrate", "verify", "--service", "authz", "--format", "sarif", authz=empty_database)
    results = json.loads(text)["runs"][0]["results"]
    assert code == 1
    assert [result["ruleId"] for result in results] == ["pending"] * len(lines)
    code, text = operate("migrate", "verify", "--service", "authz", "--format", "github")
    assert code == 2
    assert "PLYSTRA_AUTHZ_DSN isn't set" in text


def test_another_running_migrate_is_exit_code_4(operate, empty_database):
    with psycopg.connect(empty_database.owner_dsn, autocommit=True) as other:
        other.execute("select pg_advisory_lock(%s)", [lock_key("authz")])
        code, text = operate("migrate", "up", "--service", "authz", "--wait", "0.1", authz=empty_database)
        assert code == 4
        assert f"pid {other.info.backend_pid}" in text


def test_the_committed_lock_files_are_current(operate):
    assert operate("migrate", "lock", "--check")[0] == 0


def test_the_program_itself_ends_with_the_exit_code():
    command = [sys.executable, "-m", "shared.ctl", "migrate", "verify", "--service", "authz"]
    environment = {"PLYSTRA_AUTHZ_DSN": "postgresql://x@127.0.0.1:1/x"}
    done = subprocess.run(
        command, env=environment, capture_output=True, check=False, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 3
    assert "can't be reached" in done.stderr


def credentials(database):
    with psycopg.connect(database.superuser_dsn) as connection:
        table = f"{database.service}.credential"
        return connection.execute(f"select name, secret_hash, permission_keys, status from {table}").fetchall()


def test_a_key_is_printed_once_and_stored_as_its_hash(operate, authz_database):
    permissions = ["--permission", "authz:check", "--permission", "authz:explain"]
    arguments = ["--service", "authz", "--name", "orders", *permissions]
    code, text = operate("credential", "create", *arguments, authz=authz_database)
    assert code == 0
    id, secret = parse_key(text.strip())
    expected = ("orders", hash_secret(secret), ["authz:check", "authz:explain"], "active")
    assert credentials(authz_database) == [expected]
    code, text = operate("credential", "list", "--service", "authz", authz=authz_database)
    assert code == 0
    assert id in text
    assert secret not in text


def test_one_key_for_both_services_as_json(operate, authz_database, audit_database):
    both = {"authz": authz_database, "audit": audit_database}
    arguments = ["--service", "both", "--name", "metrics", "--permission", "metrics:read", "--format", "json"]
    code, text = operate("credential", "create", *arguments, **both)
    assert code == 0
    assert json.loads(text)["services"] == ["authz", "audit"]
    assert credentials(authz_database) == credentials(audit_database)
    listed = json.loads(operate("credential", "list", "--format", "json", **both)[1])["credentials"]
    assert [row["service"] for row in listed] == ["authz", "audit"]


def test_a_revoked_key_is_revoked_once(operate, authz_database):
    arguments = ["--service", "authz", "--name", "orders", "--permission", "authz:check"]
    operate("credential", "create", *arguments, authz=authz_database)
    code, text = operate("credential", "revoke", "orders", "--service", "authz", authz=authz_database)
    assert code == 0
    assert "is revoked" in text
    assert credentials(authz_database)[0][3] == "revoked"
    code, text = operate("credential", "revoke", "orders", "--service", "authz", authz=authz_database)
    assert code == 2
    assert "no active key" in text


def test_a_key_made_elsewhere_is_imported_as_often_as_one_likes(operate, audit_database, monkeypatch):
    key = new_key()
    for _ in range(2):
        monkeypatch.setattr(sys, "stdin", io.StringIO(key.text + "\n"))
        arguments = ["--service", "audit", "--name", "administrator", "--every-permission"]
        assert operate("credential", "import", *arguments, audit=audit_database)[0] == 0
    ((name, secret_hash, permissions, _),) = credentials(audit_database)
    assert (name, secret_hash) == ("administrator", key.secret_hash)
    assert {"audit:read", "audit:write", "authz:check", "metrics:read"} <= set(permissions)
    monkeypatch.setattr(sys, "stdin", io.StringIO("not a key"))
    assert operate("credential", "import", *arguments, audit=audit_database)[0] == 2


def test_an_unknown_permission_and_an_unmigrated_database_are_told(operate, empty_database):
    arguments = ["credential", "create", "--service", "authz", "--name", "x", "--permission"]
    code, text = operate(*arguments, "authz:chekc", authz=empty_database)
    assert code == 2
    assert "authz:check (" in text
    code, text = operate(*arguments, "authz:check", authz=empty_database)
    assert code == 8
    assert "plystractl migrate up --service authz" in text
