"""What the tests of this folder share: small examples, plans for them, and a run's record."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.small_models import VOCAB_SIZE
from tunesmith.datasets.render import Row
from tunesmith.domain.plan import TrainingPlan
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.lora import LoraAdapter
from tunesmith.training.loop import TrainingData, train
from tunesmith.training.progress import CheckpointWritten, Progress, StepDone, StopRequest

Examples = list[list[Row]]


def make_examples(num_examples: int, seed: int = 0) -> Examples:
    """Random tokens, 6 to 20 an example; the last third bears loss, on weights of 1 and 0.5."""
    generator = np.random.default_rng(seed)
    examples = []
    for _ in range(num_examples):
        length = int(generator.integers(6, 21))
        num_labels = length // 3
        weights = [0.0] * (length - num_labels) + [1.0] * (num_labels - 1) + [0.5]
        examples.append([Row(generator.integers(8, VOCAB_SIZE, length).tolist(), weights)])
    return examples


def make_plan(examples: Examples, **changes: Any) -> TrainingPlan:
    """Two epochs of batches of two, unless `changes` say otherwise."""
    numbers = {"n_epochs": 2, "batch_size": 2, "learning_rate": 5e-3, "rank": 8, **changes}
    steps_per_epoch = math.ceil(len(examples) / numbers["batch_size"])
    defaults = {
        "num_examples": len(examples),
        "learning_rate_multiplier": 1.8,
        "warmup_steps": 1,
        "num_steps": steps_per_epoch * numbers["n_epochs"],
        "steps_per_epoch": steps_per_epoch,
        "seed": 7,
        "max_tokens": 128,
    }
    return TrainingPlan(**{**defaults, **numbers})


@dataclass
class Run:
    """One call of `train` and everything it reported."""

    folder: Path
    progress: list[Progress] = field(default_factory=list)
    is_finished: bool = False

    @property
    def steps(self) -> list[StepDone]:
        return [item for item in self.progress if isinstance(item, StepDone)]

    @property
    def checkpoints(self) -> list[CheckpointWritten]:
        return [item for item in self.progress if isinstance(item, CheckpointWritten)]

    @property
    def adapter_bytes(self) -> bytes:
        """Of the last checkpoint."""
        return (self.checkpoints[-1].adapter_folder / "adapter_model.safetensors").read_bytes()


def run(
    plan: TrainingPlan,
    examples: Examples,
    base: Decoder,
    folder: Path,
    *,
    valid_examples: Sequence[list[Row]] = (),
    stop: Callable[[Run], StopRequest | None] = lambda _: None,
    parent: LoraAdapter | None = None,
    snapshot_interval_s: float = 1e9,
) -> Run:
    record = Run(folder)
    record.is_finished = train(
        plan,
        TrainingData(examples, valid_examples),
        base,
        folder,
        record.progress.append,
        lambda: stop(record),
        parent,
        base_model="small",
        snapshot_interval_s=snapshot_interval_s,
    )
    return record


def stop_after(num_steps: int, request: StopRequest) -> Callable[[Run], StopRequest | None]:
    return lambda record: request if len(record.steps) >= num_steps else None
