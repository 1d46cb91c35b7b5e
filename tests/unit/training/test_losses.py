import math

import pytest
import torch

from tunesmith.training.losses import is_wrong, preference_loss, weighted_nll

# Likelihoods of the labels below, by hand: e^2 / (e^2 + 1 + 1), then 1/3.
LOGITS = torch.tensor([[2.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
LABELS = torch.tensor([0, 2])


def test_nll_is_that_of_hand_worked_likelihoods_times_weight() -> None:
    weights = torch.tensor([1.0, 0.25])
    expected = [-math.log(math.e**2 / (math.e**2 + 2)), 0.25 * math.log(3)]
    assert weighted_nll(LOGITS, LABELS, weights).tolist() == pytest.approx(expected, rel=1e-6)


def test_nll_of_half_precision_logits_is_in_fp32() -> None:
    weights = torch.ones(2)
    nll = weighted_nll(LOGITS.bfloat16(), LABELS, weights)
    assert nll.dtype is torch.float32
    assert nll.tolist() == pytest.approx(weighted_nll(LOGITS, LABELS, weights).tolist(), rel=1e-6)


def test_preference_loss_equals_a_hand_worked_one() -> None:
    """-log(1 / (1 + e^-m)) of margins 0, ln 3 and -ln 3: log 2, log 4/3, log 4."""
    margins = torch.tensor([0.0, math.log(3), -math.log(3)])
    expected = math.log(2) + math.log(4 / 3) + math.log(4)
    assert preference_loss(margins).item() == pytest.approx(expected, rel=1e-6)


def test_preference_loss_of_huge_margins_is_finite() -> None:
    assert preference_loss(torch.tensor([1e6])).item() == 0.0
    assert preference_loss(torch.tensor([-1e6])).item() == 1e6


def test_a_label_is_right_when_it_is_the_most_likely_token() -> None:
    logits = torch.tensor([[0.0, 3.0], [5.0, 1.0], [0.0, 1.0]])
    assert is_wrong(logits, torch.tensor([1, 1, 1])).tolist() == [False, True, False]
