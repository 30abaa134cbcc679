"""An upgrade that goes wrong: what can't be applied changes nothing, and after what can and is wrong, authz goes back alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.ctl.__main__ import main
from shared.ctl.questions import QUESTIONS
from shared.migrations.bootstrap import SERVICES
from shared.migrations.errors import ApplyFailed, ExitCode
from shared.migrations.files import default_folder
from shared.migrations.lockfile import required_migrations
from shared.migrations.runner import migrate_up
from tests.database.conftest import ScratchFolder
from tests.stack.conftest import OpenPair
from tests.stack.going_back import ACME, CATCH_UP, GRANT, backup, change, decide, faults, log, put_back, revision
from tests.stack.pair import Pair

LAST = required_migrations("authz")[-1]
NEXT = f"{int(LAST[:4]) + 1:04d}.of_the_next_release"


@pytest.fixture(scope="module")
def pair(open_pair: OpenPair) -> Iterator[Pair]:
    """A running pair for the tests of this module; each of them leaves it whole."""
    with open_pair() as opened:
        yield opened.start()


@pytest.fixture(autouse=True)
def operator(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """plystractl is told of both databases, and of nothing that would make this anything but production."""
    for service, database in pair.databases.items():
        monkeypatch.setenv(f"PLYSTRA_{service.upper()}_DSN", database.owner_dsn)


def release_with(folder: Path, statements: str) -> Path:
    """The migrations of a release of authz that has one more than this one."""
    release = ScratchFolder(shutil.copytree(default_folder("authz"), folder))
    release.add(NEXT, statements, depends=LAST)
    release.lock()
    return release.path


def is_clean(*words: str) -> bool:
    return main(list(words)) == ExitCode.CLEAN


def revoke(pair: Pair) -> int:
    with pair.client("authz") as client:
        return client.post(f"{GRANT}/revoke", json={"reason": "left"}).status_code


def test_a_migration_that_cannot_be_applied_changes_nothing_and_the_services_go_on(pair: Pair, tmp_path: Path) -> None:
    authz = pair.databases["authz"].owner_dsn
    decided = decide(pair)
    release = release_with(
        tmp_path / "release",
        "alter table authz.space add column region text not null default 'eu';\n"
        "alter table authz.member add constraint member_has_region check (region is not null);",
    )
    with pytest.raises(ApplyFailed, match='column "region" does not exist') as failed:
        migrate_up("authz", authz, release)
    assert failed.value.exit_code == ExitCode.APPLY_FAILED == 5
    assert is_clean("migrate", "verify")  # that the schema is as expected, too
    assert [pair.readiness(service)[0] for service in SERVICES] == [200, 200]
    assert decide(pair) == decided
    change(pair, "POST", f"{ACME}/members", {"id": "member_after", "display_name": "After the failure"})
    pair.wait_drained()
    assert faults(pair) == []


def test_an_upgrade_that_turns_out_wrong_is_rolled_back_in_authz_and_nothing_that_audit_recorded_is_lost(
    pair: Pair, tmp_path: Path
) -> None:
    pair.wait_drained()
    known = len(log(pair))
    before = backup("authz", tmp_path / "backups")
    release = release_with(
        tmp_path / "release",
        "alter table authz.member_role add constraint member_role_stays check (status = 'active') not valid;",
    )
    assert migrate_up("authz", pair.databases["authz"].owner_dsn, release) == [NEXT]

    decided = decide(pair)
    member = change(pair, "POST", f"{ACME}/members", {"id": "member_window", "display_name": "Made in the window"})
    assert revoke(pair) == 409  # so that is what is wrong with it
    pair.wait_drained()
    window = log(pair)
    assert [kind for *_, kind in window[known:]] == [*["decision.made"] * len(QUESTIONS), "member.created"]

    put_back(pair, before)
    assert log(pair) == window
    assert revision(pair) < member
    assert is_clean("migrate", "verify")
    assert is_clean(*CATCH_UP)
    assert revision(pair) == member
    assert is_clean("authz", "verify-projections")
    assert is_clean("maintenance", "off")
    pair.restart(pair.authz)
    pair.wait_ready()

    with pair.client("authz") as client:
        assert client.get(f"{ACME}/members/member_window").json()["data"]["display_name"] == "Made in the window"
    assert decide(pair) == decided
    assert revoke(pair) < 300
    pair.wait_drained()
    assert log(pair)[: len(window)] == window
    assert len(log(pair)) == len(window) + len(QUESTIONS) + 1
    assert faults(pair) == []
    assert is_clean("authz", "verify-projections")
    assert is_clean("authz", "replay")
