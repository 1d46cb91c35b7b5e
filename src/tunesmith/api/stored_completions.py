"""/v1/chat/completions, of those that are stored (behaviour reference, section 15.4).

What stores them is `chat.py`, by way of `storing.py`.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import JSONResponse, Response

from tunesmith.api.auth import CallerDep
from tunesmith.api.bodies import json_body
from tunesmith.api.context import ServicesDep
from tunesmith.api.metadata_filters import METADATA_FILTER, metadata_filter
from tunesmith.domain import errors
from tunesmith.wire.base import DeletedReply
from tunesmith.wire.stored_completions import (
    StoredCompletionListReply,
    StoredCompletionReply,
    StoredMessageListReply,
    UpdateCompletionRequest,
    completion_deleted_reply,
    stored_completion_list_reply,
    stored_completion_reply,
    stored_message_list_reply,
)

MAX_PAGE = 10_000

router = APIRouter()

Body = Annotated[UpdateCompletionRequest, Depends(json_body(UpdateCompletionRequest))]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Order = Literal["asc", "desc"]


@router.get(
    "/chat/completions",
    response_model=StoredCompletionListReply,
    openapi_extra={"parameters": [METADATA_FILTER]},
)
def list_chat_completions(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    model: str | None = None,
    limit: Limit = 20,
    after: str | None = None,
    order: Order = "asc",
) -> Response:
    metadata, without_metadata = metadata_filter(request)
    base = services.catalog.find(model) if model is not None else None
    page = services.store.stored_completions.page(
        caller.scope,
        limit=limit,
        after=after,
        is_ascending=order == "asc",
        model=base.name if base else model,  # replies have aliases resolved
        metadata=metadata,
        without_metadata=without_metadata,
    )
    return JSONResponse(stored_completion_list_reply(page))


@router.get("/chat/completions/{completion_id}", response_model=StoredCompletionReply)
def retrieve_chat_completion(
    completion_id: str, caller: CallerDep, services: ServicesDep
) -> Response:
    completion = services.store.stored_completions.find(caller.scope, completion_id)
    if completion is None:
        raise _not_found(completion_id)
    return JSONResponse(stored_completion_reply(completion))


@router.post("/chat/completions/{completion_id}", response_model=StoredCompletionReply)
def update_chat_completion(
    completion_id: str, caller: CallerDep, services: ServicesDep, body: Body
) -> Response:
    """The metadata, all of it: pairs that aren't sent again are gone."""
    completion = services.store.stored_completions.set_metadata(
        caller.scope, completion_id, body.metadata or {}, services.limits.max_stored_bytes
    )
    if completion is None:
        raise _not_found(completion_id)
    return JSONResponse(stored_completion_reply(completion))


@router.delete("/chat/completions/{completion_id}")
def delete_chat_completion(
    completion_id: str, caller: CallerDep, services: ServicesDep
) -> DeletedReply:
    if not services.store.stored_completions.delete(caller.scope, completion_id):
        raise _not_found(completion_id)
    return completion_deleted_reply(completion_id)


@router.get("/chat/completions/{completion_id}/messages", response_model=StoredMessageListReply)
def list_chat_completion_messages(
    completion_id: str,
    caller: CallerDep,
    services: ServicesDep,
    limit: Limit = 20,
    after: str | None = None,
    order: Order = "asc",
) -> Response:
    page = services.store.stored_completions.messages(
        caller.scope, completion_id, limit=limit, after=after, is_ascending=order == "asc"
    )
    if page is None:
        raise _not_found(completion_id)
    return JSONResponse(stored_message_list_reply(page))


def _not_found(completion_id: str) -> errors.NotFound:
    return errors.NotFound(
        f"No such stored chat completion: {completion_id}. Completions are kept that were created "
        "with 'store': true, and only for a time.",
        param="completion_id",
    )
