"""/v1/chat/completions (behaviour reference, section 15).

    request → model behind the name → prompt token ids → engine → reply, whole or streamed

What blocks (store, renderer) happens in a thread before the engine is asked; from there on all
is async.
"""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from tunesmith.api.auth import CallerDep
from tunesmith.api.bodies import json_body
from tunesmith.api.context import Services, ServicesDep
from tunesmith.api.engines import Chunk, CompletionRequest, EngineClient
from tunesmith.api.errors import envelope
from tunesmith.api.serving import ServedModel, find_model
from tunesmith.api.streams import EventStream, unless_disconnected
from tunesmith.domain import errors
from tunesmith.domain.generation import FinishReason, TokenUsage
from tunesmith.domain.tenancy import Caller
from tunesmith.wire.chat import ChatRequest, to_conversation, to_sampling_params
from tunesmith.wire.chat_replies import (
    END_OF_STREAM,
    ChatHead,
    ChatReply,
    ChunkWriter,
    chat_reply,
    server_sent,
)

router = APIRouter()

Body = Annotated[ChatRequest, Depends(json_body(ChatRequest))]


@dataclass(frozen=True)
class Prepared:
    """A chat request on its way to the engine."""

    head: ChatHead
    engine: EngineClient
    request: CompletionRequest


@router.post("/chat/completions", response_model=ChatReply)
async def create_chat_completion(
    request: Request, caller: CallerDep, services: ServicesDep, body: Body
) -> ChatReply | Response:
    prepared = await services.models.when_here(prepare, services, caller, body)
    if body.stream:
        return EventStream(_events(prepared, body.includes_usage))
    return await unless_disconnected(request.receive, _complete(prepared))


def prepare(services: Services, caller: Caller, body: ChatRequest) -> Prepared:
    """Finds the model and renders the prompt. Raises NotFound, InvalidRequest."""
    conversation = to_conversation(body)
    model = find_model(services.store, services.catalog, caller.scope, body.model)
    if model is None:
        raise errors.NotFound(
            f"The model '{body.model}' does not exist or you do not have access to it.",
            code="model_not_found",
        )
    renderer = services.models.renderer(model.base)
    context_length = services.models.context_length(model.base)
    prompt = renderer.prompt(conversation, context_length)
    room = _room(context_length, len(prompt))
    request = CompletionRequest(
        prompt=prompt,
        params=to_sampling_params(body, room=room, end_token_ids=renderer.end_token_ids),
        n=body.n or 1,
        adapter=services.models.adapter(model),
    )
    head = ChatHead(
        id=services.ids.chat_completion(),
        created=int(services.clock().timestamp()),
        model=model.name,
        system_fingerprint=_fingerprint(model),
    )
    return Prepared(head, services.models.engine(model.base), request)


async def _complete(prepared: Prepared) -> ChatReply:
    texts = [""] * prepared.request.n
    reasons = [FinishReason.STOP] * prepared.request.n
    usage = TokenUsage(len(prepared.request.prompt), 0)
    async with aclosing(prepared.engine.generate(prepared.request, stream=False)) as chunks:
        async for chunk in chunks:
            for piece in chunk.pieces:
                texts[piece.index] += piece.text
                reasons[piece.index] = piece.finish_reason or reasons[piece.index]
            usage = chunk.usage or usage
    return chat_reply(prepared.head, list(zip(texts, reasons, strict=True)), usage)


async def _events(prepared: Prepared, includes_usage: bool) -> AsyncGenerator[bytes]:
    """The stream's events. An error before the first one is raised, later ones are told."""
    writer = ChunkWriter(prepared.head, includes_usage=includes_usage)
    begun: set[int] = set()
    try:
        async with aclosing(prepared.engine.generate(prepared.request, stream=True)) as chunks:
            async for chunk in chunks:
                written = _written(writer, chunk, begun, includes_usage)
                if written:
                    yield written
    except errors.TunesmithError as error:
        if not begun:
            raise
        yield server_sent(envelope(error).model_dump())
        return
    yield END_OF_STREAM


def _written(writer: ChunkWriter, chunk: Chunk, begun: set[int], includes_usage: bool) -> bytes:
    """One engine message as events. `begun`: choices whose first event is out already."""
    written = b""
    for piece in chunk.pieces:
        if piece.index not in begun:
            begun.add(piece.index)
            written += writer.first(piece.index)
        if piece.text:
            written += writer.text(piece.index, piece.text)
        if piece.finish_reason:
            written += writer.last(piece.index, piece.finish_reason)
    if chunk.usage and includes_usage:
        written += writer.usage(chunk.usage)
    return written


def _room(context_length: int, prompt_length: int) -> int:
    """Tokens that are left for the completion. Raises InvalidRequest if there are none."""
    if prompt_length < context_length:
        return context_length - prompt_length
    raise errors.InvalidRequest(
        f"This model's maximum context length is {context_length} tokens. However, your messages "
        f"resulted in {prompt_length} tokens. Please reduce the length of the messages.",
        param="messages",
        code="context_length_exceeded",
    )


def _fingerprint(model: ServedModel) -> str:
    """Changes when other weights answer under the same name."""
    weights = f"{model.base.source}\n{model.tuned.adapter_id if model.tuned else ''}"
    return "fp_" + hashlib.sha256(weights.encode()).hexdigest()[:10]
