"""What training minimises: the likelihood of the answers, or that the preferred ones are preferred.

An objective makes batches of rows, and either learns from them (which leaves gradients on the
adapter) or only measures them. The loop and the validation know nothing more of it.

Letters: R rows of a batch, P pairs of answers.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from tunesmith.datasets.batch import Batch, micro_batches, pair_batches
from tunesmith.datasets.render import Row
from tunesmith.domain.plan import TrainingPlan
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.lora import LoraAdapter
from tunesmith.training import losses
from tunesmith.training.forward import BatchSums, Means, forward, means, weight_of

REWARD_MARGIN, PREFERENCE_ACCURACY = "reward_margin", "preference_accuracy"


class Objective(Protocol):
    def batches(self, rows: Sequence[Row]) -> list[Batch]:
        """The rows of one or more examples, in their order, as batches."""
        ...

    def learn(self, batches: Sequence[Batch]) -> Means:
        """Adds the gradients of one step to the adapter's."""
        ...

    def measure(self, batches: Iterable[Batch]) -> Means | None:
        """Without gradients; None without a batch."""
        ...


def objective_of(
    plan: TrainingPlan, base: Decoder, adapter: LoraAdapter, start: LoraAdapter | None
) -> Objective:
    """`start` is the tuned model that training goes on from, if it does."""
    if plan.beta is None:
        return Likelihood(plan, base, adapter)
    return Preference(plan, plan.beta, base, adapter, start)


@dataclass(frozen=True)
class Likelihood:
    """Supervised: the mean over tokens of their negative log-likelihood, by weight."""

    plan: TrainingPlan
    base: Decoder
    adapter: LoraAdapter

    def batches(self, rows: Sequence[Row]) -> list[Batch]:
        return micro_batches(rows, self.plan.max_micro_batch_tokens, self.plan.prompt_loss_weight)

    def learn(self, batches: Sequence[Batch]) -> Means:
        weight = sum(map(weight_of, batches))
        parts = []
        for batch in batches:
            parts.append(forward(self.base, self.adapter, batch))
            (parts[-1].nll / weight).backward()  # type: ignore[no-untyped-call]  # torch's gap
        return means(parts)

    @torch.no_grad()
    def measure(self, batches: Iterable[Batch]) -> Means | None:
        parts = [forward(self.base, self.adapter, batch) for batch in batches]
        return means(parts) if parts else None


@dataclass(frozen=True)
class Preference:
    """Direct preference optimisation (`losses.preference_loss`). The reference is the model that
    training began with: the same weights without the adapter, or with that of the tuned model it
    goes on from. So there is no second copy of the base model, only a second pass."""

    plan: TrainingPlan
    beta: float
    base: Decoder
    adapter: LoraAdapter
    reference: LoraAdapter | None

    def batches(self, rows: Sequence[Row]) -> list[Batch]:
        return pair_batches(rows, self.plan.max_micro_batch_tokens)

    def learn(self, batches: Sequence[Batch]) -> Means:
        num_pairs = sum(len(batch.row_lengths) for batch in batches) // 2
        parts = []
        for batch in batches:
            parts.append(self._compared(batch))
            loss = losses.preference_loss(parts[-1].margins_P)
            (loss / num_pairs).backward()  # type: ignore[no-untyped-call]  # torch's gap
        return _preference_means(parts)

    @torch.no_grad()
    def measure(self, batches: Iterable[Batch]) -> Means | None:
        parts = [self._compared(batch) for batch in batches]
        return _preference_means(parts) if parts else None

    def _compared(self, batch: Batch) -> "_Compared":
        policy = forward(self.base, self.adapter, batch)
        with torch.no_grad():
            reference = forward(self.base, self.reference, batch)
        rewards_R = self.beta * (reference.nll_R - policy.nll_R)
        return _Compared(rewards_R[0::2] - rewards_R[1::2], policy)


@dataclass(frozen=True)
class _Compared:
    """A batch of pairs; in training the margins have a gradient."""

    margins_P: Tensor
    policy: BatchSums


def _preference_means(parts: Sequence[_Compared]) -> Means:
    """Accuracies are those of the preferred answers. Waits for the device."""
    margins_P = torch.cat([part.margins_P.detach() for part in parts])
    wrongs = torch.cat([part.policy.num_wrong_R[0::2] for part in parts]).tolist()
    num_labels = sum(int(part.policy.num_labels_R[0::2].sum()) for part in parts)
    margins = margins_P.tolist()
    return Means(
        loss=float(losses.preference_loss(margins_P)) / len(margins),
        accuracy=(num_labels - sum(wrongs)) / num_labels,
        sequence_accuracy=wrongs.count(0) / len(wrongs),
        preference={
            REWARD_MARGIN: math.fsum(margins) / len(margins),
            PREFERENCE_ACCURACY: sum(margin > 0 for margin in margins) / len(margins),
        },
    )
