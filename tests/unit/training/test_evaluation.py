"""Validation figures, against likelihoods worked out row by row in numpy."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.training.runs import Examples, make_examples, make_plan, run
from tunesmith.adapters.files import load_adapter
from tunesmith.datasets.batch import epoch_order
from tunesmith.domain.jobs import StepMetrics
from tunesmith.modeling.attention import RowAttention
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.lora import LoraAdapter


def figures(base: Decoder, adapter: LoraAdapter, examples: Examples) -> tuple[float, float, float]:
    """(loss, accuracy, sequence accuracy) by their definition."""
    nll, weight, right, num_labels, right_rows = 0.0, 0.0, 0, 0, 0
    for [row] in examples:
        token_ids = torch.tensor(row.token_ids)
        with torch.no_grad():
            attend = RowAttention([len(token_ids)])
            hidden = base(token_ids, torch.arange(len(token_ids)), attend, adapter)
            logits = base.logits(hidden).double().numpy()
        are_right = []
        for place in np.flatnonzero(row.loss_weights):
            scores, label = logits[place - 1], row.token_ids[place]
            nll += row.loss_weights[place] * (np.log(np.exp(scores).sum()) - scores[label])
            weight += row.loss_weights[place]
            are_right.append(scores.argmax() == label)
        right += sum(are_right)
        num_labels += len(are_right)
        right_rows += all(are_right)
    return nll / weight, right / num_labels, right_rows / len(examples)


def test_figures_at_an_epoch_end_equal_an_independent_computation(
    base: Decoder, tmp_path: Path
) -> None:
    """Two of the validation examples are trained on as well, so that some sequence is right."""
    examples = make_examples(4)
    valid = [*examples[:2], *make_examples(5, seed=1)]
    plan = make_plan(examples, n_epochs=20, learning_rate=1e-2, valid_batch_size=3)
    record = run(plan, examples, base, tmp_path, valid_examples=valid)
    metrics = record.steps[-1].metrics
    adapter = load_adapter(record.checkpoints[-1].adapter_folder, base.shape, torch.device("cpu"))

    assert metrics.full_valid_sequence_accuracy == 2 / 7
    full = (
        metrics.full_valid_loss,
        metrics.full_valid_mean_token_accuracy,
        metrics.full_valid_sequence_accuracy,
    )
    assert full == pytest.approx(figures(base, adapter, valid), rel=1e-5)
    sample = [valid[index] for index in epoch_order(7, plan.seed, 0)[:3]]
    small = (
        metrics.valid_loss,
        metrics.valid_mean_token_accuracy,
        metrics.valid_sequence_accuracy,
    )
    assert small == pytest.approx(figures(base, adapter, sample), rel=1e-5)


def test_validation_comes_by_interval_and_at_each_epoch_end(base: Decoder, tmp_path: Path) -> None:
    examples = make_examples(10)
    plan = make_plan(examples, n_epochs=2, valid_interval=3)  # 5 steps an epoch
    record = run(plan, examples, base, tmp_path, valid_examples=make_examples(2, seed=1))

    def steps_with(name: str) -> list[int]:
        return [done.metrics.step for done in record.steps if name in done.metrics.measured()]

    assert steps_with("valid_loss") == [3, 5, 6, 9, 10]
    assert steps_with("full_valid_loss") == [5, 10]


def test_without_a_validation_file_nothing_is_measured(base: Decoder, tmp_path: Path) -> None:
    examples = make_examples(4)
    record = run(make_plan(examples, valid_interval=1), examples, base, tmp_path)
    measured = [done.metrics.measured().keys() for done in record.steps]
    assert measured == [{"train_loss", "train_mean_token_accuracy"}] * 4
    sequences = [done.metrics.sequence_accuracies().keys() for done in record.steps]
    assert sequences == [{"train_sequence_accuracy"}] * 4


def test_a_micro_batch_limit_does_not_change_the_figures(base: Decoder, tmp_path: Path) -> None:
    examples, valid = make_examples(4), make_examples(6, seed=1)

    def last_metrics(folder: str, max_tokens: int) -> StepMetrics:
        plan = make_plan(examples, max_micro_batch_tokens=max_tokens)
        return run(plan, examples, base, tmp_path / folder, valid_examples=valid).steps[-1].metrics

    cut, whole = last_metrics("cut", 16), last_metrics("whole", 8192)
    assert cut.measured() == pytest.approx(whole.measured(), rel=1e-4)
