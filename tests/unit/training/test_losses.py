import math

import pytest
import torch

from tunesmith.training.losses import is_wrong, weighted_nll

# Likelihoods of the labels below, by hand: e^2 / (e^2 + 1 + 1), then 1/3.
LOGITS = torch.tensor([[2.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
LABELS = torch.tensor([0, 2])


def test_nll_is_the_weighted_sum_of_hand_worked_likelihoods() -> None:
    weights = torch.tensor([1.0, 0.25])
    first = -math.log(math.e**2 / (math.e**2 + 2))
    expected = first + 0.25 * math.log(3)
    assert weighted_nll(LOGITS, LABELS, weights).item() == pytest.approx(expected, rel=1e-6)


def test_nll_of_half_precision_logits_is_summed_in_fp32() -> None:
    weights = torch.ones(2)
    nll = weighted_nll(LOGITS.bfloat16(), LABELS, weights)
    assert nll.dtype is torch.float32
    assert nll.item() == pytest.approx(weighted_nll(LOGITS, LABELS, weights).item(), rel=1e-6)


def test_a_label_is_right_when_it_is_the_most_likely_token() -> None:
    logits = torch.tensor([[0.0, 3.0], [5.0, 1.0], [0.0, 1.0]])
    assert is_wrong(logits, torch.tensor([1, 1, 1])).tolist() == [False, True, False]
