"""What the engine is asked for and what it gives back: the nouns of the engine contract."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from tunesmith.domain.tagged import Tagged


class FinishReason(StrEnum):
    """Why a sequence ended. `STOP`: an end token or a stop string. `LENGTH`: the token budget
    or the context length was used up. The same words go over the wire."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True)
class SamplingParams:
    max_tokens: int
    temperature: float = 1.0  # 0 is greedy
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()  # never part of the text given back
    stop_token_ids: tuple[int, ...] = ()  # end tokens; never part of the text given back
    ignore_eos: bool = False  # for benchmarks
    # For each token sampled so far in this completion, taken off its logit: the first once per
    # occurrence, the second once.
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)  # added to logits, -100 to 100
    logprobs: int | None = None  # how many of the likeliest tokens are told beside the sampled one
    # Tells of all sampled tokens: also of an end token, and of what belongs to a stop string alone.
    tells_ends: bool = False
    json_schema: str | None = None  # what the completion has to be, as JSON
    # What the completion may be, if it may hold tags; control tokens are spelled out then.
    tagged: Tagged | None = None
    prompt_logprobs: int | None = None  # the same, beside each token of the prompt

    @property
    def form(self) -> str | Tagged | None:
        """What the completion has to look like, if it has to: a JSON schema, or tags."""
        return self.json_schema if self.tagged is None else self.tagged


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """How likely a token was, and what was likelier.

    These are the model's own probabilities (natural logarithms): before penalties, logit_bias,
    temperature and top_p, as vLLM tells them too. They are finite; -9999.0 is hopeless.
    """

    token_id: int
    logprob: float
    rank: int  # 1: no token was likelier
    top: tuple[tuple[int, float], ...]  # the likeliest tokens and their logprobs, in order


class ShownToken(NamedTuple):
    """A sampled token that may be told of: its text, or a part of it, has been given back, or it
    ended the text and `tells_ends` asks for such tokens too."""

    token_id: int
    text_offset: int  # characters of the completion before the token's own
    logprobs: TokenLogprobs | None


@dataclass(frozen=True)
class TokenUsage:
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token as an engine's client hears of it: how likely the model held it, and what else."""

    token_id: int
    logprob: float | None  # None: nothing came before it, so nothing predicted it
    top: Mapping[int, float]  # the likeliest tokens in its place; it may be among them or beside
    text_offset: int = 0  # characters of the completion before its own
