"""The twelve nouns of the permission graph as data: what each is called, what may be changed of it, and how it ends.

Routes, statements and the import are made from this table, so that a noun has the same rules everywhere.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from services.authz.rows import (
    GroupRow,
    MemberRoleRow,
    MemberRow,
    PermissionRow,
    Prose,
    ResourceActionRow,
    ResourceRow,
    ResourceTypeRow,
    RolePermissionRow,
    RoleRow,
    Row,
    SpaceRow,
    UserMemberRow,
    UserRow,
)
from shared.identifiers import Id

# What the service itself keeps of a row; a request that names one of these is refused as one with an unknown field.
_KEPT: Final = frozenset({"path", "revoked_at", "revoked_reason", "status"})


class Ending(msgspec.Struct, frozen=True):
    """How a row stops counting: the command, the status it leaves, and the command that takes it back, if there is one."""

    command: str
    status: str
    back: str | None = "restore"
    demands_reason: bool = False


DISABLED: Final = Ending("disable", "disabled")
REVOKED: Final = Ending("revoke", "revoked", back=None, demands_reason=True)
ARCHIVED: Final = Ending("archive", "archived")


class Noun(msgspec.Struct, frozen=True, kw_only=True):
    """One noun: `name` is that of its table and its events, `path` its segment of the URL, `prefix` begins its new ids.

    `unique` are the fields by which no two rows may agree, as a person would say it; `changeable` what a patch may name.
    """

    name: str
    path: str
    row: type[Row]
    prefix: str
    made: str = "created"
    ending: Ending = DISABLED
    changeable: tuple[str, ...]
    filters: tuple[str, ...] = ()
    identity: tuple[str, ...] = ("id",)

    @property
    def in_space(self) -> bool:
        """Whether its rows belong to a Space."""
        return "space_id" in self.row.__struct_fields__

    @property
    def title(self) -> str:
        """Its name as domain.md writes it: UserMember."""
        return self.name.title().replace("_", "")

    @property
    def words(self) -> str:
        """Its name in a sentence."""
        return self.name.replace("_", " ")

    def kind(self, verb: str) -> str:
        """Name the event of something that happened to it."""
        return f"{self.name}.{verb}"


NOUNS: Final[dict[str, Noun]] = {
    noun.name: noun
    for noun in (
        Noun(
            name="user",
            path="users",
            row=UserRow,
            prefix="user",
            changeable=("email", "display_name"),
            filters=("email",),
        ),
        Noun(name="space", path="spaces", row=SpaceRow, prefix="space", changeable=("name",), filters=("key",)),
        Noun(
            name="group",
            path="groups",
            row=GroupRow,
            prefix="group",
            changeable=("name",),
            filters=("parent_group_id", "key"),
        ),
        Noun(
            name="member",
            path="members",
            row=MemberRow,
            prefix="member",
            changeable=("display_name", "member_type"),
            filters=("member_type",),
        ),
        Noun(
            name="user_member",
            path="user-members",
            row=UserMemberRow,
            prefix="um",
            made="bound",
            ending=REVOKED,
            changeable=("relation_type", "is_primary", "expires_at"),
            filters=("user_id", "member_id"),
        ),
        Noun(
            name="resource_type",
            path="resource-types",
            row=ResourceTypeRow,
            prefix="rt",
            made="registered",
            changeable=("display_name", "description"),
            filters=("key",),
        ),
        Noun(
            name="resource_action",
            path="resource-actions",
            row=ResourceActionRow,
            prefix="ra",
            made="registered",
            changeable=("display_name", "risk_level"),
            filters=("resource_type", "key"),
        ),
        Noun(
            name="role",
            path="roles",
            row=RoleRow,
            prefix="role",
            changeable=("name", "description"),
            filters=("key",),
        ),
        Noun(
            name="permission",
            path="permissions",
            row=PermissionRow,
            prefix="perm",
            changeable=(),
            filters=("resource_type", "action", "scope"),
        ),
        Noun(
            name="role_permission",
            path="role-permissions",
            row=RolePermissionRow,
            prefix="rp",
            made="added",
            changeable=(),
            filters=("role_id", "permission_id"),
        ),
        Noun(
            name="member_role",
            path="member-roles",
            row=MemberRoleRow,
            prefix="mr",
            made="granted",
            ending=REVOKED,
            changeable=("not_before", "expires_at"),
            filters=("member_id", "role_id", "scope_anchor_group_id"),
        ),
        Noun(
            name="resource",
            path="resources",
            row=ResourceRow,
            prefix="resource",
            made="registered",
            ending=ARCHIVED,
            changeable=("external_id", "group_id", "owner_member_id", "display_name", "properties"),
            filters=("resource_type", "external_id", "group_id", "owner_member_id"),
            identity=("resource_type", "id"),
        ),
    )
}
OF_ROW: Final[dict[type[Row], Noun]] = {noun.row: noun for noun in NOUNS.values()}

REASON: Final = ("reason", Prose | None, None)


def stored_form(noun: Noun) -> type[msgspec.Struct]:
    """Make the Struct of a row as it is stored and shown: with its times and the revision of its last event."""
    return msgspec.defstruct(
        f"{noun.title}Row",
        [("created_at", datetime), ("updated_at", datetime), ("revision", int)],
        bases=(noun.row,),
        kw_only=True,
        frozen=True,
        namespace={"__doc__": noun.row.__doc__},
    )


def creation_form(noun: Noun) -> type[msgspec.Struct]:
    """Make the Struct of a request to make a row: all that isn't kept by the service; without an id one is made."""
    return _body(
        f"New{noun.title}", f"A {noun.words} to be made; `id` is made when it is left out.", _creation_fields(noun)
    )


