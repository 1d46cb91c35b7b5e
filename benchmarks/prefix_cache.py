"""How much sooner the first token comes when the beginning of a prompt was computed before.

Time to first token of the engine alone (`tunesmith-tiny`, no HTTP), for prompts of several lengths
that differ in their last `OWN_TOKENS` only: once each with a salt that nobody used, once with one
whose beginning is in the cache. What limits it: without, all of the prompt's products; with, one
step's fixed cost and reading the prompt's keys and values.
"""

import random
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from tunesmith.datasets.render import Renderer
from tunesmith.domain.generation import SamplingParams
from tunesmith.inference.engine import Engine, Request
from tunesmith.inference.limits import EngineLimits
from tunesmith.modeling.weights import load_decoder

BASE_MODEL = Path(__file__).parents[1] / "src" / "tunesmith" / "base_models" / "tunesmith-tiny"
ROUNDS = 5
LENGTHS = (256, 1024, 1792)
OWN_TOKENS = 32


def measure() -> dict[str, Any]:
    torch.set_num_threads(1)  # on a shared machine the threads of two would wait for one another
    decoder = load_decoder(BASE_MODEL, torch.device("cpu"), torch.float32)
    limits = EngineLimits.of_tokens(
        max_context=decoder.shape.max_positions,
        cache_tokens=65_536,
        max_sequences=64,
        max_step_tokens=1024,
        num_adapter_slots=1,
    )
    engine = Engine(decoder, Renderer.load(BASE_MODEL), limits, new_seed=lambda: 0)
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
