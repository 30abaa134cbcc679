"""The files of an application folder as bytes: the texts of a template with a name put in. Pure but for reading the sources."""

from __future__ import annotations

import re
from string import Template as Text
from typing import Final

from shared.ctl.templates.catalogue import SOURCES, Template
from shared.ctl.templates.naming import Naming
from shared.release import SERVICE_VERSION

# File in the folder → file of the sources; that of the template itself, where `{}` stands for its name.
_FILES: Final = {
    ".env.example": "common/env.example",
    ".gitignore": "common/gitignore",
    "README.md": "common/README.md",
    "docker-compose.yml": "common/docker-compose.yml",
    "plystra/checks.yaml": "{}/checks.yaml",
    "plystra/install-explanation.md": "common/install-explanation.md",
    "plystra/make-secrets.sh": "common/make-secrets.sh",
    "plystra/policy.yaml": "{}/policy.yaml",
    "plystra/postgres-init.sh": "common/postgres-init.sh",
    "plystra/registry.yaml": "{}/registry.yaml",
}
# What a template adds to the common files, each in the place of its name there; a part that isn't there adds nothing.
_PARTS: Final = {
    "about": "about.md",
    "explanation": "explanation.md",
    "environment": "env.part",
    "services": "services.part",
    "volumes": "volumes.part",
    "secrets": "secrets.part",
}


class _Text(Text):
    """A text with places written `@@{name}`, so that the `$` of shells and of compose stays theirs."""

    delimiter = "@@"
    idpattern = "(?!)"  # never without braces
    braceidpattern = "[a-z_]+"


def render(template: Template, naming: Naming) -> dict[str, bytes]:
    """Return the content of every file but `plystra/template-installation.json`, by its path, in the order of paths."""
    values = {
        "name": naming.name,
        "slug": naming.slug,
        "space_id": naming.space_id,
        "template": template.name,
        "template_version": str(template.version),
        "title": template.title,
        "summary": template.summary,
        "version": SERVICE_VERSION,
        "passwords": " ".join(template.passwords),
        "first_role": template.first_question.role,
        "first_action": template.first_question.action,
        "first_type": template.first_question.resource_type,
        "cpu_cores": str(template.requirements.cpu_cores),
        "memory_mib": str(template.requirements.memory_mib),
        "disk_gib": str(template.requirements.disk_gib),
    }
    values |= {place: _fill(_part(template.name, file), values) for place, file in _PARTS.items()}
    files = {}
    for path, source in sorted(_FILES.items()):
        text = _fill((SOURCES / source.format(template.name)).read_text(encoding="utf-8"), values)
        # An empty part leaves no more than the line between two paragraphs.
        files[path] = (re.sub(r"\n{3,}", "\n\n", text).rstrip("\n") + "\n").encode()
    return files


def _part(template: str, file: str) -> str:
    path = SOURCES / template / file
    return path.read_text(encoding="utf-8").rstrip("\n") if path.exists() else ""


def _fill(text: str, values: dict[str, str]) -> str:
    return _Text(text).substitute(values)
