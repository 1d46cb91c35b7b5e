"""/v1/chat/completions (behaviour reference, section 15).

    request → model behind the name → prompt token ids → engine → reply, whole or streamed

What blocks (store, renderer) happens in a thread before the engine is asked; from there on all
is async. Where the client wants it stored, that is done before it can know of the answer's end
(`storing.py`).
"""

from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from tunesmith.api.auth import CallerDep
from tunesmith.api.bodies import json_body
from tunesmith.api.context import ApiLimits, Services, ServicesDep
from tunesmith.api.engine_messages import EngineRequest, Piece
from tunesmith.api.generation import (
    Collected,
    Generation,
    complete,
    events,
    head_of,
    refuse_many_logprobs,
)
from tunesmith.api.rate_limits import Charge
from tunesmith.api.request_ids import request_id
from tunesmith.api.serving import model_for
from tunesmith.api.storing import store_completion
from tunesmith.api.streams import EventStream, unless_disconnected
from tunesmith.api.tool_calls import BEGINNING, Answer, Calling
from tunesmith.domain import errors
from tunesmith.domain.generation import ScoredToken, TokenUsage
from tunesmith.domain.models import Mode
from tunesmith.domain.tenancy import Caller
from tunesmith.wire.chat import ChatRequest, to_answer_schema, to_conversation, to_use
from tunesmith.wire.chat_replies import ChatReply, ChoiceReply, ChunkWriter, chat_choice, chat_reply
from tunesmith.wire.generation import Head, Json
from tunesmith.wire.logprobs import LogprobWriter
from tunesmith.wire.sampling import to_sampling

router = APIRouter()

Keep = Callable[[ChatReply], Awaitable[None]]  # stores what was answered

Body = Annotated[ChatRequest, Depends(json_body(ChatRequest))]


@dataclass(frozen=True)
class Prepared:
    """A chat request on its way to the engine."""

    head: Head
    generation: Generation
    calling: Calling | None  # None: nothing may be called
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

    async def store(reply: ChatReply) -> None:
        await store_completion(services, caller, body, reply, request_id(request))

    keep = store if body.store else None
    if body.stream:
        return EventStream(_stream(prepared, charge, body.includes_usage, keep))
    return await unless_disconnected(request.receive, _complete(prepared, charge, keep))


def prepare(services: Services, caller: Caller, body: ChatRequest) -> Prepared:
    """Finds the model and renders the prompt. Raises NotFound, InvalidRequest."""
    use = to_use(body)
    conversation = to_conversation(body, use)
    json_schema = to_answer_schema(body, conversation)
    model = model_for(services.store, services.catalog, caller.scope, body.model, Mode.CHAT)
    renderer = services.models.renderer(model.base)
    calling = None
    if use and use.functions:
        calling = Calling.of(use, renderer, services.ids.tool_call)
    tagged = calling.tagged(json_schema) if calling else None
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
        params=replace(
            params,
            logprobs=num_likeliest,
            json_schema=None if tagged else json_schema,
            tagged=tagged,
        ),
        tenant=caller.project.id,
        n=body.n or 1,
        adapter=services.models.adapter(model),
    )
    head = head_of(services, services.ids.chat_completion(), model)
    writer = LogprobWriter(renderer)

    def logprobs(tokens: Sequence[ScoredToken]) -> Json | None:
        return None if num_likeliest is None else writer.chat(tokens, num_likeliest)

    generation = Generation(services.models.engine(model.base), (request,))
    return Prepared(head, generation, calling, logprobs)


def _asked_tokens(body: ChatRequest, generation: Generation) -> int:
    """The bound that the client has set to each choice: 0 if it has set none, since hardly any
    answer fills the context."""
    asked = body.max_completion_tokens or body.max_tokens or 0
    return min(asked, generation.requests[0].params.max_tokens)


async def _complete(prepared: Prepared, charge: Charge, keep: Keep | None) -> ChatReply:
    (pieces,), usage = await complete(prepared.generation, charge)
    # Log-probabilities take long.
    reply = await run_in_threadpool(_reply, prepared, pieces, usage)
    if keep is not None:
        await keep(reply)
    return reply


