"""/v1/completions, texts that a model goes on with (behaviour reference, section 16).

    request → model behind the name → prompts' token ids → engine → reply, whole or streamed

Choice k of prompt i has the index i × n + k. With `echo` a choice begins with its prompt, and so
do its log-probabilities. Those of the prompt come with the completion where the reply is whole.
For a stream they are asked for beforehand, as engines don't stream them.
"""

import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from tunesmith.api.auth import CallerDep
from tunesmith.api.bodies import json_body
from tunesmith.api.choices import Choices
from tunesmith.api.context import Services, ServicesDep
from tunesmith.api.engine_messages import EngineRequest, Piece
from tunesmith.api.generation import Generation, complete, events, head_of
from tunesmith.api.prompts import Bounds, Prompt, encoded, refuse_many_prompts
from tunesmith.api.rate_limits import Charge, Outcome
from tunesmith.api.serving import model_for
from tunesmith.api.streams import EventStream, unless_disconnected
from tunesmith.domain import errors
from tunesmith.domain.generation import FinishReason, SamplingParams, ScoredToken, TokenUsage
from tunesmith.domain.models import Mode
from tunesmith.domain.tenancy import Caller
from tunesmith.wire.completion_replies import (
    CompletionChoice,
    CompletionReply,
    PieceWriter,
    completion_choice,
    completion_reply,
)
from tunesmith.wire.completions import CompletionRequest, to_prompts
from tunesmith.wire.generation import END_OF_STREAM, Head
from tunesmith.wire.sampling import to_sampling

if TYPE_CHECKING:
    from tunesmith.datasets.render import Renderer

# To learn how likely a prompt is: an engine makes at least one token, which is dropped.
ONE_TOKEN = SamplingParams(max_tokens=1, temperature=0.0)

Scores = list[tuple[ScoredToken, ...]]  # of each prompt's tokens; empty where nobody asks

router = APIRouter()

Body = Annotated[CompletionRequest, Depends(json_body(CompletionRequest))]


@dataclass(frozen=True)
class Prepared:
    """A request on its way to the engine."""

    body: CompletionRequest
    head: Head
    prompts: list[Prompt]
    choices: Choices
    scoring: Generation | None  # of the prompts, where that is asked for and must be done apart
    generation: Generation | None  # None: no token is wanted


@router.post("/completions", response_model=CompletionReply)
async def create_completion(
    request: Request, caller: CallerDep, services: ServicesDep, body: Body
) -> CompletionReply | Response:
    prepared = await services.models.when_here(prepare, services, caller, body)
    request.state.model = prepared.head.model  # for the headers of the answer
    charge = _reserve(request, caller, services, prepared)
    if body.stream:
        return EventStream(_events(prepared, charge))
    return await unless_disconnected(request.receive, _complete(prepared, charge))


def prepare(services: Services, caller: Caller, body: CompletionRequest) -> Prepared:
    """Finds the model and encodes the prompts. Raises NotFound, InvalidRequest."""
    texts = to_prompts(body)
    refuse_many_prompts(len(texts), services.limits)
    model = model_for(services.store, services.catalog, caller.scope, body.model, Mode.COMPLETIONS)
    renderer = services.models.renderer(model.base)
    vocab_size = services.models.vocab_size(model.base)
    bounds = Bounds(services.models.context_length(model.base), vocab_size, services.limits)
    prompts = encoded(texts, body, renderer, bounds)
    params = to_sampling(
        body,
        max_tokens=max(body.completion_tokens, 1),
        end_token_ids=renderer.end_token_ids,
        vocab_size=vocab_size,
    )
    engine = services.models.engine(model.base)
    adapter = services.models.adapter(model)

    def generation(params: SamplingParams, n: int) -> Generation:
        tenant = caller.project.id
        requests = (EngineRequest(one.token_ids, params, tenant, n, adapter) for one in prompts)
        return Generation(engine, tuple(requests))

    scoring, completing = _ways(body, params, renderer)
    return Prepared(
        body,
        head_of(services, services.ids.completion(), model),
        prompts,
        Choices(prompts, renderer, bool(body.echo), body.logprobs is not None),
        scoring=generation(scoring, n=1) if scoring else None,
        generation=generation(completing, body.num_candidates) if completing else None,
    )


def _reserve(request: Request, caller: Caller, services: Services, prepared: Prepared) -> Charge:
    """For the completions; for the prompts where only they are looked at. A prompt that is looked
    at beforehand is charged once."""
    generation = prepared.generation or prepared.scoring
    if generation is None:
        return Charge()
    num_choices = generation.num_choices if prepared.generation else 0
    return services.rates.reserve(
        request,
        caller,
        num_prompt=generation.num_prompt_tokens,
        num_completion=num_choices * prepared.body.completion_tokens,
    )


