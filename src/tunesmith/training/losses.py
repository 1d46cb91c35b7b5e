"""Losses: pure functions of tensors that know neither model nor trainer.

Letters: N positions that bear loss, P pairs of answers, V vocabulary.
"""

from torch import Tensor
from torch.nn import functional


def weighted_nll(logits_NV: Tensor, labels_N: Tensor, weights_N: Tensor) -> Tensor:
    """Weight times negative log-likelihood, in nats; fp32, [N].

    No mean: whoever adds up rows and micro-batches divides once, by the weight of the whole step,
    so that a short micro-batch's tokens count as much as a long one's.
    """
    return functional.cross_entropy(logits_NV.float(), labels_N, reduction="none") * weights_N


def preference_loss(margins_P: Tensor) -> Tensor:
    """The sum over pairs of -log sigmoid(margin), 0-dim; a margin is by how much the reward of the
    preferred answer exceeds that of the other one.

    Source: Rafailov et al., Direct Preference Optimization (2023), equation 7, where the reward
    of an answer is beta times the log-ratio of its likelihoods with and without training.
    """
    return -functional.logsigmoid(margins_P).sum()


def is_wrong(logits_NV: Tensor, labels_N: Tensor) -> Tensor:
    """Whether the most likely token is another than the label; bool, [N]."""
    return logits_NV.argmax(dim=-1) != labels_N
