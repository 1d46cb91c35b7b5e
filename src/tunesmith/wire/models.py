"""Models on the wire (behaviour reference, section 14)."""

from datetime import datetime
from typing import Literal

from tunesmith.domain.models import TunedModel
from tunesmith.wire.base import DeletedReply, Reply, unix_seconds

BASE_MODEL_OWNER = "system"


class ModelReply(Reply):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelListReply(Reply):
    """Not paged: all at once."""

    object: Literal["list"] = "list"
    data: list[ModelReply]


def base_model_reply(name: str, offered_since: datetime) -> ModelReply:
    """A catalogue entry, by its name or by one of its aliases."""
    return ModelReply(id=name, created=unix_seconds(offered_since), owned_by=BASE_MODEL_OWNER)


def tuned_model_reply(model: TunedModel, organization_name: str) -> ModelReply:
    return ModelReply(
        id=model.name, created=unix_seconds(model.created_at), owned_by=organization_name
    )


def model_deleted_reply(name: str) -> DeletedReply:
    return DeletedReply(id=name, object="model")