def _ways(
    body: CompletionRequest, params: SamplingParams, renderer: "Renderer"
) -> tuple[SamplingParams | None, SamplingParams | None]:
    """How to score the prompts, if that must be done apart, and how to go on with them, if any
    token is wanted."""
    makes_tokens = body.completion_tokens > 0
    scored = body.logprobs if body.echo else None
    is_apart = bool(body.stream) or not makes_tokens
    scoring = replace(ONE_TOKEN, prompt_logprobs=scored)
    completing = replace(
        params,
        logprobs=_num_logprobs(body, renderer),
        tells_ends=True,  # who reads the first token's alternatives finds them in an empty text too
        prompt_logprobs=None if is_apart else scored,
    )
    return (
        scoring if is_apart and scored is not None else None,
        completing if makes_tokens else None,
    )


async def _complete(prepared: Prepared, charge: Charge) -> CompletionReply:
    if prepared.generation is None:
        pieces, usage = await _prompts_alone(prepared, charge)
    else:
        candidates, usage = await complete(prepared.generation, charge)
        pieces = [_best(own, prepared.body.num_choices) for own in candidates]
    return await run_in_threadpool(_reply, prepared, pieces, usage)  # log-probabilities take long


def _reply(prepared: Prepared, pieces: list[list[Piece]], usage: TokenUsage) -> CompletionReply:
    choices: list[CompletionChoice] = []
    for number, own in enumerate(pieces):
        for piece in own:
            text, logprobs = prepared.choices.part(number, piece)
            choices.append(completion_choice(len(choices), text, logprobs, piece.finish_reason))
    return completion_reply(prepared.head, choices, usage)


async def _events(prepared: Prepared, charge: Charge) -> AsyncGenerator[bytes]:
    body, writer = prepared.body, PieceWriter(prepared.head)
    if prepared.generation is None:
        pieces, usage = await _prompts_alone(prepared, charge)
        for number, own in enumerate(pieces):
            yield b"".join(_event(prepared, writer, number, piece) for piece in own)
        if body.includes_usage:
            yield writer.usage(usage)
        yield END_OF_STREAM
        return
    try:
        scores, scoring_usage = await _scores(prepared, Charge())
    except errors.TunesmithError:
        charge.settle(Outcome.FAILED)
        raise

    def write(number: int, piece: Piece) -> bytes:
        return _event(prepared, writer, number, replace(piece, prompt_tokens=scores[number]))

    def write_usage(usage: TokenUsage) -> bytes:
        if prepared.scoring is not None:  # only what had been there before that was spared
            usage = replace(usage, cached_tokens=scoring_usage.cached_tokens)
        return writer.usage(usage)

    told = events(prepared.generation, charge, write, write_usage if body.includes_usage else None)
    async with aclosing(told):
        async for event in told:
            yield event


def _event(prepared: Prepared, writer: PieceWriter, number: int, piece: Piece) -> bytes:
    text, logprobs = prepared.choices.part(number, piece)
    index = number * prepared.body.num_choices + piece.index
    return writer.piece(index, text, logprobs, piece.finish_reason)


async def _prompts_alone(
    prepared: Prepared, charge: Charge
) -> tuple[list[list[Piece]], TokenUsage]:
    """The choices where no token is wanted: empty behind their prompts."""
    scores, usage = await _scores(prepared, charge)
    pieces = [
        [
            Piece(place, "", FinishReason.LENGTH, prompt_tokens=own)
            for place in range(prepared.body.num_choices)
        ]
        for own in scores
    ]
    num_tokens = sum(len(prompt.token_ids) for prompt in prepared.prompts)
    return pieces, TokenUsage(num_tokens, 0, usage.cached_tokens)


async def _scores(prepared: Prepared, charge: Charge) -> tuple[Scores, TokenUsage]:
    if prepared.scoring is None:
        return [() for _ in prepared.prompts], TokenUsage(0, 0)
    pieces, usage = await complete(prepared.scoring, charge)
    return [own.prompt_tokens for (own,) in pieces], usage


def _best(candidates: Sequence[Piece], num_choices: int) -> list[Piece]:
    """The completions with the highest log-probability per token, the best one first; all of
    them as they are where none has to go."""
    kept = list(candidates)
    if len(candidates) > num_choices:
        kept = sorted(candidates, key=_mean_logprob, reverse=True)[:num_choices]
    # The prompt's part is the same for all; an engine may tell it once.
    scores = next((one.prompt_tokens for one in candidates if one.prompt_tokens), ())
    return [replace(piece, index=place, prompt_tokens=scores) for place, piece in enumerate(kept)]


def _mean_logprob(piece: Piece) -> float:
    logprobs = [token.logprob for token in piece.tokens if token.logprob is not None]
    return sum(logprobs) / len(logprobs) if logprobs else -math.inf


def _num_logprobs(body: CompletionRequest, renderer: "Renderer") -> int | None:
    """What the engine is asked for: also where we need to know the tokens ourselves."""
    if body.logprobs is not None:
        return body.logprobs
    needs_tokens = body.num_candidates > body.num_choices or renderer.may_lose_blanks
    return 0 if needs_tokens else None
