"""Writes down a chat completion that its client wants stored.

By then the client has its answer coming, so nothing here may spoil that: what can't be stored is
told in the log. But an answer whose end the client has seen can be read again at once, unless the
store takes longer than anybody should wait.
"""

import asyncio
import logging

from fastapi.concurrency import run_in_threadpool

from tunesmith.api.context import Services
from tunesmith.domain import errors
from tunesmith.domain.stored_completions import (
    StoredCompletion,
    size_of_pairs,
    size_of_texts,
)
from tunesmith.domain.tenancy import Caller
from tunesmith.wire.chat import ChatRequest
from tunesmith.wire.chat_replies import ChatReply
from tunesmith.wire.stored_completions import to_stored_messages, to_stored_reply

log = logging.getLogger("tunesmith.api")


async def store_completion(
    services: Services, caller: Caller, request: ChatRequest, reply: ChatReply, request_id: str
) -> None:
    """Waits until it is done, but not for ever; it gets done all the same."""
    work = run_in_threadpool(_store, services, caller, request, reply, request_id)
    # A task of its own: a client that goes away now takes nothing back.
    done, _ = await asyncio.wait(
        {asyncio.create_task(work)}, timeout=services.limits.store_completion_s
    )
    for task in done:
        task.result()
    if not done:
        log.warning("%s is answered before %s is stored: that takes long", request_id, reply.id)


def _store(
    services: Services, caller: Caller, request: ChatRequest, reply: ChatReply, request_id: str
) -> None:
    content = to_stored_reply(request, reply, request_id)
    messages = to_stored_messages(reply.id, request.messages)
    texts = [content, *(message.content for message in messages)]
    metadata = request.metadata or {}
    now = services.clock()
    completion = StoredCompletion(
        id=reply.id,
        organization_id=caller.organization.id,
        project_id=caller.project.id,
        created_at=now,
        expires_at=now + services.limits.completions_stored_for,
        model=reply.model,
        metadata=metadata,
        size_bytes=size_of_texts(texts) + size_of_pairs(metadata),
        reply=content,
    )
    try:
        num_gone = services.store.stored_completions.add(
            completion, messages, services.limits.max_stored_bytes
        )
    except errors.StorageFull as error:
        log.error("%s: %s was answered and is not stored: %s", request_id, reply.id, error)
        return
    if num_gone:
        log.warning(
            "the project %s holds as many stored completions as it may: its oldest %d made room",
            caller.project.id,
            num_gone,
        )
