"""The training loop: one function, read from top to bottom.

Its neighbours: `objectives.py` (what is minimised), `forward.py` (a batch to its summed loss),
`optimizer.py`, `schedules.py`, `evaluation.py`, `checkpoints.py` (what a run leaves on disk and how
it goes on from there).
`examples/train_plain.py` is the same maths in a hundred lines with nothing around it.
"""

import copy
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tunesmith.datasets.batch import step_batches
from tunesmith.datasets.render import Row
from tunesmith.domain import errors
from tunesmith.domain.jobs import StepMetrics
from tunesmith.domain.plan import TrainingPlan
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.lora import LoraAdapter, LoraSpec
from tunesmith.training import checkpoints, schedules
from tunesmith.training.checkpoints import LoopState
from tunesmith.training.evaluation import Validation, named
from tunesmith.training.objectives import objective_of
from tunesmith.training.optimizer import AdamW
from tunesmith.training.progress import (
    CheckpointWritten,
    Progress,
    SaveDue,
    StepDone,
    StopRequest,
)

SNAPSHOT_INTERVAL_S = 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingData:
    """Per example its rows: one, or several where the template allows no better. They may lie on
    disk: an example is asked for when its turn comes, and never all at once."""

    train_rows: Sequence[Sequence[Row]]
    valid_rows: Sequence[Sequence[Row]] = ()


