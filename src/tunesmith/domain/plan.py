"""From what the client asked for to numbers: hyperparameters and the training plan.

A `TrainingPlan` is made once, when a job starts to run, and stored with it. In it every "auto"
is a number already; the loop reads nothing else.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from tunesmith.domain.classification import Classification, ClassTokens
from tunesmith.domain.eras import Era

# OpenAI's ranges (behaviour reference, section 11; the description's for beta).
N_EPOCHS = range(1, 51)
BATCH_SIZE = range(1, 257)
MAX_BETA = 2.0
AUTO_BETA = 0.1  # that of the paper's experiments
# Preferences are learned at a lower rate than answers: they move likelihoods without a floor.
PREFERENCE_RATE = 0.25

# The multiplier OpenAI shows for gpt-4o-mini when the client leaves it open.
AUTO_LEARNING_RATE_MULTIPLIER = 1.8
# The first era multiplied another rate, that of the base model's pre-training. What its most
# usual multiplier, 0.1, stands for is the multiplier above.
FINE_TUNES_MULTIPLIER = 18.0
# Its rule for a multiplier that was left open: up to so many examples per step, the multiplier.
FINE_TUNES_AUTO_MULTIPLIERS = ((31, 0.1), (math.inf, 0.2))

TARGET_MODULES = (
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
)


@dataclass(frozen=True)
class Hyperparameters:
    """As asked for; None is OpenAI's "auto". The multiplier is in the unit of today's jobs,
    whichever era's API it came by."""

    n_epochs: int | None = None
    batch_size: int | None = None
    learning_rate_multiplier: float | None = None
    beta: float | None = None  # of direct preference optimisation
    prompt_loss_weight: float = 0.0
    classification: Classification | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        classification = value.get("classification")
        return cls(
            **{
                **value,
                "classification": classification and Classification.from_json(classification),
            }
        )


@dataclass(frozen=True)
class TrainingPlan:
    """Every number a training run needs. Stored as JSON, so plain values only."""

    num_examples: int
    n_epochs: int
    batch_size: int  # examples per optimiser step
    learning_rate_multiplier: float
    learning_rate: float  # peak
    warmup_steps: int
    num_steps: int
    steps_per_epoch: int
    seed: int
    max_tokens: int  # per example; longer ones are cut at the end
    rank: int = 16
    alpha: float = 32.0
    target_modules: tuple[str, ...] = TARGET_MODULES
    weight_decay: float = 0.0
    adam_betas: tuple[float, float] = (0.9, 0.999)
    adam_eps: float = 1e-8
    max_grad_norm: float = 1.0
    max_micro_batch_tokens: int = 8192  # of one forward pass; a bigger batch is accumulated
    valid_interval: int = 10  # steps between validations on a small batch
    valid_batch_size: int = 8  # examples of that small batch
    kept_checkpoints: int = 3
    beta: float | None = None  # of direct preference optimisation; None: supervised
    prompt_loss_weight: float = 0.0  # of tokens before the first that is to be learned
    classes: ClassTokens | None = None  # of a classifier whose metrics were asked for

    def examples_until(self, step: int) -> int:
        """How many were trained on when `step` steps are done, repeats counted."""
        epochs, steps = divmod(step, self.steps_per_epoch)
        return epochs * self.num_examples + steps * self.batch_size

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        fields = dict(value)
        fields["target_modules"] = tuple(fields["target_modules"])
        fields["adam_betas"] = tuple(fields["adam_betas"])
        if fields.get("classes") is not None:
            fields["classes"] = ClassTokens.from_json(fields["classes"])
        return cls(**fields)


def resolve(
    asked: Hyperparameters,
    era: Era = Era.JOBS,
    *,
    num_examples: int,
    hidden_size: int,
    max_tokens: int,
    seed: int,
    classes: ClassTokens | None = None,
    by_preference: bool = False,
) -> TrainingPlan:
    """The plan for a job, supervised or `by_preference`: what was asked for, and numbers for what
    was not."""
    n_epochs = asked.n_epochs or auto_n_epochs(num_examples)
    batch_size = min(asked.batch_size or auto_batch_size(num_examples), num_examples)
    multiplier = asked.learning_rate_multiplier or auto_learning_rate_multiplier(era, batch_size)
    rate = reference_learning_rate(hidden_size) * (PREFERENCE_RATE if by_preference else 1.0)
    steps_per_epoch = math.ceil(num_examples / batch_size)
    num_steps = steps_per_epoch * n_epochs
    return TrainingPlan(
        num_examples=num_examples,
        n_epochs=n_epochs,
        batch_size=batch_size,
        learning_rate_multiplier=multiplier,
        learning_rate=multiplier * rate,
        warmup_steps=max(1, num_steps // 20),
        num_steps=num_steps,
        steps_per_epoch=steps_per_epoch,
        seed=seed,
        max_tokens=max_tokens,
        beta=(asked.beta or AUTO_BETA) if by_preference else None,
        prompt_loss_weight=asked.prompt_loss_weight,
        classes=classes,
    )


def auto_learning_rate_multiplier(era: Era, batch_size: int) -> float:
    """Larger steps may take larger strides, in the first era (behaviour reference, 20.2)."""
    if era is Era.JOBS:
        return AUTO_LEARNING_RATE_MULTIPLIER
    return FINE_TUNES_MULTIPLIER * next(
        multiplier for most, multiplier in FINE_TUNES_AUTO_MULTIPLIERS if batch_size <= most
    )


def auto_n_epochs(num_examples: int) -> int:
    """The published estimator: 3 epochs, bent so that a job makes at least 100 and at most
    25,000 passes over examples, within 1 to 25 epochs (behaviour reference, section 11)."""
    target = 3
    if num_examples * target < 100:
        return min(25, 100 // num_examples)
    if num_examples * target > 25_000:
        return max(1, 25_000 // num_examples)
    return target


def auto_batch_size(num_examples: int) -> int:
    """0.2 % of the examples, from 1 to 256: the rule of the legacy API's documents."""
    return min(256, max(1, round(num_examples * 0.002)))


def reference_learning_rate(hidden_size: int) -> float:
    """The LoRA learning rate that a multiplier of 1 stands for.

    Smaller models want larger rates. The power law and its exponent are those that Thinking
    Machines published for LoRA on Llama models, anchored at 1.4e-4 for a hidden size of 2048:
    256 → 7.1e-4, 4096 → 8.1e-5. With the multiplier that "auto" gives, `tunesmith-tiny` then
    learns at 1.3e-3, the best of those tried on 60 examples in batches of 1 (`docs/findings.md`).
    """
    return 1.4e-4 * math.pow(2048 / hidden_size, 0.781)
