"""`plystractl templates`: tell what the templates are, write one into a new folder, and register what its policy needs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cyclopts import App
from rich.table import Table

from shared.ctl.client import authz_client
from shared.ctl.console import OUT, Format, print_table
from shared.ctl.reports import Report, print_report
from shared.ctl.templates.catalogue import Template, all_templates, load_template
from shared.ctl.templates.installation import INSTALLATION_FILE, Installation, Named, plan_installation
from shared.ctl.templates.naming import name_application
from shared.ctl.templates.registering import Registered, read_registry, register
from shared.ctl.templates.writing import refuse_existing, write_new_folder
from shared.migrations.errors import ExitCode

app: Final = App(name="templates", help="Begin an application that asks Plystra, in a folder that is ready to start.")

_EXAMPLE: Final = "Example"


class Listed(Report, frozen=True, kw_only=True, tag="plystractl.templates.list/1"):
    """Every template."""

    templates: list[Template]


class Described(Report, frozen=True, kw_only=True, tag="plystractl.templates.describe/1"):
    """What would be written: `installation` is what plystra/template-installation.json will hold, byte for byte."""

    title: str
    summary: str
    installation: Installation


class Created(Report, frozen=True, kw_only=True, tag="plystractl.templates.create/1"):
    """Where a template was written."""

    folder: str
    files: list[str]
    installation: Installation


@app.command(name="list")
def list_templates(*, format: Format = "human") -> ExitCode:
    """List the templates and what each is for.

    Parameters
    ----------
    format
        For people, or one JSON document.
    """
    templates = all_templates()
    if format == "json":
        print_report(Listed(templates=templates))
        return ExitCode.CLEAN
    for template in templates:
        OUT.print(f"{template.name}", style="bold")
        OUT.print(f"  {template.summary}")
    OUT.print("\nplystractl templates describe NAME shows what one writes, runs and needs.")
    return ExitCode.CLEAN


@app.command
def describe(template: str, *, name: str = _EXAMPLE, slug: str | None = None, format: Format = "human") -> ExitCode:
    """Tell what a template would write, run, make and need; nothing is written.

    Parameters
    ----------
    template
        One of those that `list` shows.
    name
        What the application is called.
    slug
        Its name in a–z and 0–9, for the compose project and the Space; made of the name unless given.
    format
        For people, or one JSON document: what plystra/template-installation.json will hold.
    """
    chosen = load_template(template)
    installation, _ = plan_installation(chosen, name_application(name, slug))
    if format == "json":
        print_report(Described(title=chosen.title, summary=chosen.summary, installation=installation))
        return ExitCode.CLEAN
    OUT.print(f"{chosen.name}: {chosen.title}", style="bold")
    OUT.print(f"{chosen.summary}\n")
    _print_installation(installation)
    return ExitCode.CLEAN


@app.command
def create(template: str, *, name: str, out: Path, slug: str | None = None, format: Format = "human") -> ExitCode:
    """Write a template into a new folder, whole or not at all; nothing is started, migrated or fetched.

    Parameters
    ----------
    template
        One of those that `list` shows.
    name
        What the application is called, such as "Acme SaaS".
    out
        The folder to make; nothing of that name may exist.
    slug
        Its name in a–z and 0–9, for the compose project and the Space; made of the name unless given.
    format
        For people, or one JSON document.
    """
    naming = name_application(name, slug)
    installation, files = plan_installation(load_template(template), naming)
    refuse_existing(out)
    write_new_folder(out, files)
    if format == "json":
        print_report(Created(folder=str(out), files=list(files), installation=installation))
        return ExitCode.CLEAN
    OUT.print(f"✓ {out}: {len(files)} files, for {naming.name} in the Space {naming.space_id}.", style="green")
    OUT.print("  Nothing was started, and no secret exists yet. Read README.md there; in short:")
    OUT.print(f"  cd {out} && cp .env.example .env && sh plystra/make-secrets.sh && docker compose up --wait")
    return ExitCode.CLEAN


@app.command(name="register")
def register_file(file: Path, *, format: Format = "human", url: str | None = None) -> ExitCode:
    """Make the Space, resource types and actions of a registry.yaml where they are missing. Exit code 1: some there differ.

    Parameters
    ----------
    file
        As `create` writes it: plystra/registry.yaml.
    format
        For people, or one JSON document.
    url
        Where authz is; PLYSTRA_AUTHZ_URL unless given.
    """
    registry = read_registry(file)
    with authz_client(url) as client:
        registered = register(client, registry)
    if format == "json":
        print_report(registered)
    else:
        _print_registered(registered)
    return ExitCode.FINDINGS if registered.different else ExitCode.CLEAN


def _print_installation(installation: Installation) -> None:
    manifest, profile = installation.manifest, installation.deployment_profile
    OUT.print(f"Files, for {manifest.name} ({manifest.slug}), and {INSTALLATION_FILE}")
    for file in manifest.files:
        OUT.print(f"  {file.path:<34} {file.bytes:>6} bytes  sha256 {file.sha256[:16]}…")
    OUT.print("\nRuns")
    table = Table("service", "image", "ports", "runs")
    for service in profile.services:
        when = f"by hand ({', '.join(service.profiles)})" if service.profiles else "always"
        table.add_row(
            service.name, service.image, ", ".join(service.ports), "once" if service.name == "migrate" else when
        )
    print_table(table)
    OUT.print(
        f"  volumes: {', '.join(profile.volumes)}; secrets, made by plystra/make-secrets.sh: {len(profile.secrets)}"
    )
    OUT.print(f"\nMakes, once registered and applied, in {installation.preview.space_id}")
    for title in ("resource_types", "resource_actions", "groups", "roles", "permissions"):
        named: Named = getattr(installation.preview, title)
        OUT.print(f"  {named.count} {title.replace('_', ' ')}: {', '.join(named.names)}")
    needs = installation.requirements
    OUT.print(f"\nNeeds {needs.cpu_cores} cores, {needs.memory_mib} MiB of memory, {needs.disk_gib} GiB of disk")
    for software in needs.software:
        OUT.print(f"  {software}")


def _print_registered(registered: Registered) -> None:
    for label in registered.made:
        OUT.print(f"  + {label}", style="green")
    for difference in registered.different:
        told = "; ".join(f"{name}: declared {one!r}, stored {two!r}" for name, (one, two) in difference.fields.items())
        OUT.print(f"  ~ {difference.row}  {told}", style="yellow")
    there = f"{len(registered.present)} were there already"
    if registered.different:
        OUT.print(
            f"{len(registered.different)} are there and differ; they were left as they are. {there}.", style="yellow"
        )
        OUT.print("  next: change the file, or the row by PATCH (docs/administering.md); other Spaces may rely on it.")
        return
    OUT.print(
        f"✓ {registered.space_id}: {len(registered.made)} made, {there}. Next: plystractl policy plan.", style="green"
    )
