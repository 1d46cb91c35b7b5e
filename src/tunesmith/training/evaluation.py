"""Validation: the same loss and accuracy as in training, on examples that are never trained on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from tunesmith.datasets.batch import Batch, epoch_order, micro_batches
from tunesmith.datasets.render import Row
from tunesmith.domain.jobs import StepMetrics
from tunesmith.domain.plan import TrainingPlan
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.lora import LoraAdapter
from tunesmith.training.forward import Means, forward, means


@dataclass(frozen=True)
class Validation:
    """A validation file as batches; both lists are empty without one."""

    sample: Sequence[Batch]  # of the same few examples each time, so that the curve can be read
    whole: Sequence[Batch]

    @classmethod
    def prepare(cls, plan: TrainingPlan, examples: Sequence[Sequence[Row]]) -> "Validation":
        sample = epoch_order(len(examples), plan.seed, epoch=0)[: plan.valid_batch_size]
        return cls(
            micro_batches(_rows([examples[i] for i in sample]), plan.max_micro_batch_tokens),
            micro_batches(_rows(examples), plan.max_micro_batch_tokens),
        )

    def complete(
        self, metrics: StepMetrics, plan: TrainingPlan, base: Decoder, adapter: LoraAdapter
    ) -> StepMetrics:
        """`metrics` with the validation figures that are due at its step: on the sample every
        `plan.valid_interval` steps and at an epoch's end, on the whole file at an epoch's end."""
        is_epoch_end = metrics.step % plan.steps_per_epoch == 0
        if self.sample and (is_epoch_end or metrics.step % plan.valid_interval == 0):
            sample = _measure(self.sample, base, adapter)
            metrics = replace(
                metrics, valid_loss=sample.loss, valid_mean_token_accuracy=sample.accuracy
            )
        if self.whole and is_epoch_end:
            whole = _measure(self.whole, base, adapter)
            metrics = replace(
                metrics,
                full_valid_loss=whole.loss,
                full_valid_mean_token_accuracy=whole.accuracy,
            )
        return metrics


@torch.no_grad()
def _measure(batches: Sequence[Batch], base: Decoder, adapter: LoraAdapter) -> Means:
    return means([forward(base, adapter, batch) for batch in batches])


def _rows(examples: Sequence[Sequence[Row]]) -> list[Row]:
    return [row for rows in examples for row in rows]
