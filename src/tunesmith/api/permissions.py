"""/v1/fine_tuning/checkpoints/{model}/permissions (behaviour reference, section 7.2).

An admin key lets other projects of its organisation use a tuned model: any, whichever project
made it, whether final or a checkpoint. What is permitted follows where models are found
(`serving.py`). Granting is idempotent by itself, so it takes no `Idempotency-Key`.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request

from tunesmith.api.auth import AdminDep
from tunesmith.api.bodies import json_body
from tunesmith.api.context import ServicesDep
from tunesmith.api.errors import invalid_url
from tunesmith.api.models import not_found
from tunesmith.domain import errors
from tunesmith.domain.models import TunedModel
from tunesmith.domain.pages import Page
from tunesmith.wire.base import DeletedReply
from tunesmith.wire.permissions import (
    CreatePermissionsRequest,
    PermissionListReply,
    permission_deleted_reply,
    permission_list_reply,
)

# Names hold `:` and may hold `/`; both arrive here decoded, however the client wrote them.
PATH = "/fine_tuning/checkpoints/{fine_tuned_model_checkpoint:path}/permissions"
MAX_PAGE = 10_000

router = APIRouter()


def model_of_organization(
    fine_tuned_model_checkpoint: str, request: Request, admin: AdminDep, services: ServicesDep
) -> TunedModel:
    """The tuned model that the path names. Raises NotFound, InvalidRequest for a base model."""
    name = fine_tuned_model_checkpoint
    if not name:
        raise invalid_url(request)
    if services.catalog.find(name) is not None:
        raise errors.InvalidRequest(
            f"The model '{name}' is a base model of this service, which every project may use. "
            "Only fine-tuned models and their checkpoints have permissions.",
            param="fine_tuned_model_checkpoint",
        )
    model = services.store.tuned_models.find_in_organization(admin.organization.id, name)
    if model is None:
        raise not_found(name)
    return model


ModelDep = Annotated[TunedModel, Depends(model_of_organization)]
Body = Annotated[CreatePermissionsRequest, Depends(json_body(CreatePermissionsRequest))]


@router.post(PATH)
def create_permissions(model: ModelDep, services: ServicesDep, body: Body) -> PermissionListReply:
    """Needs an admin key. Lets projects of the organisation use the model; those that may already
    keep the permission that they have."""
    granted = services.store.permissions.grant(model, body.project_ids)
    if granted is None:
        raise not_found(model.name)
    return permission_list_reply(Page(tuple(granted), has_more=False))


@router.get(PATH)
def list_permissions(
    model: ModelDep,
    services: ServicesDep,
    project_id: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 10,
    order: Literal["ascending", "descending"] = "descending",
    after: str | None = None,
) -> PermissionListReply:
    """Needs an admin key."""
    page = services.store.permissions.page(
        model.name,
        limit=limit,
        after=after,
        project_id=project_id,
        is_ascending=order == "ascending",
    )
    return permission_list_reply(page)


@router.delete(PATH + "/{permission_id}")
def delete_permission(permission_id: str, model: ModelDep, services: ServicesDep) -> DeletedReply:
    """Needs an admin key. The project's next request no longer finds the model."""
    if not services.store.permissions.delete(model.name, permission_id):
        raise errors.NotFound(
            f"No such Permission object: {permission_id}",
            param="permission_id",
            code="permission_not_found",
        )
    return permission_deleted_reply(permission_id)
