"""What goes over the wire between API and engine: a part of what vLLM speaks.

Request bodies are Pydantic models, strict, sizes limited, unknown fields refused. Replies are
plain dictionaries, since one is made for every token.

What differs from vLLM: `logprobs` and `token_ids` come with the piece that the token's text begins
in, and leave out an end token and what a stop string cut off (`usage` counts them) where
`tells_ends`, a field of ours, is false; `top_logprobs` begins with the likeliest and has the token
itself at the end if it isn't one of those; only choice 0 bears `prompt_logprobs`, in a stream with
its first piece, and they name no decoded tokens; `structured_outputs` knows `json`, a schema as
text, and `structural_tag`, in the formats of `domain/structural_tags.py`; only with the latter
`skip_special_tokens` may, and has to, be false; `top_k`, `min_p` and `repetition_penalty` are taken
with the values that change nothing, which others than our API say lest a model's own defaults hold.
"""

import time
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from tunesmith.domain import errors
from tunesmith.domain.generation import SamplingParams, ShownToken, TokenLogprobs
from tunesmith.domain.structural_tags import to_tagged
from tunesmith.domain.tagged import Tagged
from tunesmith.inference.engine import Delta, Request
from tunesmith.inference.sequence import Sequence

Json = dict[str, Any]

MAX_TOKENS = 2**31 - 1
MAX_BIASES = 1024
MAX_SCHEMA_CHARACTERS = 1024**2  # escapes included; see `grammar_trial.py` for what else bounds it

TokenId = Annotated[int, Field(ge=0, le=MAX_TOKENS)]
StopString = Annotated[str, Field(min_length=1, max_length=256)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Bias = Annotated[float, Field(ge=-100, le=100)]
NumLogprobs = Annotated[int, Field(ge=0, le=20)]
AdapterName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class StreamOptions(_Body):
    include_usage: bool = False


class StructuredOutputs(_Body):
    """What the text has to be: one of the two."""

    json_schema: str | None = Field(None, alias="json", max_length=MAX_SCHEMA_CHARACTERS)
    structural_tag: str | None = Field(None, max_length=MAX_SCHEMA_CHARACTERS)

    def tagged(self) -> Tagged | None:
        """Raises InvalidRequest."""
        if (self.json_schema is None) == (self.structural_tag is None):
            raise errors.InvalidRequest(
                "Give structured_outputs either 'json' or a 'structural_tag'.",
                param="structured_outputs",
            )
        return None if self.structural_tag is None else to_tagged(self.structural_tag)


class CompletionBody(_Body):
    """POST /v1/completions"""

    model: str = Field(max_length=256)
    prompt: list[TokenId] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1, le=MAX_TOKENS)  # None: to the context's end
    temperature: float = Field(1.0, ge=0, le=2)
    top_p: float = Field(1.0, ge=0, le=1)
    n: int = Field(1, ge=1, le=128)
    seed: int | None = Field(None, ge=-(2**63), le=2**63 - 1)
    stop: StopString | Annotated[list[StopString], Field(max_length=16)] | None = None
    stop_token_ids: list[TokenId] = Field([], max_length=64)
    ignore_eos: bool = False
    top_k: int = Field(0, ge=-1, le=0)
    min_p: float = Field(0.0, ge=0, le=0)
    repetition_penalty: float = Field(1.0, ge=1, le=1)
    frequency_penalty: Penalty = 0.0
    presence_penalty: Penalty = 0.0
    logit_bias: dict[TokenId, Bias] | None = Field(None, max_length=MAX_BIASES)
    logprobs: NumLogprobs | None = None
    tells_ends: bool = True
    prompt_logprobs: NumLogprobs | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    return_token_ids: bool = False
    return_tokens_as_token_ids: bool = False
    structured_outputs: StructuredOutputs | None = None
    skip_special_tokens: bool = True
    cache_salt: str | None = Field(None, min_length=1, max_length=256)

    def to_request(self, base_name: str, max_context: int) -> Request:
        """`base_name` is what the bare base model is called; any other name is an adapter's.

        Raises InvalidRequest if logprobs are asked for in a spelling that we don't have.
        """
        if self.logprobs is not None and not self.return_tokens_as_token_ids:
            raise errors.InvalidRequest(
                "Logprobs name tokens by their ids: set return_tokens_as_token_ids to true.",
                param="return_tokens_as_token_ids",
            )
        outputs = self.structured_outputs
        tagged = outputs.tagged() if outputs else None
        if self.skip_special_tokens != (tagged is None):
            raise errors.InvalidRequest(
                "Tokens of control are spelled out with a structural tag, and only then: set "
                f"skip_special_tokens to {str(tagged is None).lower()}.",
                param="skip_special_tokens",
            )
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        return Request(
            prompt=self.prompt,
            params=SamplingParams(
                max_tokens=self.max_tokens or max(1, max_context - len(self.prompt)),
                temperature=self.temperature,
                top_p=self.top_p,
                seed=self.seed,
                stop=stop,
                stop_token_ids=tuple(self.stop_token_ids),
                ignore_eos=self.ignore_eos,
                frequency_penalty=self.frequency_penalty,
                presence_penalty=self.presence_penalty,
                logit_bias=self.logit_bias or {},
                logprobs=self.logprobs,
                tells_ends=self.tells_ends,
                prompt_logprobs=self.prompt_logprobs,
                json_schema=outputs.json_schema if outputs else None,
                tagged=tagged,
            ),
            n=self.n,
            adapter=None if self.model == base_name else self.model,
            cache_salt=self.cache_salt,
        )

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


