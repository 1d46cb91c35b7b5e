"""`examples/train_plain.py` does what the loop does: a page that newcomers can trust."""

import importlib.util
import math
from itertools import islice
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.unit.training.runs import make_plan, run, stop_after
from tunesmith.datasets.render import Renderer
from tunesmith.modeling.lora import LoraAdapter
from tunesmith.modeling.weights import load_decoder
from tunesmith.training.progress import StopRequest

EXAMPLE = Path(__file__).parents[3] / "examples" / "train_plain.py"


@pytest.fixture(scope="module")
def plain() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_plain", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_same_losses(
    plain: ModuleType, base_folder: Path, run_folder: Path, num_steps: int
) -> None:
    """In the first `num_steps` steps of both, on the example's own file and numbers."""
    base = load_decoder(base_folder, torch.device("cpu"), torch.float32)
    examples = plain.read_examples(Renderer.load(base_folder), plain.TRAINING_FILE)
    adapter = LoraAdapter.initialise(base.shape, plain.LORA, plain.SEED)
    losses = list(islice(plain.train(base, adapter, examples), num_steps))

    plan = make_plan(
        examples,
        n_epochs=plain.NUM_EPOCHS,
        batch_size=plain.BATCH_SIZE,
        learning_rate=plain.LEARNING_RATE,
        warmup_steps=plain.WARMUP_STEPS,
        max_grad_norm=plain.MAX_GRAD_NORM,
        seed=plain.SEED,
        max_tokens=plain.MAX_TOKENS,
        rank=plain.LORA.rank,
        alpha=plain.LORA.alpha,
        target_modules=plain.LORA.target_modules,
    )
    record = run(plan, examples, base, run_folder, stop=stop_after(num_steps, StopRequest.DROP))
    assert len(losses) == num_steps
    assert [done.metrics.train_loss for done in record.steps] == pytest.approx(losses, rel=1e-3)


def test_it_gives_the_losses_of_the_loop_beyond_the_first_epoch(
    plain: ModuleType, base_folder: Path, tmp_path: Path
) -> None:
    steps_per_epoch = math.ceil(60 / plain.BATCH_SIZE)
    assert_same_losses(plain, base_folder, tmp_path, steps_per_epoch + 3)


def test_it_gives_the_losses_of_the_loop_on_the_packaged_model(
    plain: ModuleType, tmp_path: Path
) -> None:
    assert_same_losses(plain, plain.BASE_MODEL, tmp_path, num_steps=2)


def test_it_is_short_enough_to_be_read_at_a_sitting() -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 120
