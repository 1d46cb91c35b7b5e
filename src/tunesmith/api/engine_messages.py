"""What goes over the wire between API and engine, seen from the API.

A part of what vLLM speaks: its completions on token ids, tokens named by their ids where
log-probabilities are told (`token_id:5`).
"""

import json
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tunesmith.domain import errors
from tunesmith.domain.generation import FinishReason, SamplingParams, ScoredToken, TokenUsage
from tunesmith.domain.structural_tags import to_structural_tag

log = logging.getLogger("tunesmith.api")

Json = dict[str, Any]  # a body of the engine contract

UNREADABLE = "The model's engine answered in a form that is not understood. Tell the operator."
MAX_SAID = 2000  # characters of an engine's error message


@dataclass(frozen=True)
class Adapter:
    id: str
    folder: Path


@dataclass(frozen=True)
class EngineRequest:
    """What an engine is asked for: `n` completions of one prompt.

    `tenant` is whom it is for: nobody learns from the time that an answer takes what prompts
    others have sent.
    """

    prompt: list[int]
    params: SamplingParams
    tenant: str
    n: int = 1
    adapter: Adapter | None = None  # None: the bare base model


@dataclass(frozen=True)
class Piece:
    """The next part of completion number `index`; its last one has a finish reason."""

    index: int
    text: str
    finish_reason: FinishReason | None
    # If asked for: the tokens that begin in this text; the prompt's, with the first piece.
    tokens: tuple[ScoredToken, ...] = ()
    prompt_tokens: tuple[ScoredToken, ...] = ()


@dataclass(frozen=True)
class Chunk:
    """One message of the engine: pieces of some completions, or at the end what was used."""

    pieces: tuple[Piece, ...]
    usage: TokenUsage | None


class Engine(Protocol):
    def generate(self, request: EngineRequest, *, stream: bool) -> AsyncGenerator[Chunk]:
        """See `EngineClient.generate`."""


def to_body(request: EngineRequest, *, base_name: str, cache_salt: str, stream: bool) -> Json:
    """`base_name` is what the engine calls the bare base model; prompts of another `cache_salt`
    are never looked at."""
    params = request.params
    body: Json = {
        "model": request.adapter.id if request.adapter else base_name,
        "prompt": request.prompt,
        "n": request.n,
        "max_tokens": params.max_tokens,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "stop": list(params.stop),
        "stop_token_ids": list(params.stop_token_ids),
        "stream": stream,
        "cache_salt": cache_salt,
    }
    if params.seed is not None:
        body["seed"] = params.seed
    if params.frequency_penalty:
        body["frequency_penalty"] = params.frequency_penalty
    if params.presence_penalty:
        body["presence_penalty"] = params.presence_penalty
    if params.logit_bias:
        body["logit_bias"] = {str(key): bias for key, bias in params.logit_bias.items()}
    if params.logprobs is not None:
        body["logprobs"] = params.logprobs
        body["return_tokens_as_token_ids"] = True  # their texts may be ambiguous
        body["tells_ends"] = params.tells_ends
    if params.prompt_logprobs is not None:
        body["prompt_logprobs"] = params.prompt_logprobs
    if params.json_schema is not None:
        body["structured_outputs"] = {"json": params.json_schema}
    if params.tagged is not None:
        body["structured_outputs"] = {"structural_tag": to_structural_tag(params.tagged)}
        body["skip_special_tokens"] = False
    if stream:
        body["stream_options"] = {"include_usage": True}
    return body


def to_chunk(message: Json, prompt: list[int]) -> Chunk:
    raise_failure(message)
    usage = message.get("usage")
    return Chunk(
        tuple(_piece(choice, prompt) for choice in message["choices"]),
        to_usage(usage) if usage else None,
    )


def raise_failure(message: Json) -> None:
    """Raises Unavailable if the message tells of an error in the middle of an answer."""
    if "choices" not in message:
        raise errors.Unavailable(f"The model's engine failed: {_said(message)['message']}")


def _piece(choice: Json, prompt: list[int]) -> Piece:
    reason = choice["finish_reason"]
    return Piece(
        index=choice["index"],
        text=choice["text"],
        finish_reason=FinishReason(reason) if reason else None,
        tokens=to_tokens(choice.get("logprobs")),
        prompt_tokens=to_prompt_tokens(prompt, choice.get("prompt_logprobs")),
    )


def to_tokens(logprobs: Json | None) -> tuple[ScoredToken, ...]:
    if not logprobs:
        return ()
    columns = (logprobs[key] for key in ("tokens", "token_logprobs", "top_logprobs", "text_offset"))
    return tuple(
        ScoredToken(
            _token_id(token), logprob, {_token_id(key): each for key, each in top.items()}, offset
        )
        for token, logprob, top, offset in zip(*columns, strict=True)
    )


def _token_id(name: str) -> int:
    """`token_id:5`"""
    return int(name.removeprefix("token_id:"))


def to_prompt_tokens(
    prompt: list[int], entries: list[Json | None] | None
) -> tuple[ScoredToken, ...]:
    if not entries:
        return ()
    return tuple(
        _prompt_token(token_id, entry) for token_id, entry in zip(prompt, entries, strict=True)
    )


def _prompt_token(token_id: int, entry: Json | None) -> ScoredToken:
    if entry is None:
        return ScoredToken(token_id, None, {})
    top = {int(key): each["logprob"] for key, each in entry.items()}
    return ScoredToken(token_id, top[token_id], top)


def to_usage(usage: Json) -> TokenUsage:
    details = usage.get("prompt_tokens_details") or {}
    return TokenUsage(
        prompt_tokens=usage["prompt_tokens"],
        completion_tokens=usage["completion_tokens"],
        cached_tokens=details.get("cached_tokens") or 0,
    )


def to_error(status: int, body: bytes) -> errors.TunesmithError:
    """What an engine's error answer means for the client: its own doing only with status 400, or
    if it has more waiting than its share. (Any other 429 is of an engine that knows no shares.)"""
    try:
        said = _said(json.loads(body))
    except ValueError:
        said = _said(body.decode(errors="replace"))
    if status == 400:
        return errors.InvalidRequest(**said)
    if status == 429 and said["code"] == errors.RateLimited.default_code:
        return errors.RateLimited(said["message"])
    if status in (429, 503):
        return errors.Unavailable(said["message"])
    log.error("engine answered %d: %s", status, said["message"])
    return errors.Unavailable("The model's engine can't answer at the moment. Try again later.")


def _said(told: Any) -> Json:
    """Message, param and code of an error. Others than our own engine tell it without an envelope
    or as a bare text, and have the status for a code, which means nothing to a client."""
    if isinstance(told, dict) and "error" in told:
        told = told["error"]
    if not isinstance(told, dict) or "message" not in told:
        return {"message": str(told)[:MAX_SAID], "param": None, "code": None}
    texts = {name: told.get(name) for name in ("param", "code")}
    return {
        "message": str(told["message"])[:MAX_SAID],
        **{name: text if isinstance(text, str) else None for name, text in texts.items()},
    }
