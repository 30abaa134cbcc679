"""What a folder will hold, run and need: the document `plystra/template-installation.json`, derived of the files themselves.

docs/templates.md describes its form. Nothing in it is said a second time: services, ports and images are read from
docker-compose.yml with the values of .env.example, roles and groups from policy.yaml, types and actions from registry.yaml.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from shared.ctl.templates.catalogue import Requirements, Template
from shared.ctl.templates.naming import Naming
from shared.ctl.templates.rendering import render
from shared.release import SERVICE_VERSION

INSTALLATION_FILE: Final = "plystra/template-installation.json"
_VARIABLE: Final = re.compile(r"\$\{(\w+)(:[?-])([^}]*)\}")


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    pass


class FileDigest(_Part, frozen=True, kw_only=True):
    """A file of the folder as it was written."""

    path: str
    bytes: int
    sha256: str


class Manifest(_Part, frozen=True, kw_only=True):
    """Of what the folder was made, and every file in it but this document."""

    template: str
    template_version: int
    tool_version: str
    name: str
    slug: str
    space_id: str
    files: list[FileDigest]


class ComposeService(_Part, frozen=True, kw_only=True):
    """A service of docker-compose.yml; `profiles` is empty for those that always run."""

    name: str
    image: str
    ports: list[str]
    volumes: list[str]
    secrets: list[str]
    profiles: list[str]


class DeploymentProfile(_Part, frozen=True, kw_only=True):
    """What `docker compose up` makes with the values of .env.example."""

    services: list[ComposeService]
    images: list[str]
    ports: list[str]
    volumes: list[str]
    secrets: list[str]
    variables: dict[str, str]


class Named(_Part, frozen=True, kw_only=True):
    """How many of something there are, and which."""

    count: int
    names: list[str]


class Preview(_Part, frozen=True, kw_only=True):
    """What registering and applying the policy will make, on an instance that has none of it yet."""

    space_id: str
    resource_types: Named
    resource_actions: Named
    groups: Named
    roles: Named
    permissions: Named


class Installation(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="plystra.template-installation/1"
):
    """The whole document."""

    manifest: Manifest
    deployment_profile: DeploymentProfile
    preview: Preview
    requirements: Requirements


def plan_installation(template: Template, naming: Naming) -> tuple[Installation, dict[str, bytes]]:
    """Return the document and the content of every file by its path, the document's own file among them."""
    files = render(template, naming)
    installation = Installation(
        manifest=Manifest(
            template=template.name,
            template_version=template.version,
            tool_version=SERVICE_VERSION,
            name=naming.name,
            slug=naming.slug,
            space_id=naming.space_id,
            files=[
                FileDigest(path=path, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
                for path, content in files.items()
            ],
        ),
        deployment_profile=_profile(files["docker-compose.yml"].decode(), files[".env.example"].decode()),
        preview=_preview(
            naming.space_id,
            msgspec.yaml.decode(files["plystra/registry.yaml"]),
            msgspec.yaml.decode(files["plystra/policy.yaml"]),
        ),
        requirements=template.requirements,
    )
    document = msgspec.json.format(msgspec.json.encode(installation), indent=2) + b"\n"
    return installation, dict(sorted({**files, INSTALLATION_FILE: document}.items()))


def read_variables(text: str) -> dict[str, str]:
    """Return the variables of an .env file."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def interpolate(compose: Any, variables: dict[str, str]) -> Any:
    """Put variables into the texts of a parsed compose file, as compose does once it has read the YAML.

    A variable that is unset or empty has its default (`:-`); raises `LookupError` with its message where it must not be (`:?`).
    """
    if isinstance(compose, dict):
        return {key: interpolate(value, variables) for key, value in compose.items()}
    if isinstance(compose, list):
        return [interpolate(value, variables) for value in compose]
    return _VARIABLE.sub(lambda found: _value_of(found, variables), compose) if isinstance(compose, str) else compose


def _value_of(found: re.Match[str], variables: dict[str, str]) -> str:
    name, operator, text = found.groups()
    if variables.get(name):
        return variables[name]
    if operator == ":?":
        raise LookupError(f"{name}: {text}")
    return text


def _profile(compose_text: str, env_text: str) -> DeploymentProfile:
    variables = read_variables(env_text)
    compose = interpolate(msgspec.yaml.decode(compose_text), variables)
    services = [
        ComposeService(
            name=name,
            image=service["image"],
            ports=service.get("ports", []),
            volumes=service.get("volumes", []),
            secrets=service.get("secrets", []),
            profiles=service.get("profiles", []),
        )
        for name, service in compose["services"].items()
    ]
    return DeploymentProfile(
        services=services,
        images=sorted({service.image for service in services}),
        ports=[port for service in services for port in service.ports],
        volumes=list(compose["volumes"]),
        secrets=list(compose["secrets"]),
        variables=variables,
    )


def _preview(space_id: str, registry: dict[str, Any], policy: dict[str, Any]) -> Preview:
    types = registry["resource_types"]
    return Preview(
        space_id=space_id,
        resource_types=_named(type_["key"] for type_ in types),
        resource_actions=_named(f"{type_['key']} {action['key']}" for type_ in types for action in type_["actions"]),
        groups=_named(group["path"] for group in policy["groups"]),
        roles=_named(role["key"] for role in policy["roles"]),
        permissions=_named(
            dict.fromkeys(
                label_permission(permission) for role in policy["roles"] for permission in role["permissions"]
            )
        ),
    )


def label_permission(permission: dict[str, Any]) -> str:
    """Return what tells a permission from others, for people: `document read (group_tree) if {"state":"open"}`."""
    condition = permission.get("condition")
    demanded = "" if condition is None else f" if {msgspec.json.encode(condition, order='sorted').decode()}"
    return f"{permission['resource_type']} {permission['action']} ({permission['scope']}){demanded}"


def _named(names: Iterable[str]) -> Named:
    listed = list(names)
    return Named(count=len(listed), names=listed)
