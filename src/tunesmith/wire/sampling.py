"""How to sample: the fields that chat and text completions have in common.

Behaviour reference, sections 15.1 and 16.
"""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from tunesmith.domain import errors
from tunesmith.domain.generation import SamplingParams
from tunesmith.wire.base import Request

MAX_SEED = 2**63 - 1
MAX_CHOICES = 128
MAX_BIASES = 1024

Penalty = Annotated[float, Field(ge=-2, le=2)]
StopString = Annotated[str, Field(min_length=1, max_length=256)]
Bias = Annotated[float, Field(ge=-100, le=100)]


class StreamOptions(Request):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None  # we never pad, so both values are honoured


class SamplingRequest(Request):
    frequency_penalty: Penalty | None = None
    logit_bias: Annotated[dict[str, Bias], Field(max_length=MAX_BIASES)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    presence_penalty: Penalty | None = None
    seed: Annotated[int, Field(ge=-MAX_SEED - 1, le=MAX_SEED)] | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with a chunk that counts tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)


def to_sampling(
    request: SamplingRequest, *, max_tokens: int, end_token_ids: tuple[int, ...], vocab_size: int
) -> SamplingParams:
    """Raises InvalidRequest for a bias on a token that isn't there."""
    temperature = 1.0 if request.temperature is None else request.temperature
    top_p = 1.0 if request.top_p is None else request.top_p
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    return SamplingParams(
        max_tokens=max_tokens,
        # A nucleus of nothing but the likeliest token is greedy decoding.
        temperature=temperature if top_p > 0 else 0.0,
        top_p=top_p if top_p > 0 else 1.0,
        seed=request.seed,
        stop=stop,
        stop_token_ids=end_token_ids,
        frequency_penalty=request.frequency_penalty or 0.0,
        presence_penalty=request.presence_penalty or 0.0,
        logit_bias=_to_biases(request.logit_bias or {}, vocab_size),
    )


def refuse_stream_contradictions(request: SamplingRequest) -> None:
    """Raises InvalidRequest."""
    if request.stream_options is not None and not request.stream:
        raise errors.InvalidRequest(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )


def _to_biases(biases: Mapping[str, float], vocab_size: int) -> dict[int, float]:
    return {_to_token_id(key, vocab_size): bias for key, bias in biases.items()}


def _to_token_id(key: str, vocab_size: int) -> int:
    if not re.fullmatch("0|[1-9][0-9]{0,8}", key) or int(key) >= vocab_size:
        raise errors.InvalidRequest(
            f"Invalid key in 'logit_bias': {key[:20]}. Keys are ids of tokens, from 0 to "
            f"{vocab_size - 1} for this model.",
            param="logit_bias",
            code="invalid_value",
        )
    return int(key)
