"""How much sooner the first token comes when the beginning of a prompt was computed before.

Time to first token of the engine alone (`tunesmith-tiny`, no HTTP), for prompts of several lengths
that differ in their last `OWN_TOKENS` only: once each with a salt that nobody used, once with one
whose beginning is in the cache. What limits it: without, all of the prompt's products; with, one
step's fixed cost and reading the prompt's keys and values.
"""

import random
import statistics
import time
from typing import Any

from benchmarks.tiny_engine import tiny_engine
from tunesmith.domain.generation import SamplingParams
from tunesmith.inference.engine import Engine, Request

ROUNDS = 5
LENGTHS = (256, 1024, 1792)
OWN_TOKENS = 32


def measure() -> dict[str, Any]:
    engine = tiny_engine()
    return {str(length): one_length(engine, length) for length in LENGTHS}


def one_length(engine: Engine, length: int) -> dict[str, Any]:
    numbers = random.Random(length)

    def tokens(count: int) -> list[int]:
        return [numbers.randrange(engine.vocab_size) for _ in range(count)]

    beginning = tokens(length - OWN_TOKENS)
    first_token_s(engine, beginning, "known")  # fills the cache, and warms up
    new, known = [], []
    for n in range(ROUNDS):  # in turns: what else the machine does meets both alike
        new.append(first_token_s(engine, beginning + tokens(OWN_TOKENS), f"new {n}"))
        known.append(first_token_s(engine, beginning + tokens(OWN_TOKENS), "known"))
    return {
        "new_ms": round(1000 * statistics.median(new), 2),
        "known_ms": round(1000 * statistics.median(known), 2),
        "ratio": round(statistics.median(n / k for n, k in zip(new, known, strict=True)), 2),
    }


def first_token_s(engine: Engine, prompt: list[int], salt: str) -> float:
    started = time.perf_counter()
    engine.submit(Request(prompt, SamplingParams(1, temperature=0), cache_salt=salt))
    while engine.step() is not None:
        pass
    return time.perf_counter() - started
