"""Losses: pure functions of tensors that know neither model nor trainer.

Letters: N positions that bear loss, V vocabulary.
"""

import torch
from torch import Tensor
from torch.nn import functional


def weighted_nll(logits_NV: Tensor, labels_N: Tensor, weights_N: Tensor) -> Tensor:
    """The sum over positions of weight times negative log-likelihood, in nats; fp32, 0-dim.

    A sum and no mean: whoever adds up micro-batches divides once, by the weight of the whole
    step, so that a short micro-batch's tokens count as much as a long one's.
    """
    nll_N = functional.cross_entropy(logits_NV.float(), labels_N, reduction="none")
    return torch.dot(nll_N, weights_N)


def is_wrong(logits_NV: Tensor, labels_N: Tensor) -> Tensor:
    """Whether the most likely token is another than the label; bool, [N]."""
    return logits_NV.argmax(dim=-1) != labels_N
