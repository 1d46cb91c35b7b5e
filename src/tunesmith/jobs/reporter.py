"""Carries what the training loop says into the store.

The loop reports every step; a small model makes dozens of them a second. Metrics events are
therefore gathered and written in one transaction a few times a second, and always before a
checkpoint or snapshot is written: a run that goes on from it won't tell them again.
"""

import hashlib
import time
from datetime import datetime, timedelta

from tunesmith.adapters.shelf import AdapterShelf
from tunesmith.domain import models
from tunesmith.domain.eras import Era
from tunesmith.domain.ids import BASE62, Ids
from tunesmith.domain.jobs import Checkpoint, EventType, Job, NewEvent
from tunesmith.domain.plan import TrainingPlan
from tunesmith.jobs.leases import HeldLease
from tunesmith.store.database import Clock
from tunesmith.store.store import Store
from tunesmith.training.progress import CheckpointWritten, Progress, SaveDue, StepDone

FLUSH_INTERVAL_S = 0.25
CLOSING_S = 1.0  # after the last step: its checkpoint and the result file


class Reporter:
    def __init__(
        self,
        store: Store,
        shelf: AdapterShelf,
        ids: Ids,
        clock: Clock,
        held: HeldLease,
        job: Job,
        plan: TrainingPlan,
    ) -> None:
        self._store = store
        self._shelf = shelf
        self._ids = ids
        self._clock = clock
        self._held = held
        self._job = job
        self._plan = plan
        self._pending: list[NewEvent] = []
        self._flushed_at = self._first_step_at = time.monotonic()
        self._first_step: int | None = None
        self._last_step = 0
        self._organization = store.tenants.organization(job.organization_id)

    def __call__(self, progress: Progress) -> None:
        """Takes the loop's reports. Raises LeaseLost: then the loop must not save either, or
        whoever goes on from there would believe that all until there has been told."""
        if isinstance(progress, StepDone):
            self._step(progress)
        elif isinstance(progress, SaveDue):
            self.flush()
        else:
            self._checkpoint(progress)

    def flush(self) -> None:
        """Writes what is pending. Raises LeaseLost."""
        if not self._pending:
            return
        status = self._store.jobs.record(
            self._held.lease, self._pending, estimated_finish=self._estimated_finish()
        )
        self._held.see(status)
        self._pending = []
        self._flushed_at = time.monotonic()

    def _step(self, done: StepDone) -> None:
        step = done.metrics.step
        if self._first_step is None:
            self._first_step, self._first_step_at = step, time.monotonic()
        self._last_step = step
        self._pending.append(metrics_event(done, self._plan.num_steps, self._job.era))
        if time.monotonic() - self._flushed_at >= FLUSH_INTERVAL_S:
            self.flush()

    def _checkpoint(self, written: CheckpointWritten) -> None:
        job, is_last = self._job, written.step == self._plan.num_steps
        adapter_id = adapter_id_of(job.id, written.step)
        self._shelf.publish(adapter_id, written.adapter_folder)
        name = self._model_name(adapter_id, None if is_last else written.step)
        checkpoint = Checkpoint(
            id=self._ids.checkpoint(),
            job_id=job.id,
            created_at=self._clock(),
            step=written.step,
            model_name=name,
            adapter_id=adapter_id,
            metrics=written.metrics,
        )
        tuned = models.TunedModel(
            name=name,
            organization_id=job.organization_id,
            project_id=job.project_id,
            base_model=job.base_model,
            adapter_id=adapter_id,
            job_id=job.id,
            created_at=checkpoint.created_at,
        )
        self._store.jobs.add_checkpoint(
            self._held.lease, checkpoint, tuned, keep=self._plan.kept_checkpoints
        )
        completed = f"Completed epoch {written.epoch}/{self._plan.n_epochs}"
        once = f"epoch {written.epoch}"
        self._pending.append(NewEvent(completed, once=once, era=Era.FINE_TUNES))

    def _model_name(self, adapter_id: str, step: int | None) -> str:
        """Of the job's model, or of its checkpoint at `step`. The first era told models apart by
        the second they were made in: where that is taken, the next that is free."""
        naming = (self._job.base_model, self._organization.name, self._job.suffix)
        if self._job.era is Era.JOBS:
            return models.checkpoint_name(models.tuned_name(*naming, adapter_id), step)
        made_at = self._clock()
        while True:
            name = models.checkpoint_name(models.fine_tune_name(*naming, made_at), step)
            if not self._store.tuned_models.is_taken(name):
                return name
            made_at += timedelta(seconds=1)

    def _estimated_finish(self) -> datetime | None:
        """Now and what the remaining steps take at this run's pace; None before there is one. An
        earlier worker's steps don't count: it had other conditions, and time went by since."""
        if self._first_step is None or self._last_step == self._first_step:
            return None
        pace_s = (time.monotonic() - self._first_step_at) / (self._last_step - self._first_step)
        remaining = self._plan.num_steps - self._last_step
        return self._clock() + timedelta(seconds=pace_s * remaining + CLOSING_S)


def adapter_id_of(job_id: str, step: int) -> str:
    """The 8 characters that name a job's adapter of one step.

    Derived, not drawn: a checkpoint that is published again after a crash gets the same name.
    """
    number = int.from_bytes(hashlib.sha256(f"{job_id}/{step}".encode()).digest())
    characters = []
    for _ in range(8):
        number, digit = divmod(number, len(BASE62))
        characters.append(BASE62[digit])
    return "".join(characters)


def metrics_event(done: StepDone, num_steps: int, era: Era) -> NewEvent:
    """A step as an event (behaviour reference, section 6.3; `tokens_per_second` is our own). With a
    job of the first era it also holds what else the result file tells."""
    metrics = done.metrics
    message = f"Step {metrics.step}/{num_steps}: training loss={metrics.train_loss:.2f}"
    if metrics.valid_loss is not None:
        message += f", validation loss={metrics.valid_loss:.2f}"
    if metrics.full_valid_loss is not None:
        message += f", full validation loss={metrics.full_valid_loss:.2f}"
    data = {
        "step": metrics.step,
        "total_steps": num_steps,
        **metrics.measured(),
        "tokens_per_second": round(done.num_tokens / done.elapsed_s, 1),
    }
    if era is Era.FINE_TUNES:
        data |= {
            **metrics.sequence_accuracies(),
            "elapsed_tokens": done.elapsed_tokens,
            "elapsed_examples": done.elapsed_examples,
        }
    return NewEvent(message, type=EventType.METRICS, data=data, once=f"step {metrics.step}")
