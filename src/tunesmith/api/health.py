"""For whoever watches the service: is it alive, is it ready? No key is needed."""

from pathlib import Path

from fastapi import APIRouter

from tunesmith.api.context import ServicesDep
from tunesmith.domain import errors
from tunesmith.wire.base import Reply

ENGINE_TIMEOUT_S = 1.0

router = APIRouter()


class HealthReply(Reply):
    status: str = "ok"


@router.get("/healthz")
async def alive() -> HealthReply:
    """This process answers."""
    return HealthReply()


@router.get("/readyz")
async def ready(services: ServicesDep) -> HealthReply:
    """The engine that starts with the service answers too. Raises Unavailable."""
    silent = await services.models.silent_engines(ENGINE_TIMEOUT_S)
    if silent:
        names = ", ".join(Path(place.source).name for place in silent)
        raise errors.Unavailable(f"The engine of {names} doesn't answer yet.")
    return HealthReply()
