"""The reference of `plystractl` is complete and current, and no text names a command that there isn't."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from shared.ctl.__main__ import app, main
from shared.ctl.reports import report_kinds

REPOSITORY = Path(__file__).parents[2]
COMMANDS = (REPOSITORY / "docs" / "commands.md").read_text(encoding="utf-8")
TEXTS = sorted(
    file
    for pattern in (
        "README.md",
        "docs/*.md",
        "shared/**/*.py",
        "shared/**/*.sql",
        "services/**/*.py",
        "deploy/*",
        "Makefile",
    )
    for file in REPOSITORY.glob(pattern)
)
NAMED = re.compile(r"(?<![\w.-])plystractl((?: [a-z][a-z-]*)+)")
ORDINARY_WORDS = {"and", "finds", "is", "may", "of", "prints", "reads", "that"}  # that follow the name in a sentence


def leaves(group=app, path=()):
    for name in group:
        if name.startswith("-"):
            continue
        command = group[name]
        below = dict(leaves(command, (*path, name)))
        yield from below.items()
        if not below:
            yield (*path, name), command


LEAVES = dict(leaves())
GROUPS = {path[:length] for path in LEAVES for length in range(1, len(path))}


def test_the_committed_reference_is_what_the_commands_say(capsys):
    assert main(["reference", "--check"]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_a_command_is_in_the_reference_with_a_sentence_and_every_option_is_told(path):
    section = re.split(rf"^#+ plystractl {' '.join(path)}$", COMMANDS, flags=re.MULTILINE)
    assert len(section) == 2
    section = re.split(r"^#", section[1], flags=re.MULTILINE)[0]
    sentences = section.partition("```\n\n")[2]
    assert re.match(r"[A-Z`][^.]*\.", sentences), sentences
    for option in re.findall(r"^\* .*$", section, re.MULTILINE):
        assert re.match(r"\* `[^`]+`: [A-Z-].*", option), option


def test_every_document_has_a_name_and_a_version_of_its_own():
    tags = [kind.__struct_config__.tag for kind in report_kinds()]
    assert len(tags) == len(set(tags)) > 5
    assert all(re.fullmatch(r"plystractl(\.[a-z-]+)+/[1-9]", tag) for tag in tags)


def test_a_command_that_cannot_go_on_prints_why_as_json_too(monkeypatch, capsys):
    monkeypatch.delenv("PLYSTRA_AUTHZ_DSN", raising=False)
    assert main(["credential", "list", "--service", "authz", "--format", "json"]) == 2
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert (document["schema"], document["exit_code"]) == ("plystractl.error/1", 2)
    assert "PLYSTRA_AUTHZ_DSN" in document["found"]
    assert document["found"] in printed.err
    assert document["why"]
    assert document["next"]


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: str(file.relative_to(REPOSITORY)))
def test_a_command_that_a_text_names_exists(file):
    for words in NAMED.findall(file.read_text(encoding="utf-8")):
        path = tuple(words.split())
        if path[0] in ORDINARY_WORDS:
            continue
        known = [
            path[:length] for length in range(len(path), 0, -1) if path[:length] in LEAVES or path[:length] in GROUPS
        ]
        assert known, f"plystractl{words}"
        # What follows a group's name is a command of it; what follows a command is its argument or the sentence going on.
        assert known[0] in LEAVES or len(known[0]) == len(path), f"plystractl{words}"
