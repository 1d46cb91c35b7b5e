"""Fine-tunes of the first era and their events on the wire (behaviour reference, sections 20.3
and 20.4). Jobs of today look the same here."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Literal

from pydantic import Field

from tunesmith.domain.eras import fine_tune_id_of
from tunesmith.domain.fine_tunes import FineTune
from tunesmith.domain.jobs import Event, Job, JobStatus, NewEvent
from tunesmith.domain.plan import FINE_TUNES_MULTIPLIER
from tunesmith.wire.base import Reply, is_none, unix_seconds
from tunesmith.wire.files import FileReply, file_reply

STATUS = {
    JobStatus.VALIDATING_FILES: "pending",
    JobStatus.QUEUED: "pending",
    JobStatus.RUNNING: "running",
    JobStatus.PAUSED: "pending",  # by today's API; its events tell
    JobStatus.SUCCEEDED: "succeeded",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "cancelled",
}


class FineTuneHyperparametersReply(Reply):
    """Null is what will be a number once training is planned."""

    n_epochs: int | None
    batch_size: int | None
    prompt_loss_weight: float
    learning_rate_multiplier: float | None
    compute_classification_metrics: bool | None = Field(default=None, exclude_if=is_none)
    classification_n_classes: int | None = Field(default=None, exclude_if=is_none)
    classification_positive_class: str | None = Field(default=None, exclude_if=is_none)
    classification_betas: list[float] | None = Field(default=None, exclude_if=is_none)


class FineTuneEventReply(Reply):
    object: Literal["fine-tune-event"] = "fine-tune-event"
    created_at: int
    level: str
    message: str


class FineTuneEventListReply(Reply):
    """Not paged: all at once."""

    object: Literal["list"] = "list"
    data: list[FineTuneEventReply]


class FineTuneItemReply(Reply):
    """A fine-tune in a list, which tells no events."""

    object: Literal["fine-tune"] = "fine-tune"
    id: str
    hyperparams: FineTuneHyperparametersReply
    organization_id: str
    model: str
    training_files: list[FileReply]
    validation_files: list[FileReply]
    result_files: list[FileReply]
    created_at: int
    updated_at: int
    status: str
    fine_tuned_model: str | None


class FineTuneReply(FineTuneItemReply):
    events: list[FineTuneEventReply]


class FineTuneListReply(Reply):
    """Not paged: all at once."""

    object: Literal["list"] = "list"
    data: list[FineTuneItemReply]


def fine_tune_reply(fine_tune: FineTune, events: Iterable[Event]) -> FineTuneReply:
    told = [fine_tune_event_reply(event, event.created_at) for event in events]
    return FineTuneReply(**vars(_item_reply(fine_tune)), events=told)


def new_fine_tune_reply(fine_tune: FineTune, events: Iterable[NewEvent]) -> FineTuneReply:
    """Of one that is about to be stored with these events."""
    told = [fine_tune_event_reply(event, fine_tune.job.created_at) for event in events]
    return FineTuneReply(**vars(_item_reply(fine_tune)), events=told)


def fine_tune_list_json(parts: Iterable[Sequence[FineTune]]) -> Iterator[bytes]:
    """A `FineTuneListReply`, written part by part: it may be too long to be held whole."""
    before = '{"object":"list","data":['
    for part in parts:
        yield (before + ",".join(_item_reply(one).model_dump_json() for one in part)).encode()
        before = ","
    yield b"]}" if before == "," else f"{before}]}}".encode()


def fine_tune_event_list_reply(events: Sequence[Event]) -> FineTuneEventListReply:
    return FineTuneEventListReply(
        data=[fine_tune_event_reply(event, event.created_at) for event in events]
    )


def fine_tune_event_reply(event: Event | NewEvent, created_at: datetime) -> FineTuneEventReply:
    return FineTuneEventReply(
        created_at=unix_seconds(created_at), level=event.level.value, message=event.message
    )


def _item_reply(fine_tune: FineTune) -> FineTuneItemReply:
    job = fine_tune.job
    training, validation, result = (
        [] if file is None else [file_reply(file)]
        for file in (fine_tune.training_file, fine_tune.validation_file, fine_tune.result_file)
    )
    return FineTuneItemReply(
        id=fine_tune_id_of(job.id),
        hyperparams=_hyperparameters_reply(job),
        organization_id=job.organization_id,
        model=job.model,
        training_files=training,
        validation_files=validation,
        result_files=result,
        created_at=unix_seconds(job.created_at),
        updated_at=unix_seconds(fine_tune.updated_at),
        status=STATUS[job.status],
        fine_tuned_model=job.fine_tuned_model,
    )


def _hyperparameters_reply(job: Job) -> FineTuneHyperparametersReply:
    known, asked = job.plan or job.hyperparameters, job.hyperparameters.classification
    return FineTuneHyperparametersReply(
        n_epochs=known.n_epochs,
        batch_size=known.batch_size,
        prompt_loss_weight=known.prompt_loss_weight,
        learning_rate_multiplier=_multiplier_of_the_era(known.learning_rate_multiplier),
        compute_classification_metrics=True if asked else None,
        classification_n_classes=asked.num_classes if asked else None,
        classification_positive_class=asked.positive_class if asked else None,
        classification_betas=list(asked.betas) or None if asked else None,
    )


def _multiplier_of_the_era(multiplier: float | None) -> float | None:
    """Rounded beyond what a double holds for sure, so that 0.1 comes back as 0.1."""
    return None if multiplier is None else float(f"{multiplier / FINE_TUNES_MULTIPLIER:.12g}")
