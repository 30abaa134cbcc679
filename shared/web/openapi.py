"""The OpenAPI document of a service: what Litestar derives from the handlers, made complete and strict.

Added here: API keys, the problem answers of every route, `additionalProperties: false` where unknown fields are refused,
and the bare ASGI routes, which Litestar cannot see into.
"""

from __future__ import annotations

import copy
import re
from typing import Any

import msgspec
from litestar import Litestar

from shared.credentials import PERMISSION_KEYS
from shared.problems import ProblemDocument
from shared.web.litestar_app import PUBLIC, LeanOperation, lean_operations, path_template, routes_with_permissions

_SECURITY = {"api_key": {"type": "http", "scheme": "bearer", "bearerFormat": "ply_<id>.<secret>"}}
_STATUSES = {
    "400": "The request is malformed.",
    "401": "An API key is missing or not valid.",
    "403": "The API key lacks a permission.",
    "404": "There is nothing here.",
    "405": "The route does not take this method.",
    "409": "The request conflicts with what is stored.",
    "412": "The row was changed since it was read.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "422": "The request names something that is not there, or that may not be.",
    "500": "The service failed.",
    "503": "The service cannot answer at present; see Retry-After.",
}
_HEADERS = {
    "X-Request-ID": {"schema": {"type": "string"}, "description": "The caller's id of the request, or a new one."}
}


def document_of(app: Litestar) -> dict[str, Any]:
    """Return the complete document of an application, as plain JSON values."""
    document: dict[str, Any] = app.openapi_schema.to_schema()
    document.pop("servers", None)
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    components["securitySchemes"] = _SECURITY
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
    components["responses"] = {
        status: {"description": description, "content": content, "headers": _HEADERS}
        for status, description in _STATUSES.items()
    }
    for operation in lean_operations(app):
        _add_lean(document, operation)
    _, problem = msgspec.json.schema_components([ProblemDocument], ref_template="#/components/schemas/{name}")
    schemas.update(problem)
    _forbid_unknown_fields(schemas)
    for method, path, permission in routes_with_permissions(app):
        operation = document["paths"].get(path_template(path), {}).get(method.lower())
        if operation is not None:
            _complete(operation, permission)
    return _legible(document)


def _legible(document: dict[str, Any]) -> dict[str, Any]:
    """Give generic schemas names that a person can read, and patterns and unions the meaning of JSON Schema."""
    text = msgspec.json.encode(document).decode()
    text = re.sub(r"\b(Answer|Listing)_(?:[\w.]+\.)?(\w+?)_(?=[\"/])", r"\2\1", text)
    text = text.replace('\\\\Z"', '$"')
    # A union may overlap (an integer is a number too), and then "exactly one of" is not what is meant.
    text = text.replace('"oneOf":', '"anyOf":')
    legible: dict[str, Any] = msgspec.json.decode(text)
    return legible


def _add_lean(document: dict[str, Any], lean: LeanOperation) -> None:
    twin = document["paths"][lean.like]["post"]
    operation = copy.deepcopy(twin)
    operation |= {"operationId": lean.operation_id, "summary": lean.summary, "description": lean.description}
    (reference,), schemas = msgspec.json.schema_components([lean.answer], ref_template="#/components/schemas/{name}")
    operation["responses"]["200"]["content"]["application/json"]["schema"] = reference
    for name, schema in schemas.items():
        document["components"]["schemas"].setdefault(name, schema)
    document["paths"][lean.path] = {"post": operation}


def _complete(operation: dict[str, Any], permission: str) -> None:
    if permission != PUBLIC:
        operation["security"] = [{"api_key": []}]
        needs = f"Needs the permission `{permission}`: {PERMISSION_KEYS[permission]}."
        operation["description"] = "\n\n".join(filter(None, (operation.get("description"), needs)))
    skipped = {"401", "403"} if permission == PUBLIC else set()
    if "requestBody" not in operation:
        skipped |= {"413", "415", "409"}
    if "parameters" not in operation:
        skipped |= {"404"}
    if permission != "authz:write":
        skipped |= {"412", "422"}
    for response in operation["responses"].values():
        response["headers"] = _HEADERS
    operation["responses"] |= {
        status: {"$ref": f"#/components/responses/{status}"} for status in _STATUSES if status not in skipped
    }


def _forbid_unknown_fields(schemas: dict[str, Any]) -> None:
    strict = {kind.__name__ for kind in _strict_structs(msgspec.Struct)}
    for name, schema in schemas.items():
        if name.rpartition("_")[2] in strict or name in strict:
            schema["additionalProperties"] = False


def _strict_structs(kind: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
    found = []
    for child in kind.__subclasses__():
        if child.__struct_config__.forbid_unknown_fields:
            found.append(child)
        found += _strict_structs(child)
    return found
