"""Hyperparameters: what "auto" becomes (behaviour reference, section 11)."""

import json
from dataclasses import replace

import pytest

from tunesmith.domain import plan
from tunesmith.domain.classification import ClassTokens
from tunesmith.domain.plan import Hyperparameters, TrainingPlan, resolve


@pytest.mark.parametrize(
    ("num_examples", "n_epochs"),
    [
        (10, 10),
        (12, 8),
        (16, 6),
        (20, 5),
        (25, 4),
        (33, 3),
        (34, 3),
        (100, 3),
        (8333, 3),
        (8334, 2),
        (12501, 1),
        (30000, 1),
    ],
)
def test_auto_epochs_follow_the_published_table(num_examples: int, n_epochs: int) -> None:
    assert plan.auto_n_epochs(num_examples) == n_epochs


@pytest.mark.parametrize(
    ("num_examples", "batch_size"), [(10, 1), (100, 1), (1000, 2), (10_000, 20), (10**6, 256)]
)
def test_auto_batch_size_is_a_fifth_of_a_percent(num_examples: int, batch_size: int) -> None:
    assert plan.auto_batch_size(num_examples) == batch_size


def resolved(asked: Hyperparameters, num_examples: int) -> TrainingPlan:
    return resolve(asked, num_examples=num_examples, hidden_size=2048, max_tokens=99, seed=1)


def test_steps_per_epoch_round_up() -> None:
    made = resolved(Hyperparameters(n_epochs=3, batch_size=4), 101)
    assert (made.steps_per_epoch, made.num_steps) == (26, 78)


def test_batch_is_never_larger_than_the_file() -> None:
    assert resolved(Hyperparameters(batch_size=256), 12).batch_size == 12


def test_multiplier_scales_the_reference_rate() -> None:
    made = resolved(Hyperparameters(learning_rate_multiplier=2.0), 100)
    assert made.learning_rate == pytest.approx(2.8e-4)


def test_smaller_models_get_larger_rates() -> None:
    rates = [plan.reference_learning_rate(size) for size in (256, 2048, 4096)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(1.4e-4 * 8**0.781)


def test_plan_survives_json() -> None:
    made = resolved(Hyperparameters(), 50)
    assert TrainingPlan.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_a_classifiers_plan_survives_json() -> None:
    made = replace(
        resolved(Hyperparameters(prompt_loss_weight=0.01), 50),
        classes=ClassTokens((7, 9), positive=1, betas=(1.0, 2.0), num_shared=1),
    )
    assert TrainingPlan.from_json(json.loads(json.dumps(made.to_json()))) == made


@pytest.mark.parametrize(("step", "expected"), [(0, 0), (1, 4), (2, 8), (3, 10), (4, 14), (6, 20)])
def test_examples_until_a_step_are_counted_with_a_small_last_batch(
    step: int, expected: int
) -> None:
    made = resolved(Hyperparameters(n_epochs=2, batch_size=4), 10)
    assert made.examples_until(step) == expected
