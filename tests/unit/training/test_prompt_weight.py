"""The weight of prompts in the loss, on a row worked out by hand.

The model gives token 2 after 1 with probability 1/2, 3 after 2 with 1/4 and 4 after 3 with 1/8:
1, 2 and 3 times ln 2 of loss. Of the row 1 2 3 4 only the last token is learned. So the loss is

    (w·1 + w·2 + 1·3) / (w + w + 1) · ln 2,    w the prompt's weight:    3, 303/102 or 2 times ln 2
"""

import math
from pathlib import Path

import pytest

from tests.unit.training.bigrams import bigram_model
from tests.unit.training.runs import make_plan, run
from tunesmith.datasets.render import Row
from tunesmith.modeling.decoder import Decoder

TABLE = {
    1: {2: 1 / 2, 5: 1 / 2},
    2: {3: 1 / 4, 5: 3 / 4},
    3: {4: 1 / 8, 5: 7 / 8},
}
ROW = Row([1, 2, 3, 4], [0, 0, 0, 1])
HAND_WORKED = [(0.0, 3.0), (0.01, 303 / 102), (1.0, 2.0)]


@pytest.fixture(scope="module")
def bigrams(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    return bigram_model(tmp_path_factory.mktemp("bigrams"), TABLE)


@pytest.mark.parametrize(("prompt_weight", "expected"), HAND_WORKED)
def test_prompts_count_in_training_and_validation_as_worked_by_hand(
    bigrams: Decoder, tmp_path: Path, prompt_weight: float, expected: float
) -> None:
    """Training's loss is that of the first step, which a fresh adapter does not touch."""
    untouched = {"n_epochs": 1, "learning_rate": 0.0, "prompt_loss_weight": prompt_weight}
    plan = make_plan([[ROW]], **untouched)
    [done] = run(plan, [[ROW]], bigrams, tmp_path, valid_examples=[[ROW]]).steps
    losses = (
        done.metrics.train_loss,
        done.metrics.valid_loss,
        done.metrics.full_valid_loss,
    )
    assert losses == pytest.approx([expected * math.log(2)] * 3, rel=1e-5)


@pytest.mark.parametrize("max_micro_batch_tokens", [8192, 1])
def test_the_weights_of_all_rows_of_a_step_are_added_up(
    bigrams: Decoder, tmp_path: Path, max_micro_batch_tokens: int
) -> None:
    """(1 + 2·½ + ½·3) / (½·2 + 1 + 1): the second row has a prompt of one label, the first none."""
    rows = Row([1, 2], [0, 1]), Row([2, 3, 4], [0, 0, 0.5])
    plan = make_plan(
        [[row] for row in rows],
        n_epochs=1,
        prompt_loss_weight=0.5,
        max_micro_batch_tokens=max_micro_batch_tokens,
    )
    [done] = run(plan, [[row] for row in rows], bigrams, tmp_path).steps
    expected = (1 * 1 + 0.5 * 2 + 0.5 * 3) / (1 + 0.5 + 0.5)
    assert done.metrics.train_loss == pytest.approx(expected * math.log(2), rel=1e-5)


def test_accuracies_know_of_no_prompt(bigrams: Decoder, tmp_path: Path) -> None:
    """The model gets every label of this row wrong but the learned one."""
    row = Row([1, 2, 3, 5], [0, 0, 0, 1])
    plan = make_plan([[row]], n_epochs=1, learning_rate=0.0, prompt_loss_weight=1.0)
    [done] = run(plan, [[row]], bigrams, tmp_path, valid_examples=[[row]]).steps
    assert done.metrics.train_mean_token_accuracy == 1.0
    assert done.metrics.sequence_accuracies() == {
        "train_sequence_accuracy": 1.0,
        "valid_sequence_accuracy": 1.0,
        "full_valid_sequence_accuracy": 1.0,
    }
