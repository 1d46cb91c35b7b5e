"""Validation: the same loss and accuracies as in training, on examples that are never trained on.

The whole file goes through a chunk at a time, so that it need not fit into memory.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tunesmith.datasets.batch import Batch, epoch_order
from tunesmith.datasets.render import Row
from tunesmith.domain.jobs import StepMetrics
from tunesmith.domain.plan import TrainingPlan
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.lora import LoraAdapter
from tunesmith.training import classification
from tunesmith.training.forward import Means
from tunesmith.training.objectives import Objective

CHUNK_EXAMPLES = 512  # of a validation file, in memory at once


@dataclass(frozen=True)
class Validation:
    """A validation file; both are empty without one."""

    objective: Objective
    sample: Sequence[Batch]  # of the same few examples each time, so that the curve can be read
    whole: Sequence[Sequence[Row]]

    @classmethod
    def prepare(
        cls, plan: TrainingPlan, objective: Objective, examples: Sequence[Sequence[Row]]
    ) -> "Validation":
        order = epoch_order(len(examples), plan.seed, epoch=0)
        sample = [examples[index] for index in order[: plan.valid_batch_size].tolist()]
        return cls(objective, objective.batches(_rows(sample)), examples)

    def complete(
        self, metrics: StepMetrics, plan: TrainingPlan, base: Decoder, adapter: LoraAdapter
    ) -> StepMetrics:
        """`metrics` with the validation figures that are due at its step: on the sample every
        `plan.valid_interval` steps and at an epoch's end, on the whole file at an epoch's end, and
        a classifier as such there too."""
        is_epoch_end = metrics.step % plan.steps_per_epoch == 0
        if is_epoch_end or metrics.step % plan.valid_interval == 0:
            sample = self.objective.measure(self.sample)
            if sample is not None:
                metrics = replace(
                    metrics,
                    valid_loss=sample.loss,
                    valid_mean_token_accuracy=sample.accuracy,
                    valid_sequence_accuracy=sample.sequence_accuracy,
                    preference={**metrics.preference, **named("valid_", sample)},
                )
        if is_epoch_end:
            whole = self.objective.measure(self._batches())
            if whole is not None:
                metrics = replace(
                    metrics,
                    full_valid_loss=whole.loss,
                    full_valid_mean_token_accuracy=whole.accuracy,
                    full_valid_sequence_accuracy=whole.sequence_accuracy,
                    preference={**metrics.preference, **named("full_valid_", whole)},
                )
            # A run that diverged is about to fail, and has no figures.
            if whole is not None and plan.classes is not None and math.isfinite(whole.loss):
                figures = classification.measure(
                    plan.classes, self._chunks(), plan.max_micro_batch_tokens, base, adapter
                )
                metrics = replace(metrics, classification=figures)
        return metrics

    def _batches(self) -> Iterator[Batch]:
        for chunk in self._chunks():
            yield from self.objective.batches(_rows(chunk))

    def _chunks(self) -> Iterator[Sequence[Sequence[Row]]]:
        for start in range(0, len(self.whole), CHUNK_EXAMPLES):
            yield self.whole[start : start + CHUNK_EXAMPLES]


def named(phase: str, measured: Means) -> dict[str, float]:
    """What preferences alone are measured by, as the metrics of one phase."""
    return {phase + name: value for name, value in measured.preference.items()}


def _rows(examples: Sequence[Sequence[Row]]) -> list[Row]:
    return [row for rows in examples for row in rows]
