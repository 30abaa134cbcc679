"""`plystractl policy`: a whole Space in a file that is kept in git; exported, planned and applied through authz."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import httpx
import msgspec
import yaml
from cyclopts import App, Parameter
from rich.table import Table

from shared.compression import new_compressor
from shared.ctl.client import ask, authz_client
from shared.ctl.console import ERR, OUT, Format, print_table
from shared.ctl.home import write_private
from shared.ctl.reports import Report, print_report
from shared.identifiers import new_id
from shared.migrations.errors import ExitCode, UsageError

app: Final = App(name="policy", help="Keep a whole Space in a file: its groups, roles, members and grants.")

_COMPRESSED_FROM: Final = 256 * 1024
_PATIENCE_SECONDS: Final = 10.0
_SHOWN: Final = 40
_STYLES: Final = {"created": "green", "granted": "green", "added": "green", "restored": "green"}
_ENDINGS: Final = ("disabled", "revoked", "archived")


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One event that a policy makes."""

    kind: str
    entity_type: str
    entity_id: str
    label: str
    changed: dict[str, tuple[Any, Any]]


class AccessChange(msgspec.Struct, frozen=True, kw_only=True):
    """What one member may no more, or may from now on."""

    member_id: str
    resource_type: str
    action: str
    before: str
    after: str
    count: int
    resource_ids: list[str]


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Who gains and who loses what."""

    gained: int
    lost: int
    changes: list[AccessChange]
    complete: bool


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """What authz says that a policy changes."""

    dry_run: bool
    revision: int
    changes: list[Change]
    access: Access | None = None


class PolicyReport(Report, frozen=True, kw_only=True, tag="plystractl.policy/1"):
    """What a policy would change (`dry_run`) or has changed."""

    exit_code: ExitCode
    space_id: str
    dry_run: bool
    revision: int
    changes: list[Change]
    access: Access | None


class _Answer(msgspec.Struct, frozen=True):
    data: Changed


@app.command
def export(
    space: str, *, output: Path | None = None, format: Literal["yaml", "json"] = "yaml", url: str | None = None
) -> ExitCode:
    """Write the file that declares a Space as it is.

    Parameters
    ----------
    space
        Id of the Space.
    output
        File to write; standard output unless given.
    format
        Both can be planned and applied.
    url
        Where authz is; PLYSTRA_AUTHZ_URL unless given.
    """
    with authz_client(url) as client:
        answer = ask(client, "GET", f"/api/v1/spaces/{space}/policy", patience=_PATIENCE_SECONDS)
    policy = answer.json()["data"]
    if format == "yaml":
        text = yaml.safe_dump(policy, sort_keys=False, allow_unicode=True, width=120)
    else:
        text = msgspec.json.format(msgspec.json.encode(policy), indent=2).decode() + "\n"
    if output is None:
        sys.stdout.write(text)
    else:
        write_private(output, text.encode())
        ERR.print(f"✓ {output} declares {space} as of revision {answer.headers['etag'].strip(chr(34))}.", style="green")
    return ExitCode.CLEAN


@app.command
def plan(file: Path, *, space: str | None = None, format: Format = "human", url: str | None = None) -> ExitCode:
    """Tell what a file would change, and who would gain and lose what; nothing is changed. Exit code 1: something would.

    Parameters
    ----------
    file
        YAML or JSON, as `export` writes it.
    space
        Id of the Space; that in the file unless given.
    format
        For people, or one JSON document.
    url
        Where authz is; PLYSTRA_AUTHZ_URL unless given.
    """
    policy = _read(file)
    space = _space(policy, space, file)
    with authz_client(url) as client:
        report, _ = _put(client, space, policy, dry_run="true")
    exit_code = ExitCode.FINDINGS if report.changes else ExitCode.CLEAN
    if format == "json":
        _report(report, space, exit_code)
    else:
        _print(report, space)
    return exit_code


@app.command
def apply(
    file: Path,
    *,
    space: str | None = None,
    reason: str | None = None,
    yes: Annotated[bool, Parameter(negative="")] = False,
    format: Format = "human",
    url: str | None = None,
) -> ExitCode:
    """Let a Space be as a file declares it, after showing what changes; refused if it was changed in between.

    Parameters
    ----------
    file
        YAML or JSON, as `export` writes it.
    space
        Id of the Space; that in the file unless given.
    reason
        Why; it is kept in each event.
    yes
        Don't ask; needed where nobody can answer.
    format
        For people, or one JSON document.
    url
        Where authz is; PLYSTRA_AUTHZ_URL unless given.
    """
    policy = _read(file)
    space = _space(policy, space, file)
    with authz_client(url) as client:
        planned, etag = _put(client, space, policy, dry_run="true")
        if format == "human":
            _print(planned, space)
        if not planned.changes:
            if format == "json":
                _report(planned, space, ExitCode.CLEAN)
            return ExitCode.CLEAN
        if not yes:
            _confirm()
        parameters = {} if reason is None else {"reason": reason}
        headers = {"if-match": etag, "idempotency-key": new_id("policy")}
        report, _ = _put(client, space, policy, headers=headers, **parameters)
    if format == "json":
        _report(report, space, ExitCode.CLEAN)
    else:
        OUT.print(f"✓ {space}: {len(report.changes)} events, up to revision {report.revision}.", style="green")
    return ExitCode.CLEAN


class _OnceLoader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping, or raise for a repeated key."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", node.value[index][0].start_mark
                )
        return super().construct_mapping(node, deep)


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
        # JSON is YAML, but for the forms that only YAML has; either way a key is there once.
        policy = yaml.load(text, Loader=_OnceLoader)  # noqa: S506  # a SafeLoader, and stricter
        if isinstance(policy, dict):
            msgspec.json.encode(policy)
            return policy
        fault = "it isn't a mapping with version, groups, roles, members and grants"
    except (OSError, UnicodeError, yaml.YAMLError, msgspec.MsgspecError, TypeError) as error:
        fault = str(error)
    raise UsageError(
        f"{file} isn't a policy: {fault}.",
        why="Nothing can be planned from it.",
        remedy="plystractl policy export writes one to begin with.",
    )


def _space(policy: dict[str, Any], given: str | None, file: Path) -> str:
    space = given or policy.get("space_id")
    if not isinstance(space, str):
        raise UsageError(
            f"{file} doesn't say which Space it is of.",
            why="A policy replaces all that it doesn't declare.",
            remedy="add `space_id:` to the file, or give --space.",
        )
    return space


def _put(
    client: httpx.Client,
    space: str,
    policy: dict[str, Any],
    headers: dict[str, str] | None = None,
    **parameters: str,
) -> tuple[Changed, str]:
    body = msgspec.json.encode(policy)
    sent = {"content-type": "application/json", **(headers or {})}
    if len(body) > _COMPRESSED_FROM:
        body, sent["content-encoding"] = new_compressor()(body), "zstd"
    path = f"/api/v1/spaces/{space}/policy"
    answer = ask(client, "PUT", path, patience=_PATIENCE_SECONDS, params=parameters, content=body, headers=sent)
    return msgspec.json.decode(answer.content, type=_Answer).data, answer.headers["etag"]


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise UsageError(
            "Nobody is here to be asked.", why="What was planned must be wanted.", remedy="give --yes to apply it."
        )
    if input("Apply this? [y/N] ").strip().lower() not in {"y", "yes"}:
        raise UsageError("Nothing was applied.", why="It was not confirmed.", remedy="answer y, or give --yes.")


def _report(report: Changed, space: str, exit_code: ExitCode) -> None:
    print_report(PolicyReport(exit_code=exit_code, space_id=space, **msgspec.structs.asdict(report)))


def _print(report: Changed, space: str) -> None:
    if not report.changes:
        OUT.print(f"✓ {space} is as declared (revision {report.revision}).", style="green")
        return
    OUT.print(f"{space}, at revision {report.revision}: {len(report.changes)} changes")
    for change in report.changes:
        verb = change.kind.rpartition(".")[2]
        sign = "+" if verb in _STYLES else "-" if verb in _ENDINGS else "~"
        style = _STYLES.get(verb, "red" if verb in _ENDINGS else "yellow")
        OUT.print(f"  {sign} {change.kind:<24} {change.label}{_fields(change) if sign == '~' else ''}", style=style)
    if report.access is not None:
        _print_access(report.access)


def _fields(change: Change) -> str:
    return "".join(f"  {name}: {was!r} → {now!r}" for name, (was, now) in change.changed.items())


def _print_access(access: Access) -> None:
    OUT.print(f"Access: {access.gained} gained, {access.lost} lost (member × action × resource)")
    if not access.changes:
        return
    table = Table("member", "action", "from", "to", "resources")
    for change in access.changes[:_SHOWN]:
        first = ", ".join(change.resource_ids[:3]) + (f" and {change.count - 3} more" if change.count > 3 else "")
        table.add_row(change.member_id, f"{change.resource_type} {change.action}", change.before, change.after, first)
    print_table(table)
    hidden = len(access.changes) - _SHOWN
    if hidden > 0:
        OUT.print(f"{hidden} more lines; --format json lists them.")
    if not access.complete:
        OUT.print("There is more than was looked at: the numbers are the least that it is.", style="yellow")
