"""/v1/models (behaviour reference, section 14).

A model's name may hold `:` and even `/`; both arrive here decoded, however the client wrote them.
"""

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool

from tunesmith.api.auth import CallerDep
from tunesmith.api.context import Services, ServicesDep
from tunesmith.api.errors import invalid_url
from tunesmith.api.serving import ServedModel, find_model
from tunesmith.domain import errors
from tunesmith.domain.tenancy import Caller
from tunesmith.wire.base import DeletedReply
from tunesmith.wire.models import (
    ModelListReply,
    ModelReply,
    base_model_reply,
    model_deleted_reply,
    tuned_model_reply,
)

router = APIRouter()


@router.get("/models")
def list_models(caller: CallerDep, services: ServicesDep) -> ModelListReply:
    since, owner = caller.organization.created_at, caller.organization.name
    replies = []
    for base in services.catalog.entries.values():
        replies += [base_model_reply(name, since) for name in (base.name, *base.aliases)]
    replies += [
        tuned_model_reply(model, owner) for model in services.store.tuned_models.all(caller.scope)
    ]
    return ModelListReply(data=replies)


@router.get("/models/{name:path}")
def retrieve_model(
    name: str, request: Request, caller: CallerDep, services: ServicesDep
) -> ModelReply:
    if not name:
        raise invalid_url(request)
    model = _find(services, caller, name)
    if model.tuned is None:
        return base_model_reply(name, caller.organization.created_at)
    return tuned_model_reply(model.tuned, caller.organization.name)


@router.delete("/models/{name:path}")
async def delete_model(
    name: str, request: Request, caller: CallerDep, services: ServicesDep
) -> DeletedReply:
    if not name:
        raise invalid_url(request)
    return await delete_tuned_model(services, caller, name)


async def delete_tuned_model(services: Services, caller: Caller, name: str) -> DeletedReply:
    """Raises NotFound, Forbidden for a base model."""
    model = await run_in_threadpool(_delete, services, caller, name)
    await services.models.forget(model)
    return model_deleted_reply(name)


def not_found(name: str) -> errors.NotFound:
    return errors.NotFound(
        f"The model '{name}' does not exist", param="model", code="model_not_found"
    )


def _delete(services: Services, caller: Caller, name: str) -> ServedModel:
    model = _find(services, caller, name)
    if model.tuned is None:
        raise errors.Forbidden(
            f"The model '{name}' is a base model of this service and can't be deleted. Only "
            "fine-tuned models can.",
            param="model",
        )
    if not model.tuned.is_of(caller.scope):
        raise errors.Forbidden(
            f"The model '{name}' belongs to another project, which shares it with yours for use "
            "only. A caller of that project can delete it.",
            param="model",
        )
    if not services.store.tuned_models.delete(caller.scope, name):
        raise not_found(name)
    return model


def _find(services: Services, caller: Caller, name: str) -> ServedModel:
    model = find_model(services.store, services.catalog, caller.scope, name)
    if model is None:
        raise not_found(name)
    return model
