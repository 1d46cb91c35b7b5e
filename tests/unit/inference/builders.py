"""Small sequences, engines and adapters for the tests beside this file."""

import itertools
import random
from collections.abc import Sequence as List
from pathlib import Path
from typing import Any

import torch

from tests.small_models import VOCAB_SIZE, Kind, make_model
from tunesmith.datasets.render import Renderer
from tunesmith.domain.generation import SamplingParams
from tunesmith.domain.plan import TARGET_MODULES
from tunesmith.inference.adapter_slots import KnownAdapter
from tunesmith.inference.detokenizer import Detokenizer
from tunesmith.inference.engine import Engine
from tunesmith.inference.limits import EngineLimits
from tunesmith.inference.sequence import Sequence
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.lora import LoraAdapter, LoraSpec
from tunesmith.modeling.shape import ModelShape
from tunesmith.modeling.weights import load_decoder

CONTEXT = 512  # of the small models

_numbers = itertools.count(1)


def a_sequence(
    num_prompt_tokens: int = 1,
    max_tokens: int = 1,
    adapter: KnownAdapter | None = None,
    *,
    prompt: list[int] | None = None,
    cache_salt: str | None = None,
    leader: Sequence | None = None,
    **params: Any,
) -> Sequence:
    """One that needs no model. If no prompt is given, it is like no other's."""
    return Sequence(
        token_ids=prompt or [next(_numbers)] * num_prompt_tokens,
        params=SamplingParams(max_tokens, **params),
        seed=0,
        detokenizer=Detokenizer(lambda _: ""),
        adapter=adapter,
        cache_salt=cache_salt,
        leader=leader,
    )


def make_small(folder: Path, kind: Kind = "llama") -> Path:
    """A model whose greedy tokens vary. With a tied vocabulary head a random one just repeats
    its last token, and a test that compares such tokens proves little."""
    return make_model(folder, kind, tie_word_embeddings=False)


def load_small(folder: Path) -> Decoder:
    return load_decoder(folder, torch.device("cpu"), torch.float32)


def an_engine(folder: Path, **limits: int) -> Engine:
    """On a small model; seeds count up from 0."""
    defaults = {"max_context": CONTEXT, "num_blocks": 64, "block_size": 16, "max_sequences": 16}
    seeds = iter(range(1000))
    return Engine(
        load_small(folder),
        Renderer.load(folder),
        EngineLimits(**{**defaults, **limits}),
        new_seed=lambda: next(seeds),
    )


def a_trained_adapter(shape: ModelShape, seed: int, rank: int = 8) -> LoraAdapter:
    """One that makes a difference: far from its neutral beginning."""
    adapter = LoraAdapter.initialise(shape, LoraSpec(rank, 2.0 * rank, TARGET_MODULES), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, b in adapter.weights.values():
            b.normal_(0, 0.1, generator=generator)
    return adapter


def random_prompts(lengths: List[int], seed: int = 0) -> list[list[int]]:
    numbers = random.Random(seed)
    return [[numbers.randrange(VOCAB_SIZE) for _ in range(length)] for length in lengths]


def greedy(max_tokens: int = 20, **others: object) -> SamplingParams:
    """The most likely tokens, to the very end."""
    return SamplingParams(max_tokens, temperature=0, ignore_eos=True, **others)  # type: ignore[arg-type]