def _stream(
    prepared: Prepared, charge: Charge, includes_usage: bool, keep: Keep | None
) -> AsyncGenerator[bytes]:
    writer = ChunkWriter(prepared.head, includes_usage=includes_usage)
    writing = _Writing(writer, prepared)
    write_usage = writer.usage if includes_usage else None
    if keep is None:
        return events(prepared.generation, charge, writing.events, write_usage)
    keeping = _Keeping(prepared, writing, keep)
    return events(prepared.generation, charge, keeping.events, write_usage, keeping.finish)


def _reply(prepared: Prepared, pieces: Sequence[Piece], usage: TokenUsage) -> ChatReply:
    return chat_reply(prepared.head, [_choice(prepared, piece) for piece in pieces], usage)


def _choice(prepared: Prepared, piece: Piece) -> ChoiceReply:
    assert piece.finish_reason is not None, "a whole completion has come to its end"
    answer = Answer(piece.index, prepared.calling)
    answer.add(piece.text, is_end=True)
    logprobs = prepared.logprobs(piece.tokens)
    return chat_choice(piece.index, answer.message(), logprobs, answer.reason(piece.finish_reason))


def _max_tokens(body: ChatRequest, room: int, limits: ApiLimits) -> int:
    """Within the room that there is, and within what log-probabilities make of each token.

    Raises InvalidRequest for a bound that is too high for them; none means as many as possible.
    """
    max_tokens = min(body.max_completion_tokens or body.max_tokens or room, room)
    is_passed_on = body.stream and not body.store  # and takes no memory
    if body.num_logprobs is None or is_passed_on:
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
    """The events of one stream; it remembers how far each choice has come."""

    def __init__(self, writer: ChunkWriter, prepared: Prepared) -> None:
        self._writer = writer
        self._prepared = prepared
        self._answers: dict[int, Answer] = {}
        # Of tokens whose text waits: it may be the beginning of a call.
        self._waiting: defaultdict[int, list[ScoredToken]] = defaultdict(list)

    def events(self, _request: int, piece: Piece) -> bytes:
        return self.first(piece) + self.last(piece)

    def first(self, piece: Piece) -> bytes:
        """All but what says that the choice is complete."""
        index = piece.index
        answer = self._answers.setdefault(index, Answer(index, self._prepared.calling))
        is_end = piece.finish_reason is not None
        deltas = answer.add(piece.text, is_end=is_end)
        waiting = self._waiting[index]
        waiting += piece.tokens
        if is_end:
            deltas += answer.end()
        if is_end and waiting and not any(map(_is_more, deltas)):
            deltas.append({"content": ""})  # tokens without a text, such as an end token
        written = b""
        for delta in deltas:
            logprobs = None
            if _is_more(delta):
                logprobs = self._prepared.logprobs(tuple(waiting))
                waiting.clear()
            written += self._writer.delta(index, delta, logprobs)
        return written

    def last(self, piece: Piece) -> bytes:
        if not piece.finish_reason:
            return b""
        reason = self._answers[piece.index].reason(piece.finish_reason)
        return self._writer.last(piece.index, reason)


def _is_more(delta: Json) -> bool:
    """Whether tokens stand behind a delta: the one that only begins a message has none."""
    return delta is not BEGINNING


class _Keeping:
    """A stream that is stored as well. Its last chunks wait until it is: whoever has seen them may
    ask for the whole, or hang up."""

    def __init__(self, prepared: Prepared, writing: _Writing, keep: Keep) -> None:
        self._prepared = prepared
        self._writing = writing
        self._keep = keep
        self._collected = Collected()
        self._last_chunks = b""

    def events(self, _request: int, piece: Piece) -> bytes:
        self._collected.add(piece)
        written = self._writing.first(piece)
        self._last_chunks += self._writing.last(piece)
        return written

    async def finish(self, usage: TokenUsage) -> bytes:
        pieces = self._collected.choices()
        await self._keep(await run_in_threadpool(_reply, self._prepared, pieces, usage))
        return self._last_chunks
