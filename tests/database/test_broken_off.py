"""However a command ends, JSON was asked for and JSON comes: one document on stdout, and no traceback."""

from __future__ import annotations

import json

import httpx
import psycopg
import pytest
from psycopg import sql

from shared.ctl.__main__ import main
from shared.ctl.client import ask
from shared.migrations.bootstrap import Roles
from shared.migrations.errors import ExitCode, Unreachable
from tests.conftest import PASSWORD

CHECKS = (["migrate", "verify"], ["migrate", "status"], ["migrate", "plan"], ["schema", "check"])
check = pytest.mark.parametrize("command", CHECKS, ids=" ".join)


def set_on(database, setting):
    name = sql.Identifier(database.name)
    with psycopg.connect(database.superuser_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("alter database {} set ").format(name) + sql.SQL(setting))


def run(capsys, *words):
    exit_code = main([*words, "--format", "json"])
    return exit_code, json.loads(capsys.readouterr().out)


@pytest.fixture
def configured(monkeypatch, authz_database):
    monkeypatch.setenv("PLYSTRA_ENVIRONMENT", "test")
    monkeypatch.setenv("PLYSTRA_AUTHZ_DSN", authz_database.owner_dsn)
    return authz_database


@pytest.mark.parametrize(
    "words", [["migrate", "nonsense"], ["schema", "check", "--service", "nobody"], ["maintenance", "on"]]
)
def test_a_command_line_that_cannot_be_parsed_gives_a_document_too(capsys, words):
    exit_code, document = run(capsys, *words)
    assert (exit_code, document["schema"]) == (ExitCode.USAGE, "plystractl.error/1")
    assert document["exit_code"] == ExitCode.USAGE


@check
def test_a_timeout_of_the_database_ends_a_command_in_words(capsys, configured, command):
    set_on(configured, "transaction_timeout = '1ms'")
    exit_code, document = run(capsys, *command, "--service", "authz")
    assert exit_code == ExitCode.UNREACHABLE
    assert document["exit_code"] == ExitCode.UNREACHABLE


@check
@pytest.mark.parametrize("setting", ["client_encoding = 'SQL_ASCII'", "datestyle = 'German'"])
def test_how_a_database_writes_texts_and_times_is_no_obstacle(capsys, configured, command, setting):
    set_on(configured, setting)
    exit_code, document = run(capsys, *command, "--service", "authz")
    assert exit_code in {ExitCode.CLEAN, ExitCode.FINDINGS}
    assert document["schema"].startswith(f"plystractl.{command[0]}.")


@check
def test_how_the_environment_wants_texts_and_times_is_no_obstacle(capsys, monkeypatch, configured, command):
    monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII")
    monkeypatch.setenv("PGDATESTYLE", "German")
    exit_code, _ = run(capsys, *command, "--service", "authz")
    assert exit_code == ExitCode.CLEAN


def test_a_database_without_an_encoding_can_be_migrated_and_compared(capsys, monkeypatch, server):
    monkeypatch.setenv("PLYSTRA_ENVIRONMENT", "test")
    with psycopg.connect(server.superuser_dsn, autocommit=True) as connection:
        connection.execute(
            "create database unencoded encoding 'SQL_ASCII' template template0 locale 'C' owner authz_owner"
        )
        try:
            dsn = server.dsn(Roles("authz").migrator, PASSWORD, "unencoded")
            monkeypatch.setenv("PLYSTRA_AUTHZ_DSN", dsn)
            assert run(capsys, "migrate", "up", "--service", "authz")[0] in {ExitCode.CLEAN, ExitCode.FINDINGS}
            exit_code, document = run(capsys, "schema", "check", "--service", "authz")
            differing = [one["difference"]["attribute"] for one in document["services"][0]["drift"]]
            assert exit_code == ExitCode.FINDINGS
            assert "encoding" in differing
        finally:
            connection.execute("drop database unencoded with (force)")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"data": "\xff"}'])
def test_what_answers_in_the_place_of_a_service_is_no_answer(body):
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body))
    with (
        httpx.Client(base_url="http://proxy", transport=transport) as client,
        pytest.raises(Unreachable, match="proxy"),
    ):
        ask(client, "GET", "/api/v1/policy")


def test_a_password_in_the_url_of_a_service_is_not_printed(capsys, monkeypatch, configured):
    monkeypatch.setenv("PLYSTRA_AUTHZ_URL", "http://somebody:hidden@127.0.0.1:1")
    _, document = run(capsys, "doctor")
    assert "authz doesn't answer at http://127.0.0.1:1" in json.dumps(document)
    assert "hidden" not in json.dumps(document)
