"""The engine alone on `tunesmith-tiny`, for benchmarks without HTTP."""

from pathlib import Path

import torch

from tunesmith.datasets.render import Renderer
from tunesmith.inference.engine import Engine
from tunesmith.inference.limits import EngineLimits
from tunesmith.modeling.weights import load_decoder

BASE_MODEL = Path(__file__).parents[1] / "src" / "tunesmith" / "base_models" / "tunesmith-tiny"


def tiny_engine() -> Engine:
    torch.set_num_threads(1)  # on a shared machine the threads of two would wait for one another
    decoder = load_decoder(BASE_MODEL, torch.device("cpu"), torch.float32)
    limits = EngineLimits.of_tokens(
        max_context=decoder.shape.max_positions,
        cache_tokens=65_536,
        max_sequences=64,
        max_step_tokens=1024,
        num_adapter_slots=1,
    )
    return Engine(decoder, Renderer.load(BASE_MODEL), limits, new_seed=lambda: 0)