def train(
    plan: TrainingPlan,
    data: TrainingData,
    base: Decoder,
    run_folder: Path,
    report: Callable[[Progress], None],
    should_stop: Callable[[], StopRequest | None],
    parent: LoraAdapter | None = None,
    *,
    base_model: str,
    snapshot_interval_s: float = SNAPSHOT_INTERVAL_S,
) -> bool:
    """Train a LoRA adapter; True when all steps are done, False when asked to stop.

    A *step* is one update of the weights, from the gradients of `plan.batch_size` examples
    however many forward passes those take. Their loss is the mean over tokens, weighted by
    message and, with `plan.prompt_loss_weight`, prompts too; with `plan.beta` it is that of
    direct preference optimisation (Hu et al. 2021 for LoRA; `losses.py`, `optimizer.py`,
    `schedules.py` for the rest).

    `run_folder` belongs to this job alone and holds checkpoints at an epoch's end and every
    `snapshot_interval_s` seconds. Called again with it, after a stop or a crash, training goes
    on from the newest; on a CPU the result has the same bits as without the interruption. The
    step that a run goes on from is reported again, with the same numbers.

    `parent` is trained further instead of a fresh adapter, at its own rank; it stays as it is.
    `base_model` is the name written into the adapter's files. Raises JobFailed when training
    diverges; what `report` and `should_stop` raise passes through.
    """
    assert len(data.train_rows) == plan.num_examples, "the plan was made for other examples"
    checkpoints.prepare(run_folder)
    saved = checkpoints.read_newest(run_folder, plan, base)
    state = LoopState() if saved is None else saved.state
    adapter = _first_adapter(plan, base, parent) if saved is None else saved.adapter
    optimizer = AdamW(
        dict(adapter.named_parameters()),
        betas=plan.adam_betas,
        eps=plan.adam_eps,
        weight_decay=plan.weight_decay,
        max_grad_norm=plan.max_grad_norm,
    )
    if saved is not None:
        optimizer.load(saved.moments)
    objective = objective_of(plan, base, adapter, parent)
    validation = Validation.prepare(plan, objective, data.valid_rows)
    upcoming_rows = _rows_by_step(plan, data, state.step)
    _log_start(plan, data, base, adapter, state)

    def save() -> Path:
        _refuse_divergence(plan, state.step, [optimizer.weight_norm()])
        report(SaveDue(state.step))
        return checkpoints.write(run_folder, state, plan, adapter, optimizer, base_model)

    saved_at = time.monotonic()
    # The extra turn lets the last validation and the last checkpoint take the ordinary road.
    for step in range(state.step, plan.num_steps + 1):
        if step > 0:
            metrics = StepMetrics(
                step,
                state.train_loss,
                state.train_mean_token_accuracy,
                state.train_sequence_accuracy,
                preference=state.train_preference,
            )
            metrics = validation.complete(metrics, plan, base, adapter)
            _refuse_divergence(plan, step, metrics.measured().values())
            report(
                StepDone(
                    metrics,
                    state.num_tokens,
                    state.elapsed_tokens,
                    plan.examples_until(step),
                    state.elapsed_s,
                )
            )

        if step > 0 and step % plan.steps_per_epoch == 0:
            report(CheckpointWritten(step, step // plan.steps_per_epoch, save(), metrics))
            saved_at = time.monotonic()
        elif time.monotonic() - saved_at >= snapshot_interval_s:
            save()
            saved_at = time.monotonic()

        if step == plan.num_steps:
            break
        if (request := should_stop()) is not None:
            if request is StopRequest.KEEP:
                save()
            return False

        started = time.perf_counter()
        rows = next(upcoming_rows)
        measured = objective.learn(objective.batches(rows))
        learning_rate = schedules.warmup_then_linear(
            step, plan.learning_rate, plan.warmup_steps, plan.num_steps
        )
        grad_norm = optimizer.step(step + 1, learning_rate)

        num_tokens = sum(len(row.token_ids) for row in rows)
        _refuse_divergence(plan, step + 1, [measured.loss, grad_norm])
        state = LoopState(
            step=step + 1,
            train_loss=measured.loss,
            train_mean_token_accuracy=measured.accuracy,
            train_sequence_accuracy=measured.sequence_accuracy,
            train_preference=named("train_", measured),
            num_tokens=num_tokens,
            elapsed_s=time.perf_counter() - started,
            elapsed_tokens=state.elapsed_tokens + num_tokens,
        )
    return True


def _first_adapter(plan: TrainingPlan, base: Decoder, parent: LoraAdapter | None) -> LoraAdapter:
    if parent is not None:
        return copy.deepcopy(parent)
    spec = LoraSpec(plan.rank, plan.alpha, plan.target_modules)
    return LoraAdapter.initialise(base.shape, spec, plan.seed, base.device)


def _rows_by_step(plan: TrainingPlan, data: TrainingData, first_step: int) -> Iterator[list[Row]]:
    """The rows of every step after `first_step` done ones."""
    first_epoch, offset = divmod(first_step, plan.steps_per_epoch)
    for epoch in range(first_epoch, plan.n_epochs):
        yield from step_batches(data.train_rows, plan.batch_size, plan.seed, epoch, offset)
        offset = 0


def _refuse_divergence(plan: TrainingPlan, step: int, values: Iterable[float | Tensor]) -> None:
    if not all(math.isfinite(value) for value in values):
        raise errors.JobFailed(
            f"Training diverged at step {step} of {plan.num_steps}: the numbers aren't finite. "
            "Create the job again with a lower learning_rate_multiplier (it was "
            f"{plan.learning_rate_multiplier:g}).",
            code="training_diverged",
            param="learning_rate_multiplier",
        )


def _log_start(
    plan: TrainingPlan, data: TrainingData, base: Decoder, adapter: LoraAdapter, state: LoopState
) -> None:
    """Every derived number with its arithmetic."""
    _log.info(
        "%d examples / %d per step = %d steps per epoch, x %d epochs = %d steps; %d done",
        *(plan.num_examples, plan.batch_size, plan.steps_per_epoch, plan.n_epochs, plan.num_steps),
        state.step,
    )
    _log.info(
        "%d validation examples; micro-batches of up to %d tokens",
        *(len(data.valid_rows), plan.max_micro_batch_tokens),
    )
    _log.info(
        "LoRA rank %d, alpha %g: %d trainable numbers (fp32); base model on %s in %s; seed %d",
        *(adapter.spec.rank, adapter.spec.alpha, adapter.num_parameters),
        *(base.device, base.embedding.dtype, plan.seed),
    )
    _log.info("learning rate up to %.3g, %d warm-up steps", plan.learning_rate, plan.warmup_steps)
