"""`migrate lint`: each rule finds its own case and nothing else does; the migrations in the repository break none."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from shared.ctl import squawk
from shared.ctl.__main__ import main
from shared.ctl.lint import lint_service
from shared.migrations.files import KEYS, default_folder
from shared.migrations.findings import FAULTS
from shared.migrations.lint_rules import RULES

HEADER = {
    **dict.fromkeys(KEYS, "none"),
    "transactional": "true",
    "purpose": "a test",
    "kind": "schema",
    "phase": "expand",
}


def write(path, sql, **header):
    lines = [f"-- {key}: {value}" for key, value in (HEADER | header).items()]
    (path / "0001.case.sql").write_text("\n".join(lines) + f"\n\n{sql}\n")
    (path / "0001.case.rollback.sql").write_text("select 1;\n")


def rules_broken(path, service="authz"):
    return [finding.code for finding in lint_service(service, path)]


TABLE = "create table authz.thing (id bigint primary key, n bigint); grant select on authz.thing to authz_app;"
DATA = {"kind": "data"}
BARE = {"transactional": "false"}
OURS = [
    ("object_name", "create index concurrently by_n on authz.thing (n);", BARE),
    ("object_name", "alter table authz.thing add constraint positive check (n > 0) not valid;", {}),
    ("object_name", 'create table authz."Thing" (id bigint); grant select on authz."Thing" to authz_app;', {}),
    ("if_not_exists_concurrently", "create index concurrently if not exists thing_n_idx on authz.thing (n);", BARE),
    ("rows_in_schema_file", "insert into authz.thing values (1);", {}),
    ("rows_in_schema_file", "with x as (select 1) update authz.thing set n = 1;", {}),
    ("schema_in_data_file", "alter table authz.thing add column m bigint;", DATA),
    ("data_unbounded", "update authz.thing set n = 1;", DATA),
    ("data_unbounded", "insert into authz.thing select * from authz.other on conflict do nothing;", DATA),
    ("data_not_repeatable", "insert into authz.thing values (1);", DATA),
    ("contract_too_early", "drop table authz.thing;", {}),
    ("contract_too_early", "alter table authz.thing drop column n;", {}),
    ("contract_too_early", "alter table authz.thing drop n;", {}),
    ("contract_too_early", "alter table authz.thing rename to other;", {}),
    ("contract_too_early", "alter table authz.thing rename column n to m;", {}),
    ("contract_too_early", "alter table authz.thing drop column n;", {"phase": "migrate"}),
    ("grant_too_wide", "grant select on authz.thing to public;", {}),
    ("grant_too_wide", "grant select on authz.thing to authz_app, postgres;", {}),
    ("grant_too_wide", "grant select on authz.thing to audit_app;", {}),
    ("grant_too_wide", "grant select on authz.thing to authz_app with grant option;", {}),
    ("grant_too_wide", "grant all on authz.thing to authz_app;", {}),
    ("table_without_grant", "create table authz.thing (id bigint);", {}),
    (
        "definer_without_search_path",
        "create function authz.f() returns int language sql security definer as $$ select 1 $$;",
        {},
    ),
    ("reviewer_unknown", "select 1;", {"review": "somebody"}),
    *(
        ("review_required", sql, {})
        for sql in (
            "alter table authz.user_member add column n bigint;",
            "alter table authz.member_role add column n bigint;",
            "alter table authz.role_permission add column n bigint;",
            "alter table authz.resource add column n bigint;",
            "alter table audit.entry add column n bigint;",
            "alter table authz.thing add column deny_code text;",
            "alter table authz.thing add column trace_id text;",
            "create or replace function authz.check_f() returns int language sql return group_path(1);",
        )
    ),
    ("needs_no_transaction", "create index concurrently thing_n_idx on authz.thing (n);", {}),
    ("needs_no_transaction", "vacuum authz.thing;", {}),
    ("needs_no_transaction", "alter type authz.kind add value 'x' after 'w';", {}),
    ("ignored_without_reason", "-- plystra-ignore object_name\nselect 1;", {}),
    ("bad_header", "select 1;", {"phase": "later"}),
    ("forbidden_statement", "commit;", {}),
    ("several_statements", "select 1; select 2;", BARE),
]
SQUAWKS = [
    ("adding-field-with-default", "alter table authz.thing add column at timestamptz default clock_timestamp();", {}),
    ("changing-column-type", "alter table authz.thing alter column n type text;", {}),
    ("adding-not-nullable-field", "alter table authz.thing alter column n set not null;", {}),
    ("constraint-missing-not-valid", "alter table authz.thing add constraint thing_n_sign check (n > 0);", {}),
    ("require-concurrent-index-creation", "create index thing_n_idx on authz.thing (n);", {}),
]


@pytest.mark.parametrize("rule, sql, header", [*OURS, *SQUAWKS])
def test_a_rule_finds_its_case_and_no_other_rule_does(tmp_path, rule, sql, header):
    write(tmp_path, sql, **header)
    assert rules_broken(tmp_path) == [rule]


def test_a_foreign_key_that_is_not_left_unproved_is_squawks(tmp_path):
    write(tmp_path, "alter table authz.thing add constraint thing_fk foreign key (n) references authz.thing (id);")
    assert set(rules_broken(tmp_path)) == {"adding-foreign-key-constraint", "constraint-missing-not-valid"}


def test_every_rule_of_ours_has_a_case_and_says_what_to_do():
    elsewhere = {"header_disagrees"}  # needs a schema.lock.json
    assert set(RULES) - elsewhere <= {rule for rule, _, _ in OURS}
    assert not set(RULES) & set(FAULTS)
    for why, remedy in RULES.values():
        assert why.endswith(".")
        assert remedy


@pytest.mark.parametrize(
    "sql, header",
    [
        (TABLE, {}),
        (TABLE + " create index thing_n_idx on authz.thing (n);", {}),
        ("create table authz.thing (id bigint);\n-- no grant: thing: only its owner's functions read it", {}),
        ("-- no grant: authz.thing: only functions read it\ncreate table authz.thing (id bigint);", {}),
        ("alter table authz.thing drop column n;", {"phase": "contract"}),
        ("alter table authz.member_role add column n bigint;", {"review": "security"}),
        ("-- plystra-ignore object_name: kept from before\ncreate index concurrently n on authz.thing (n);", BARE),
        (
            "update authz.thing set n = 1 where id in (select id from authz.thing where n is null limit 1000);",
            {"kind": "data", "transactional": "false"},
        ),
        ("insert into authz.thing values (1) on conflict do nothing;", DATA),
        ("select 'security definer';", {}),
    ],
)
def test_what_is_meant_to_be_so_is_let_through(tmp_path, sql, header):
    write(tmp_path, sql, **header)
    assert rules_broken(tmp_path) == []


def test_a_missing_rollback_is_found(tmp_path):
    write(tmp_path, "select 1;")
    (tmp_path / "0001.case.rollback.sql").unlink()
    assert rules_broken(tmp_path) == ["rollback_missing"]


def test_a_finding_names_the_line(tmp_path):
    write(tmp_path, "select 1;\n\n/* why */\n  vacuum authz.thing;")
    (finding,) = lint_service("authz", tmp_path)
    assert finding.line == len(KEYS) + 5
    assert finding.file == f"{tmp_path}/0001.case.sql"


@pytest.mark.parametrize("service", ["authz", "audit"])
def test_the_migrations_in_the_repository_break_no_rule(service):
    assert lint_service(service) == []


LIES = [
    ("0001.permission_graph", "tables", r" \+authz.resource$", "", "table authz.resource was added"),
    ("0001.permission_graph", "tables", "$", " +authz.ghost", "+authz.ghost, and no such table"),
    ("0001.permission_graph", "tables", "$", " -authz.user", "-authz.user, and no such table was removed"),
    ("0001.permission_graph", "indexes", r"\+authz.user_email_key ", "", "index authz.user_email_key was added"),
    ("0001.permission_graph", "indexes", "$", " +authz.ghost_idx", "+authz.ghost_idx, and no such index"),
    ("0001.permission_graph", "constraints", ".*", "+authz.ghost_form", "+authz.ghost_form, and no such constraint"),
    ("0005.text_lengths", "constraints", r"\+authz.user_metadata_size ", "", "user_metadata_size was added"),
    ("0005.text_lengths", "constraints", ".*", "none", "user_metadata_size was added"),
    ("0006.text_lengths_valid", "constraints", "authz.user_metadata_size ", "", "user_metadata_size was changed"),
    ("0006.text_lengths_valid", "constraints", "^", "-", "-authz.user_display_name_length, and no such constraint"),
    ("0007.outbox_compressed", "columns", ".*", "none", "column authz.outbox.events_length was added"),
    ("0007.outbox_compressed", "columns", "$", " ~authz.outbox.slot", "~authz.outbox.slot, and no such column"),
    ("0007.outbox_compressed", "columns", r"\+", "-", "-authz.outbox.events_length, and no such column was removed"),
    ("0009.as_of", "indexes", ".*", "none", "index authz.event_occurred_idx was added"),
    ("0010.identifier_form", "constraints", ".*", "none", "constraint authz.identifier_form was changed"),
    ("0010.identifier_form", "constraints", "~", "+", "+identifier_form, and no such constraint was added"),
]


@pytest.mark.parametrize("id, key, pattern, lie, said", LIES)
def test_a_header_that_lies_is_found(tmp_path, id, key, pattern, lie, said):
    path = tmp_path / "authz"
    shutil.copytree(default_folder("authz"), path)
    file = path / f"{id}.sql"
    text = file.read_text()
    match = re.search(rf"^-- {key}: (.*)$", text, re.MULTILINE)
    value = re.sub(pattern, lie, match[1], count=1)
    assert value != match[1]
    file.write_text(text[: match.start(1)] + value + text[match.end(1) :])
    findings = lint_service("authz", path)
    assert {(each.code, each.subject) for each in findings} == {("header_disagrees", file.name)}
    assert any(said in each.seen for each in findings), [each.seen for each in findings]
    assert findings[0].line == text.count("\n", 0, match.start()) + 1


def test_without_squawk_it_says_how_to_get_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(squawk.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["migrate", "lint"]) == 2
    assert "squawk-cli" in capsys.readouterr().err


def test_the_command_says_that_all_is_well(capsys):
    assert main(["migrate", "lint"]) == 0
    assert "break no rule" in capsys.readouterr().out


def test_the_documentation_lists_every_code_and_rule():
    text = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
    for heading, expected in (("What `migrate verify` finds", FAULTS), ("What `migrate lint` finds", RULES)):
        section = text.partition(f"### {heading}")[2].partition("\n#")[0]
        assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(expected), heading
