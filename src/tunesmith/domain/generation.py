"""What the engine is asked for and what it gives back: the nouns of the engine contract."""

from dataclasses import dataclass
from enum import StrEnum


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


@dataclass(frozen=True)
class TokenUsage:
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
