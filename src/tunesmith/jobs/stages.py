"""The two stages of a job: its files are validated, then it is trained.

Each takes a claimed job and walks it to its next status. They raise what stands in the way;
`worker.py` turns that into a failed job. Here the floors below meet: store, data, model, loop.
"""

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tunesmith.adapters.shelf import AdapterShelf
from tunesmith.datasets.render import Renderer
from tunesmith.domain import errors
from tunesmith.domain.classification import ClassTokens
from tunesmith.domain.eras import Era
from tunesmith.domain.files import FilePurpose, StoredFile
from tunesmith.domain.ids import Ids
from tunesmith.domain.jobs import Job, JobStatus, MethodType, NewEvent
from tunesmith.domain.models import BaseModel, Catalog
from tunesmith.domain.plan import TrainingPlan, auto_n_epochs, resolve
from tunesmith.jobs.bench import Bench
from tunesmith.jobs.classes import find_classes
from tunesmith.jobs.data import JobFiles, check_files, survey_files
from tunesmith.jobs.leases import HeldLease
from tunesmith.jobs.reporter import Reporter
from tunesmith.jobs.results import results
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.downloads import Downloads, is_here
from tunesmith.modeling.lora import LoraAdapter
from tunesmith.store.blobs import file_blob_key
from tunesmith.store.database import Clock
from tunesmith.store.store import Store
from tunesmith.training.loop import TrainingData, train
from tunesmith.training.progress import StopRequest

log = logging.getLogger("tunesmith.worker")

POLL_S = 0.1


@dataclass(frozen=True)
class Workshop:
    """What the stages work with; the same for every job."""

    store: Store
    ids: Ids
    clock: Clock
    catalog: Catalog
    shelf: AdapterShelf
    runs_folder: Path  # one folder a job, for its rows and snapshots of its training
    reports_folder: Path  # one folder a file that somebody asked a report on
    bench: Bench
    downloads: Downloads
    reported_lines: int
    snapshot_interval_s: float
    result_file_format: str

    def run_folder(self, job_id: str) -> Path:
        return self.runs_folder / job_id


class PutBack(Exception):
    """The worker shuts down, or the job was paused: it is let go of as it is."""


def validate(
    workshop: Workshop, held: HeldLease, job: Job, is_shutting_down: Callable[[], bool]
) -> None:
    """`validating_files` → `queued`. Raises InvalidTrainingData if the files can't be used, PutBack
    when the worker shuts down."""
    files = f"training file: {job.training_file_id}"
    if job.validation_file_id:
        files += f" and validation file: {job.validation_file_id}"
    workshop.store.jobs.record(held.lease, [NewEvent(f"Validating {files}", once="validating")])
    try:
        found = _surveyed_files(workshop, held, job, is_shutting_down)
        _classes(workshop, held, job, found, is_shutting_down)
    except errors.InvalidTrainingData:
        shutil.rmtree(workshop.run_folder(job.id), ignore_errors=True)
        raise
    validated = NewEvent("Files validated, moving job to queued state")
    costs = f"Fine-tune costs ${_cost_usd(workshop, job, found):.2f}"
    events = [*found.remarks(), validated, NewEvent(costs, era=Era.FINE_TUNES)]
    workshop.store.jobs.move(held.lease, JobStatus.QUEUED, events)
    workshop.store.jobs.release(held.lease)


def run(
    workshop: Workshop, held: HeldLease, job: Job, is_shutting_down: Callable[[], bool]
) -> None:
    """`queued` (or `running`, after a crash) → `succeeded`.

    Raises PutBack, with a snapshot on disk, when the worker shuts down or the job was paused;
    returns early when the lease is lost.
    """
    files = _surveyed_files(workshop, held, job, is_shutting_down)
    lengths = files.training.survey.lengths
    assert lengths is not None, "a file without anything to learn is refused"
    base = _base_model(workshop, job)
    decoder = workshop.bench.base_model(base.source)
    plan = job.plan or resolve(
        job.hyperparameters,
        job.era,
        num_examples=lengths.count,
        hidden_size=decoder.shape.hidden_size,
        max_tokens=files.training.survey.max_tokens,
        seed=job.seed,
        classes=_classes(workshop, held, job, files, is_shutting_down),
        by_preference=job.method is MethodType.DPO,
    )
    if job.status is JobStatus.QUEUED:
        started = [
            NewEvent("Fine-tuning job started", data=None, once="started"),
            NewEvent("Fine-tune started", era=Era.FINE_TUNES, once="fine-tune started"),
        ]
        workshop.store.jobs.move(held.lease, JobStatus.RUNNING, started, plan=plan)

    reporter = Reporter(
        workshop.store, workshop.shelf, workshop.ids, workshop.clock, held, job, plan
    )
    parent = _parent_adapter(workshop, job, decoder)
    run_folder = workshop.run_folder(job.id)
    with files.rows() as (train_rows, valid_rows):
        try:
            is_finished = train(
                plan,
                TrainingData(train_rows, valid_rows),
                decoder,
                run_folder,
                reporter,
                lambda: _stop_request(held, is_shutting_down),
                parent,
                base_model=job.base_model,
                snapshot_interval_s=workshop.snapshot_interval_s,
            )
        except errors.JobFailed:
            reporter.flush()  # the steps up to there tell why
            raise
    if held.is_lost:
        return
    reporter.flush()
    if not is_finished:
        raise PutBack
    try:
        _succeed(workshop, held, job, plan, lengths.total)
    except errors.JobPaused:
        raise PutBack from None
    shutil.rmtree(run_folder, ignore_errors=True)