class LoadAdapterBody(_Body):
    """POST /v1/load_lora_adapter"""

    lora_name: AdapterName
    lora_path: str = Field(min_length=1, max_length=4096)


class UnloadAdapterBody(_Body):
    """POST /v1/unload_lora_adapter"""

    lora_name: AdapterName


class Replies:
    """What a request is answered with: whole, or in pieces that share id and time."""

    def __init__(self, completion_id: str, body: CompletionBody) -> None:
        self._body = body
        self._head: Json = {
            "id": completion_id,
            "object": "text_completion",
            "created": int(time.time()),
            "model": body.model,
        }

    def piece(self, deltas: Iterable[Delta]) -> Json:
        return {**self._head, "choices": [self._choice(delta) for delta in deltas]}

    def whole(self, deltas: Iterable[Delta], sequences: Iterable[Sequence]) -> Json:
        in_order = sorted(deltas, key=lambda delta: delta.sequence.index)
        return {**self.piece(in_order), "usage": usage(sequences)}

    def last_piece(self, sequences: Iterable[Sequence]) -> Json:
        """The one with the usage, for who asked for it."""
        return {**self._head, "choices": [], "usage": usage(sequences)}

    def _choice(self, delta: Delta) -> Json:
        choice: Json = {
            "index": delta.sequence.index,
            "text": delta.text,
            "logprobs": None if self._body.logprobs is None else _logprobs(delta.shown),
            "finish_reason": delta.finish_reason,
        }
        if self._body.return_token_ids:
            choice["token_ids"] = [token.token_id for token in delta.shown]
        if self._body.prompt_logprobs is not None:
            choice["prompt_logprobs"] = _prompt_logprobs(delta)
        return choice


def usage(sequences: Iterable[Sequence]) -> Json:
    """The prompt is counted once, however many choices were asked for."""
    sequences = list(sequences)
    num_prompt = sequences[0].num_prompt_tokens
    num_sampled = sum(sequence.num_sampled for sequence in sequences)
    return {
        "prompt_tokens": num_prompt,
        "completion_tokens": num_sampled,
        "total_tokens": num_prompt + num_sampled,
        "prompt_tokens_details": {"cached_tokens": sequences[0].num_cached_tokens or 0},
    }


def error_body(error: errors.TunesmithError, status: int) -> Json:
    return {
        "error": {
            "message": error.message,
            "type": "server_error" if status >= 500 else "invalid_request_error",
            "param": error.param,
            "code": error.code,
        }
    }


def _logprobs(tokens: Iterable[ShownToken]) -> Json:
    told = [(token, token.logprobs) for token in tokens if token.logprobs is not None]
    return {
        "tokens": [_name(token.token_id) for token, _ in told],
        "token_logprobs": [logprobs.logprob for _, logprobs in told],
        "top_logprobs": [
            {_name(token_id): logprob for token_id, logprob in _with_own(logprobs)}
            for _, logprobs in told
        ],
        "text_offset": [token.text_offset for token, _ in told],
    }


def _prompt_logprobs(delta: Delta) -> list[Json | None] | None:
    """The first token has none: nothing stands before it."""
    if delta.prompt_logprobs is None:
        return None
    return [None, *map(_prompt_token, delta.prompt_logprobs)]


def _prompt_token(logprobs: TokenLogprobs) -> Json:
    told: Json = {
        str(token_id): {"logprob": logprob, "rank": rank}
        for rank, (token_id, logprob) in enumerate(logprobs.top, start=1)
    }
    told.setdefault(str(logprobs.token_id), {"logprob": logprobs.logprob, "rank": logprobs.rank})
    return told


def _with_own(logprobs: TokenLogprobs) -> Iterator[tuple[int, float]]:
    """The likeliest tokens, in order, and the token itself if it isn't one of them."""
    yield from logprobs.top
    if all(token_id != logprobs.token_id for token_id, _ in logprobs.top):
        yield logprobs.token_id, logprobs.logprob


def _name(token_id: int) -> str:
    return f"token_id:{token_id}"
