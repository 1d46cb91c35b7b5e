"""/v1/chat/completions (behaviour reference, section 15).

    request → model behind the name → prompt token ids → engine → reply, whole or streamed

What blocks (store, renderer) happens in a thread before the engine is asked; from there on all
is async.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from tunesmith.api.auth import CallerDep
from tunesmith.api.bodies import json_body
from tunesmith.api.context import ApiLimits, Services, ServicesDep
from tunesmith.api.engine_messages import EngineRequest, Piece
from tunesmith.api.generation import Generation, complete, events, head_of, refuse_many_logprobs
from tunesmith.api.rate_limits import Charge
from tunesmith.api.serving import model_for
from tunesmith.api.streams import EventStream, unless_disconnected
from tunesmith.domain import errors
from tunesmith.domain.generation import ScoredToken, TokenUsage
from tunesmith.domain.models import Mode
from tunesmith.domain.tenancy import Caller
from tunesmith.wire.chat import ChatRequest, to_conversation
from tunesmith.wire.chat_replies import ChatReply, ChunkWriter, chat_choice, chat_reply
from tunesmith.wire.generation import Head, Json
from tunesmith.wire.logprobs import LogprobWriter
from tunesmith.wire.sampling import to_sampling

router = APIRouter()

Body = Annotated[ChatRequest, Depends(json_body(ChatRequest))]


@dataclass(frozen=True)
class Prepared:
    """A chat request on its way to the engine."""

    head: Head
    generation: Generation
    logprobs: Callable[[Sequence[ScoredToken]], Json | None]  # as the reply writes them


@router.post("/chat/completions", response_model=ChatReply)
async def create_chat_completion(
    request: Request, caller: CallerDep, services: ServicesDep, body: Body
) -> ChatReply | Response:
    prepared = await services.models.when_here(prepare, services, caller, body)
    generation = prepared.generation
    request.state.model = prepared.head.model  # for the headers of the answer
    charge = services.rates.reserve(
        request,
        caller,
        num_prompt=generation.num_prompt_tokens,
        num_completion=generation.num_choices * _asked_tokens(body, generation),
    )
    if body.stream:
        writer = ChunkWriter(prepared.head, includes_usage=body.includes_usage)
        write = _Writing(writer, prepared.logprobs).events
        write_usage = writer.usage if body.includes_usage else None
        return EventStream(events(generation, charge, write, write_usage))
    return await unless_disconnected(request.receive, _complete(prepared, charge))


def prepare(services: Services, caller: Caller, body: ChatRequest) -> Prepared:
    """Finds the model and renders the prompt. Raises NotFound, InvalidRequest."""
    conversation = to_conversation(body)
    model = model_for(services.store, services.catalog, caller.scope, body.model, Mode.CHAT)
    renderer = services.models.renderer(model.base)
    context_length = services.models.context_length(model.base)
    prompt = renderer.prompt(conversation, context_length)
    params = to_sampling(
        body,
        max_tokens=_max_tokens(body, _room(context_length, len(prompt)), services.limits),
        end_token_ids=renderer.end_token_ids,
        vocab_size=services.models.vocab_size(model.base),
    )
    num_likeliest = body.num_logprobs
    request = EngineRequest(
        prompt=prompt,
        params=replace(params, logprobs=num_likeliest),
        tenant=caller.project.id,
        n=body.n or 1,
        adapter=services.models.adapter(model),
    )
    head = head_of(services, services.ids.chat_completion(), model)
    writer = LogprobWriter(renderer)

    def logprobs(tokens: Sequence[ScoredToken]) -> Json | None:
        return None if num_likeliest is None else writer.chat(tokens, num_likeliest)

    generation = Generation(services.models.engine(model.base), (request,))
    return Prepared(head, generation, logprobs)


def _asked_tokens(body: ChatRequest, generation: Generation) -> int:
    """The bound that the client has set to each choice: 0 if it has set none, since hardly any
    answer fills the context."""
    asked = body.max_completion_tokens or body.max_tokens or 0
    return min(asked, generation.requests[0].params.max_tokens)


async def _complete(prepared: Prepared, charge: Charge) -> ChatReply:
    (pieces,), usage = await complete(prepared.generation, charge)
    return await run_in_threadpool(_reply, prepared, pieces, usage)  # log-probabilities take long


def _reply(prepared: Prepared, pieces: Sequence[Piece], usage: TokenUsage) -> ChatReply:
    choices = [
        chat_choice(piece.index, piece.text, prepared.logprobs(piece.tokens), piece.finish_reason)
        for piece in pieces
    ]
    return chat_reply(prepared.head, choices, usage)


def _max_tokens(body: ChatRequest, room: int, limits: ApiLimits) -> int:
    """Within the room that there is, and within what log-probabilities make of each token.

    Raises InvalidRequest for a bound that is too high for them; none means as many as possible.
    """
    max_tokens = min(body.max_completion_tokens or body.max_tokens or room, room)
    if body.num_logprobs is None or body.stream:  # a stream is passed on and not kept
        return max_tokens
    n = body.n or 1
    if body.max_completion_tokens or body.max_tokens:
        refuse_many_logprobs(n * max_tokens, body.num_logprobs, limits.max_logprobs)
    return min(max_tokens, max(limits.max_logprobs // (n * (body.num_logprobs + 1)), 1))


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


class _Writing:
    """The events of one stream; it remembers which choices have had their first one."""

    def __init__(
        self, writer: ChunkWriter, logprobs: Callable[[Sequence[ScoredToken]], Json | None]
    ) -> None:
        self._writer = writer
        self._logprobs = logprobs
        self._begun: set[int] = set()

    def events(self, _request: int, piece: Piece) -> bytes:
        written = b""
        if piece.index not in self._begun:
            self._begun.add(piece.index)
            written += self._writer.first(piece.index)
        if piece.text or piece.tokens:
            logprobs = self._logprobs(piece.tokens)
            written += self._writer.text(piece.index, piece.text, logprobs)
        if piece.finish_reason:
            written += self._writer.last(piece.index, piece.finish_reason)
        return written