def _surveyed_files(
    workshop: Workshop, held: HeldLease, job: Job, is_shutting_down: Callable[[], bool]
) -> JobFiles:
    """The job's files, checked and rendered, as long as somebody wants that: it may take minutes.
    Raises InvalidTrainingData, LeaseLost, PutBack."""

    def watch() -> None:
        _raise_if_unwanted(held, is_shutting_down)

    base, blobs = _base_model(workshop, job), workshop.store.blobs
    if not is_here(Path(base.source)):
        check_files(blobs, job, base, workshop.reported_lines, watch)
        _wait_for_download(workshop, base, held, is_shutting_down)
    run_folder = workshop.run_folder(job.id)
    return survey_files(blobs, job, base, run_folder, workshop.reported_lines, watch)


def _classes(
    workshop: Workshop,
    held: HeldLease,
    job: Job,
    files: JobFiles,
    is_shutting_down: Callable[[], bool],
) -> ClassTokens | None:
    """Of a classifier whose metrics were asked for. Raises as `_surveyed_files` does."""
    asked = job.hyperparameters.classification
    if asked is None:
        return None
    renderer = Renderer.load(Path(_base_model(workshop, job).source))
    return find_classes(files, asked, renderer, lambda: _raise_if_unwanted(held, is_shutting_down))


def _wait_for_download(
    workshop: Workshop, base: BaseModel, held: HeldLease, is_shutting_down: Callable[[], bool]
) -> None:
    """Until the base model is on this machine. Raises Unavailable, UnsupportedModel: a job whose
    base model can't be had fails at once, with the reason."""
    download = workshop.downloads.start(base)
    if download is None:
        return
    text = f"Downloading base model {download.repository.id}"
    begun = NewEvent(text, once="downloading", era=None)
    workshop.store.jobs.record(held.lease, [begun])
    while not download.wait(POLL_S):
        _raise_if_unwanted(held, is_shutting_down)


def _raise_if_unwanted(held: HeldLease, is_shutting_down: Callable[[], bool]) -> None:
    if held.is_lost:
        raise errors.LeaseLost(f"{held.lease.job_id} was cancelled, or given to another worker")
    if is_shutting_down() or held.is_paused:
        raise PutBack


def _stop_request(held: HeldLease, is_shutting_down: Callable[[], bool]) -> StopRequest | None:
    if held.is_lost:
        return StopRequest.DROP
    return StopRequest.KEEP if is_shutting_down() or held.is_paused else None


def _cost_usd(workshop: Workshop, job: Job, files: JobFiles) -> float:
    lengths = files.training.survey.lengths
    assert lengths is not None, "a file without anything to learn is refused"
    n_epochs = job.hyperparameters.n_epochs or auto_n_epochs(lengths.count)
    price = _base_model(workshop, job).prices.training
    return lengths.total * n_epochs * price / 1e6


def _base_model(workshop: Workshop, job: Job) -> BaseModel:
    base = workshop.catalog.find(job.base_model)
    if base is None:
        raise errors.JobFailed(
            f"The base model {job.base_model} is no longer in this installation's catalogue. "
            "Put it back into models.toml and create the job again.",
            param="model",
            code="model_not_available",
        )
    return base


def _parent_adapter(workshop: Workshop, job: Job, decoder: Decoder) -> LoraAdapter | None:
    """Of the tuned model that the job goes on from, if it does."""
    if job.parent_adapter_id is None:
        return None
    folder = workshop.shelf.path(job.parent_adapter_id)
    if not folder.is_dir():
        raise errors.JobFailed(
            f"The model {job.model}, which this job was to go on from, was deleted. Create the job "
            "again from another model.",
            param="model",
            code="model_not_available",
        )
    return workshop.bench.adapter(folder, decoder)


def _succeed(
    workshop: Workshop, held: HeldLease, job: Job, plan: TrainingPlan, tokens_per_epoch: int
) -> None:
    """Writes the result file and closes the job: bytes first, then all rows at once."""
    store = workshop.store
    metrics = [event.data or {} for event in store.events.all_metrics(job.id)]
    made = results(job, plan, metrics, workshop.result_file_format)
    file_id = workshop.ids.file()
    result_file = StoredFile(
        id=file_id,
        organization_id=job.organization_id,
        project_id=job.project_id,
        filename=made.filename,
        purpose=FilePurpose.FINE_TUNE_RESULTS,
        size_bytes=len(made.content),
        created_at=workshop.clock(),
        expires_at=None,
        blob_key=file_blob_key(file_id),
    )
    store.blobs.put_bytes(result_file.blob_key, made.content)
    *earlier, last = reversed(store.checkpoints.page(job.id, limit=plan.kept_checkpoints).items)
    closing = [f"Checkpoint created at step {checkpoint.step}" for checkpoint in earlier]
    closing.append(f"New fine-tuned model created: {last.model_name}")
    closing.append("The job has successfully completed")
    first_era = [
        f"Uploaded model: {last.model_name}",
        f"Uploaded result file: {file_id}",
        "Fine-tune succeeded",
    ]
    store.jobs.succeed(
        held.lease,
        fine_tuned_model=last.model_name,
        trained_tokens=tokens_per_epoch * plan.n_epochs,
        result_file=result_file,
        events=[
            *(NewEvent(message) for message in closing),
            *(NewEvent(message, era=Era.FINE_TUNES) for message in first_era),
        ],
    )
    log.info("%s succeeded: %s", job.id, last.model_name)