def line_form(noun: Noun) -> type[msgspec.Struct]:
    """Make the Struct of a line of an import: a request to make a row, with its noun and, if it lies in one, its Space."""
    space = [("space_id", Id)] if noun.in_space else []
    about = f"A {noun.words} to be made, as a line of an import; `id` is made when it is left out."
    return _body(f"{noun.title}Line", about, [*space, *_creation_fields(noun)], tag_field="noun", tag=noun.name)


def patch_form(noun: Noun) -> type[msgspec.Struct]:
    """Make the Struct of a request to change a row: what is left out stays; null takes an optional value away."""
    types = {field.name: field.type for field in msgspec.structs.fields(noun.row)}
    fields = [(name, types[name] | UnsetType, UNSET) for name in (*noun.changeable, "metadata")]
    return _body(
        f"{noun.title}Patch", f"Changes of a {noun.words}; what is left out stays as it is.", [*fields, REASON]
    )


def _creation_fields(noun: Noun) -> list[Any]:
    fields = [
        _optional_id(field) if field.name == "id" else (field.name, field.type, *_default(field))
        for field in msgspec.structs.fields(noun.row)
        if field.name not in _KEPT | {"space_id"}
    ]
    return [*fields, REASON]


def _body(name: str, about: str, fields: list[Any], **options: Any) -> type[msgspec.Struct]:
    # Without defaults it is written as it came, by which a key that is given twice is told (shared/web/strict.py).
    return msgspec.defstruct(
        name,
        fields,
        kw_only=True,
        frozen=True,
        forbid_unknown_fields=True,
        omit_defaults=True,
        namespace={"__doc__": about},
        **options,
    )


def _optional_id(field: msgspec.structs.FieldInfo) -> tuple[Any, ...]:
    return (field.name, Id | None, None)


def _default(field: msgspec.structs.FieldInfo) -> tuple[Any, ...]:
    if field.default is not msgspec.NODEFAULT:
        return (field.default,)
    if field.default_factory is not msgspec.NODEFAULT:
        return (msgspec.field(default_factory=field.default_factory),)
    return ()


FORMS: Final = {name: stored_form(noun) for name, noun in NOUNS.items()}
