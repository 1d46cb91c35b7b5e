"""Permissions of tuned models on the wire (behaviour reference, section 7.2)."""

from typing import Annotated, Literal

from pydantic import Field

from tunesmith.domain.pages import Page
from tunesmith.domain.permissions import Permission
from tunesmith.wire.base import DeletedReply, IdentifiedListReply, Reply, Request, unix_seconds

MAX_PROJECTS = 100  # of one request

ProjectId = Annotated[str, Field(min_length=1, max_length=64)]


class CreatePermissionsRequest(Request):
    project_ids: Annotated[list[ProjectId], Field(min_length=1, max_length=MAX_PROJECTS)]


class PermissionReply(Reply):
    id: str
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    created_at: int
    project_id: str


class PermissionListReply(IdentifiedListReply[PermissionReply]):
    pass


def permission_list_reply(page: Page[Permission]) -> PermissionListReply:
    items = [
        PermissionReply(
            id=permission.id,
            created_at=unix_seconds(permission.created_at),
            project_id=permission.project_id,
        )
        for permission in page.items
    ]
    return PermissionListReply.of(items, [item.id for item in items], page.has_more)


def permission_deleted_reply(permission_id: str) -> DeletedReply:
    return DeletedReply(id=permission_id, object="checkpoint.permission")
