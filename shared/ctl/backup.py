"""`plystractl backup`: take, check, put back and rehearse backups of each service's database."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal

from cyclopts import App

from shared.clock import utc_now
from shared.ctl.backups.faults import BadBackup, RefusedByPolicy
from shared.ctl.backups.folder import backup_folder
from shared.ctl.backups.rehearsal import note_tested, rehearse
from shared.ctl.backups.restoring import Restored, Wish
from shared.ctl.backups.restoring import restore as restore_backup
from shared.ctl.backups.taking import take_backup
from shared.ctl.backups.telling import (
    BackupCreated,
    BackupTested,
    BackupVerified,
    CheckTold,
    describe_backup,
    describe_restored,
    in_short,
    nothing_restored,
    result_of,
)
from shared.ctl.backups.verification import verify_backup
from shared.ctl.configuration import Which, chosen, is_production, load_operator_settings, owner_dsn
from shared.ctl.console import ERR, OUT, Format, print_finding
from shared.ctl.reports import print_report
from shared.migrations.errors import ExitCode, UsageError

app: Final = App(name="backup", help="Take, check, put back and rehearse backups of each service's database.")


@app.command
def create(
    *, service: Which = "both", out: Path | None = None, pg_bin: Path | None = None, format: Format = "human"
) -> ExitCode:
    """Dump a service's database and describe it in a manifest, both as of one moment, while the service goes on.

    Parameters
    ----------
    service
        Whose database, named by PLYSTRA_AUTHZ_DSN and PLYSTRA_AUDIT_DSN. With both, authz comes first: audit is then
        never behind what authz takes for acknowledged.
    out
        The folder that the backup's own folder is made in; PLYSTRA_BACKUP_DIR unless given.
    pg_bin
        The folder of pg_dump, of the server's major version or a newer one.
    format
        For people, or one JSON document.
    """
    folder = backup_folder(out)
    if folder is None:
        raise UsageError(
            "Neither --out nor PLYSTRA_BACKUP_DIR says where backups are kept.",
            why="A backup in a folder of nobody's choice is one that nobody finds, or that is lost with the server.",
            remedy="set PLYSTRA_BACKUP_DIR to a folder that outlives this machine, or name one by --out.",
        )
    made = []
    for name in chosen(service):
        with _progress(name) as progress:
            path, manifest = take_backup(
                name, owner_dsn(name), folder, now=utc_now(), programs=pg_bin, progress=progress
            )
        made.append(describe_backup(path, manifest))
        if format == "human":
            OUT.print(f"✓ {name}: {path} ({in_short(manifest)}).", style="green")
            OUT.print(f"  next: plystractl backup restore-test {path}")
    if format == "json":
        print_report(BackupCreated(exit_code=0, backups=made))
    return ExitCode.CLEAN


@app.command
def verify(path: Path, *, service: str | None = None, pg_bin: Path | None = None, format: Format = "human") -> ExitCode:
    """Tell whether a backup is whole and as it was written; needs no database.

    Parameters
    ----------
    path
        The backup's folder.
    service
        Whose backup it has to be.
    pg_bin
        The folder of pg_restore.
    format
        For people, or one JSON document.
    """
    try:
        manifest = verify_backup(path, service, pg_bin)
    except BadBackup as bad:
        if format == "json":
            findings = [fault.describe() for fault in bad.faults]
            print_report(BackupVerified(exit_code=1, backup=None, findings=findings))
        else:
            _show(path, bad)
        return ExitCode.FINDINGS
    if format == "json":
        print_report(BackupVerified(exit_code=0, backup=describe_backup(path, manifest), findings=[]))
    else:
        OUT.print(f"✓ {path} is whole ({in_short(manifest)}).", style="green")
    return ExitCode.CLEAN


@app.command
def restore(
    path: Path,
    *,
    service: Literal["authz", "audit"],
    replace: bool = False,
    yes: bool = False,
    acknowledge_loss: bool = False,
    reason: str | None = None,
    server: str | None = None,
    pg_bin: Path | None = None,
    format: Format = "human",
) -> ExitCode:
    """Put a backup in the place of a service's database; if it fails, everything is as it was.

    Parameters
    ----------
    path
        The backup's folder.
    service
        Whose database, named by its owner DSN; it has to be the backup's service.
    replace
        Take the place of a database that isn't empty; that one is kept under another name.
    yes
        Confirm --replace where the environment isn't development or test.
    acknowledge_loss
        Restore audit although its log is known to have been longer; that is recorded in the log.
    reason
        Why, for that record.
    server
        The DSN of a user who may create databases and is in the service's owner role, where the owner DSN's isn't.
    pg_bin
        The folder of pg_restore.
    format
        For people, or one JSON document.
    """
    if replace and not yes and is_production():
        raise RefusedByPolicy(
            "--replace in production needs --yes.",
            why="The service will work on the database of the backup, without what came after it.",
            remedy="look at the backup (plystractl backup verify), then add --yes.",
        )
    wish = Wish(
        folder=path,
        service=service,
        dsn=owner_dsn(service),
        server_dsn=server,
        authz_dsn=load_operator_settings().authz_dsn,
        replace=replace,
        acknowledge_loss=acknowledge_loss,
        reason=reason,
        programs=pg_bin,
    )
    try:
        with _progress(service) as progress:
            restored = restore_backup(wish, now=utc_now(), progress=progress)
    except BadBackup as bad:
        if format == "json":
            findings = [fault.describe() for fault in bad.faults]
            print_report(nothing_restored(findings))
        else:
            _show(path, bad)
        return ExitCode.FINDINGS
    exit_code = ExitCode.FINDINGS if restored.migration_findings else ExitCode.CLEAN
    if format == "json":
        print_report(describe_restored(path, restored, exit_code))
    else:
        _show_restored(service, path, restored)
    return exit_code


@app.command
def restore_test(
    path: Path, *, server: str | None = None, pg_bin: Path | None = None, format: Format = "human"
) -> ExitCode:
    """Restore a backup into a scratch database and prove that it comes back as it was; notes it in the backup's folder.

    Parameters
    ----------
    path
        The backup's folder.
    server
        The DSN of a user who may create databases; otherwise an embedded PostgreSQL is started for it.
    pg_bin
        The folder of pg_restore.
    format
        For people, or one JSON document.
    """
    try:
        with _progress("restore-test") as progress:
            manifest, checks = rehearse(path, server_dsn=server, programs=pg_bin, progress=progress)
    except BadBackup as bad:
        if format == "json":
            findings = [fault.describe() for fault in bad.faults]
            check = CheckTold(name="files", result="failed", findings=findings, skipped=None)
            print_report(BackupTested(exit_code=1, backup=None, checks=[check]))
        else:
            _show(path, bad)
        return ExitCode.FINDINGS
    exit_code = ExitCode.FINDINGS if any(check.faults for check in checks) else ExitCode.CLEAN
    if exit_code == ExitCode.CLEAN:
        note_tested(path, manifest, checks, utc_now())
    if format == "json":
        told = [
            CheckTold(
                name=check.name,
                result=result_of(check),
                findings=[fault.describe() for fault in check.faults],
                skipped=check.skipped,
            )
            for check in checks
        ]
        print_report(BackupTested(exit_code=int(exit_code), backup=describe_backup(path, manifest), checks=told))
        return exit_code
    for one in checks:
        OUT.print(f"  {_SIGNS[result_of(one)]} {one.name}{': ' + one.skipped if one.skipped else ''}")
        for fault in one.faults:
            print_finding(fault)
    if exit_code == ExitCode.CLEAN:
        OUT.print(f"✓ {path} comes back as it was ({in_short(manifest)}).", style="green")
    return exit_code


_SIGNS: Final = {"proved": "✓", "failed": "✗", "skipped": "–"}


def _show(path: Path, bad: BadBackup) -> None:
    OUT.print(f"{path}: {len(bad.faults)} finding{'s' * (len(bad.faults) > 1)}; nothing was changed.")
    for fault in bad.faults:
        print_finding(fault)


def _show_restored(service: str, path: Path, restored: Restored) -> None:
    OUT.print(f"✓ {service}: {path} is restored ({in_short(restored.manifest)}).", style="green")
    if restored.kept_as is not None:
        OUT.print(f"  The database that was there is kept as {restored.kept_as}; drop it when nobody misses anything.")
    if restored.made_roles:
        OUT.print(f"  Roles were made, and have no password yet: {', '.join(restored.made_roles)}.")
        OUT.print(f"  next: alter role {service}_app password '…';")
    if restored.witness is not None:
        OUT.print(f"  {restored.witness}.")
    for loss in restored.losses:
        OUT.print(f"  Lost, as acknowledged and recorded in the log ({restored.loss_event_id}): {loss.seen}.")
    for finding in restored.migration_findings:
        print_finding(finding)
    if restored.closed:
        OUT.print("  Maintenance is on, so that authz changes and decides nothing before it has caught up.")
        OUT.print("  next: plystractl authz catch-up --from-audit, then: plystractl maintenance off")
    elif service == "authz":
        OUT.print("  next, before authz is started: plystractl authz catch-up --from-audit")


@contextlib.contextmanager
def _progress(subject: str) -> Iterator[Callable[[str], None]]:
    """Tell on stderr what is being done: in one line on a terminal, line by line elsewhere."""
    if not ERR.is_terminal:
        yield lambda text: ERR.print(f"{subject}: {text}")
        return
    with ERR.status(f"{subject}: …") as status:
        yield lambda text: status.update(f"{subject}: {text}")
