"""Direct preference optimisation, against its definition worked out row by row."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.small_models import VOCAB_SIZE
from tests.unit.training.runs import Examples, make_plan, run, stop_after
from tunesmith.adapters.files import load_adapter
from tunesmith.datasets.render import Row
from tunesmith.modeling.attention import RowAttention
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.lora import LoraAdapter, LoraSpec
from tunesmith.training.objectives import Preference
from tunesmith.training.progress import StopRequest

BETA = 0.3


def make_pairs(num_pairs: int, seed: int = 0) -> Examples:
    """Random prompts of 4 to 9 tokens, with two random answers of 2 to 6 each."""
    generator = np.random.default_rng(seed)
    pairs = []
    for _ in range(num_pairs):
        prompt = generator.integers(8, VOCAB_SIZE, int(generator.integers(4, 10))).tolist()
        rows = []
        for _ in range(2):
            answer = generator.integers(8, VOCAB_SIZE, int(generator.integers(2, 7))).tolist()
            rows.append(Row([*prompt, *answer], [0.0] * len(prompt) + [1.0] * len(answer)))
        pairs.append(rows)
    return pairs


def log_likelihood(base: Decoder, adapter: LoraAdapter | None, row: Row) -> Tensor:
    """Of the answer, by the definition."""
    token_ids = torch.tensor(row.token_ids)
    positions = torch.arange(len(token_ids))
    hidden = base(token_ids, positions, RowAttention([len(token_ids)]), adapter)
    logprobs = base.logits(hidden).log_softmax(-1)
    places = np.flatnonzero(row.loss_weights).tolist()
    return torch.stack([logprobs[place - 1, token_ids[place]] for place in places]).sum()


def margins(
    base: Decoder, adapter: LoraAdapter, reference: LoraAdapter | None, pairs: Examples
) -> list[Tensor]:
    found = []
    for preferred, other in pairs:
        ratios = [
            log_likelihood(base, adapter, row) - log_likelihood(base, reference, row).detach()
            for row in (preferred, other)
        ]
        found.append(BETA * (ratios[0] - ratios[1]))
    return found


def loss_of(found: list[Tensor]) -> Tensor:
    return torch.stack([torch.log1p(torch.exp(-margin)) for margin in found]).mean()


def random_adapter(base: Decoder, seed: int) -> LoraAdapter:
    adapter = LoraAdapter.initialise(base.shape, LoraSpec(8, 16.0, ("q_proj", "down_proj")), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return adapter


@pytest.mark.parametrize("max_tokens", [8192, 1], ids=["together", "pair by pair"])
@pytest.mark.parametrize("goes_on", [False, True], ids=["from the base", "from a tuned model"])
def test_loss_metrics_and_gradients_equal_the_definition(
    base: Decoder, goes_on: bool, max_tokens: int
) -> None:
    pairs = make_pairs(5)
    plan = make_plan(pairs, beta=BETA, max_micro_batch_tokens=max_tokens)
    adapter = random_adapter(base, seed=1)
    reference = random_adapter(base, seed=2) if goes_on else None
    objective = Preference(plan, BETA, base, adapter, reference)
    batches = objective.batches([row for pair in pairs for row in pair])
    assert len(batches) == (1 if max_tokens > 1 else 5)

    measured = objective.learn(batches)
    ours = [parameter.grad for parameter in adapter.parameters()]
    expected = margins(base, adapter, reference, pairs)
    theirs = torch.autograd.grad(loss_of(expected), list(adapter.parameters()))
    values = [margin.item() for margin in expected]
    assert measured.loss == pytest.approx(loss_of(expected).item(), rel=1e-5)
    assert measured.preference["reward_margin"] == pytest.approx(np.mean(values), rel=1e-4)
    assert measured.preference["preference_accuracy"] == np.mean([v > 0 for v in values])
    for gradient, reference_gradient in zip(ours, theirs, strict=True):
        assert gradient is not None
        torch.testing.assert_close(gradient, reference_gradient, rtol=1e-3, atol=1e-6)
    silent = objective.measure(batches)
    assert silent is not None
    assert silent.loss == pytest.approx(measured.loss, rel=1e-6)


def test_training_begins_at_indifference_and_makes_preferred_answers_likelier(
    base: Decoder, tmp_path: Path
) -> None:
    """Before the first update policy and reference are one model: margins are 0, the loss log 2."""
    pairs = make_pairs(4)
    plan = make_plan(pairs, beta=BETA, n_epochs=10, learning_rate=1e-2)
    record = run(plan, pairs, base, tmp_path, valid_examples=pairs)
    first, last = record.steps[0].metrics, record.steps[-1].metrics
    assert first.train_loss == pytest.approx(math.log(2), rel=1e-6)
    assert first.measured()["train_reward_margin"] == pytest.approx(0, abs=1e-6)
    assert last.train_loss < 0.2
    assert last.measured()["train_preference_accuracy"] == 1.0
    assert last.measured()["full_valid_preference_accuracy"] == 1.0

    adapter = load_adapter(record.checkpoints[-1].adapter_folder, base.shape, torch.device("cpu"))
    with torch.no_grad():
        expected = [margin.item() for margin in margins(base, adapter, None, pairs)]
    assert last.measured()["full_valid_reward_margin"] == pytest.approx(np.mean(expected), rel=1e-3)
    assert min(expected) > 0


def test_an_interrupted_run_ends_with_the_same_bits(base: Decoder, tmp_path: Path) -> None:
    """Also where it goes on from a tuned model, which stays the reference after the interruption,
    and every step is reported with the same numbers."""
    pairs, parent = make_pairs(6), random_adapter(base, seed=3)
    plan = make_plan(pairs, beta=BETA)
    peaceful = run(plan, pairs, base, tmp_path / "peaceful", parent=parent)
    stop = stop_after(2, StopRequest.KEEP)
    broken = run(plan, pairs, base, tmp_path / "broken", parent=parent, stop=stop)
    assert not broken.is_finished
    resumed = run(plan, pairs, base, tmp_path / "broken", parent=parent)
    assert resumed.adapter_bytes == peaceful.adapter_bytes
    told = [*broken.steps[:-1], *resumed.steps]
    assert [done.metrics for done in told] == [done.metrics for done in peaceful.steps]
