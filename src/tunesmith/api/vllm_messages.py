"""What goes over the wire to vLLM, where it differs from what our own engines are told.

Bodies hold vLLM's own fields only: it ignores those that it doesn't know, with no more than a
line in its log. What a model's `generation_config.json` says of sampling would hold wherever the
body is silent, so the body is silent about nothing of it.
"""

import logging
from dataclasses import fields, replace

from tunesmith.api.engine_messages import (
    UNREADABLE,
    Chunk,
    EngineRequest,
    Json,
    Piece,
    raise_failure,
    to_body,
    to_prompt_tokens,
    to_tokens,
    to_usage,
)
from tunesmith.domain import errors
from tunesmith.domain.generation import FinishReason, SamplingParams, ScoredToken

log = logging.getLogger("tunesmith.api")

GREEDY_BELOW = 1e-5  # temperature, as vLLM has it
NUM_SEEDS = 2**62  # vLLM takes a seed of -1 for none, and adds to it for further choices

# All of `SamplingParams` that the body says, or that is done on our side of it. What joins them
# some day is refused until somebody has found out how vLLM spells it.
SPOKEN = {
    "max_tokens",
    "temperature",
    "top_p",
    "seed",
    "stop",
    "stop_token_ids",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "logprobs",
    "tells_ends",
    "json_schema",
    "tagged",
    "prompt_logprobs",
}


def is_greedy(params: SamplingParams) -> bool:
    return params.temperature < GREEDY_BELOW or params.top_p == 0


def to_vllm_body(request: EngineRequest, *, base_name: str, cache_salt: str, stream: bool) -> Json:
    """See `to_body`. Raises InvalidRequest for what vLLM can't be asked for."""
    _refuse_unspoken(request.params)
    params = request.params
    if is_greedy(params):
        params = replace(params, temperature=0.0, top_p=1.0)  # it takes no top_p of 0
    body = to_body(
        replace(request, params=params), base_name=base_name, cache_salt=cache_salt, stream=stream
    )
    body.pop("tells_ends", None)
    body |= {
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "frequency_penalty": params.frequency_penalty,
        "presence_penalty": params.presence_penalty,
        "return_token_ids": True,
    }
    if params.tagged is not None:
        body["stop"] = []  # nothing stops inside a tag, which vLLM doesn't know
    if params.seed is not None:
        body["seed"] = params.seed % NUM_SEEDS
    return body


def to_vllm_chunk(message: Json, request: EngineRequest) -> Chunk:
    """The pieces have tokens and no text yet. Raises Unavailable for what can't be understood."""
    raise_failure(message)
    try:
        usage = message.get("usage")
        return Chunk(
            tuple(_piece(choice, request) for choice in message["choices"]),
            to_usage(usage) if usage else None,
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        log.error("remote engine sent what is not understood (%r): %.500s", error, message)
        raise errors.Unavailable(UNREADABLE) from error


def _piece(choice: Json, request: EngineRequest) -> Piece:
    return Piece(
        index=choice["index"],
        text="",
        finish_reason=_finish_reason(choice.get("finish_reason")),
        tokens=_sampled(choice),
        prompt_tokens=to_prompt_tokens(request.prompt, choice.get("prompt_logprobs")),
    )


def _finish_reason(reason: str | None) -> FinishReason | None:
    if reason is None or reason in list(FinishReason):
        return FinishReason(reason) if reason else None
    # "abort", when it is stopped; "error"; and whatever will be added.
    raise errors.Unavailable(
        f"The model's engine gave up in the middle of the answer ({reason}). Send the request "
        "again."
    )


def _sampled(choice: Json) -> tuple[ScoredToken, ...]:
    """All tokens that were sampled, with their log-probabilities if those were asked for."""
    token_ids = choice.get("token_ids")
    if token_ids is None:
        raise KeyError("token_ids: vLLM tells them since 0.10.2")
    scored = to_tokens(choice.get("logprobs"))
    if scored and [token.token_id for token in scored] != token_ids:
        raise ValueError("token_ids and logprobs are of different tokens")
    return scored or tuple(ScoredToken(token_id, None, {}) for token_id in token_ids)


def _refuse_unspoken(params: SamplingParams) -> None:
    plain = SamplingParams(max_tokens=params.max_tokens)
    for field in fields(params):
        is_said = field.name in SPOKEN
        if not is_said and getattr(params, field.name) != getattr(plain, field.name):
            raise errors.InvalidRequest(
                f"This model is answered by a remote engine, which can't be asked for what this "
                f"request needs ({field.name}). Use another model."
            )
