"""The two stages of a job: its files are validated, then it is trained.

Each takes a claimed job and walks it to its next status. They raise what stands in the way;
`worker.py` turns that into a failed job. Here the floors below meet: store, data, model, loop.
"""

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tunesmith.adapters.shelf import AdapterShelf
from tunesmith.datasets.render import Renderer
from tunesmith.domain import errors
from tunesmith.domain.chat import Example
from tunesmith.domain.files import FilePurpose, StoredFile
from tunesmith.domain.ids import Ids
from tunesmith.domain.jobs import Job, JobStatus, NewEvent
from tunesmith.domain.models import BaseModel, Catalog
from tunesmith.domain.plan import TrainingPlan, resolve
from tunesmith.jobs import results
from tunesmith.jobs.bench import Bench
from tunesmith.jobs.data import check_files, render_file, training_data
from tunesmith.jobs.leases import HeldLease
from tunesmith.jobs.reporter import Reporter
from tunesmith.modeling.decoder import Decoder
from tunesmith.modeling.downloads import Downloads
from tunesmith.modeling.lora import LoraAdapter
from tunesmith.modeling.shape import read_shape
from tunesmith.store.blobs import file_blob_key
from tunesmith.store.database import Clock
from tunesmith.store.store import Store
from tunesmith.training.loop import train
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
    runs_folder: Path  # one folder a job, for snapshots of its training
    bench: Bench
    downloads: Downloads
    reported_lines: int
    snapshot_interval_s: float
    result_file_format: str

    def run_folder(self, job_id: str) -> Path:
        return self.runs_folder / job_id


class PutBack(Exception):
    """The worker shuts down: the job goes back into the queue as it is."""


def validate(
    workshop: Workshop, held: HeldLease, job: Job, is_shutting_down: Callable[[], bool]
) -> None:
    """`validating_files` → `queued`. Raises InvalidTrainingData if the files can't be used, PutBack
    when the worker shuts down."""
    files = f"training file: {job.training_file_id}"
    if job.validation_file_id:
        files += f" and validation file: {job.validation_file_id}"
    workshop.store.jobs.record(held.lease, [NewEvent(f"Validating {files}", once="validating")])
    base = _base_model(workshop, job)
    checked = check_files(workshop.store, job, workshop.reported_lines)
    _wait_for_download(workshop, base, held, is_shutting_down)
    renderer = Renderer.load(Path(base.source))
    max_tokens = training_context(base)
    remarks = []
    for kind, examples in (("training", checked.train), ("validation", checked.valid)):
        wanted = _while_wanted(examples, held, is_shutting_down)
        rendered = render_file(renderer, wanted, max_tokens, f"{kind}_file")
        remarks += rendered.remarks(kind, max_tokens)
    validated = NewEvent("Files validated, moving job to queued state")
    workshop.store.jobs.move(held.lease, JobStatus.QUEUED, [*remarks, validated])
    workshop.store.jobs.release(held.lease)


def run(
    workshop: Workshop, held: HeldLease, job: Job, is_shutting_down: Callable[[], bool]
) -> None:
    """`queued` (or `running`, after a crash) → `succeeded`.

    Raises PutBack, with a snapshot on disk, when the worker shuts down; returns early when the
    lease is lost.
    """
    base = _base_model(workshop, job)
    checked = check_files(workshop.store, job, workshop.reported_lines)
    _wait_for_download(workshop, base, held, is_shutting_down)
    renderer = Renderer.load(Path(base.source))
    max_tokens = training_context(base)
    train_examples = _while_wanted(checked.train, held, is_shutting_down)
    train_file = render_file(renderer, train_examples, max_tokens, "training_file")
    valid_examples = _while_wanted(checked.valid, held, is_shutting_down)
    valid_file = render_file(renderer, valid_examples, max_tokens, "validation_file")
    decoder = workshop.bench.base_model(base.source)
    plan = job.plan or resolve(
        job.hyperparameters,
        num_examples=len(train_file.rows),
        hidden_size=decoder.shape.hidden_size,
        max_tokens=max_tokens,
        seed=job.seed,
    )
    if job.status is JobStatus.QUEUED:
        started = NewEvent("Fine-tuning job started", data=None)
        workshop.store.jobs.move(held.lease, JobStatus.RUNNING, [started], plan=plan)

    reporter = Reporter(
        workshop.store, workshop.shelf, workshop.ids, workshop.clock, held, job, plan
    )
    parent = _parent_adapter(workshop, job, decoder)
    run_folder = workshop.run_folder(job.id)
    try:
        is_finished = train(
            plan,
            training_data(train_file, valid_file),
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
    _succeed(workshop, held, job, plan, train_file.num_tokens)
    shutil.rmtree(run_folder, ignore_errors=True)


def _while_wanted(
    examples: Iterable[Example], held: HeldLease, is_shutting_down: Callable[[], bool]
) -> Iterator[Example]:
    """`examples`, as long as somebody wants the work on them: a file may keep us for minutes."""
    for example in examples:
        _raise_if_unwanted(held, is_shutting_down)
        yield example


def _wait_for_download(
    workshop: Workshop, base: BaseModel, held: HeldLease, is_shutting_down: Callable[[], bool]
) -> None:
    """Until the base model is on this machine. Raises Unavailable, UnsupportedModel: a job whose
    base model can't be had fails at once, with the reason."""
    download = workshop.downloads.start(base)
    if download is None:
        return
    begun = NewEvent(f"Downloading base model {download.repository.id}", once="downloading")
    workshop.store.jobs.record(held.lease, [begun])
    while not download.wait(POLL_S):
        _raise_if_unwanted(held, is_shutting_down)


def _raise_if_unwanted(held: HeldLease, is_shutting_down: Callable[[], bool]) -> None:
    if held.is_lost:
        raise errors.LeaseLost(f"{held.lease.job_id} was cancelled, or given to another worker")
    if is_shutting_down():
        raise PutBack


def _stop_request(held: HeldLease, is_shutting_down: Callable[[], bool]) -> StopRequest | None:
    if held.is_lost:
        return StopRequest.DROP
    return StopRequest.KEEP if is_shutting_down() else None


def training_context(base: BaseModel) -> int:
    """Tokens per example: what the catalogue says, within what the weights allow."""
    possible = read_shape(Path(base.source)).max_positions
    return min(base.training_context or possible, possible)


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
    content = results.encoded(results.step_metrics_csv(metrics), workshop.result_file_format)
    file_id = workshop.ids.file()
    result_file = StoredFile(
        id=file_id,
        organization_id=job.organization_id,
        project_id=job.project_id,
        filename=results.FILENAME,
        purpose=FilePurpose.FINE_TUNE_RESULTS,
        size_bytes=len(content),
        created_at=workshop.clock(),
        expires_at=None,
        blob_key=file_blob_key(file_id),
    )
    store.blobs.put_bytes(result_file.blob_key, content)
    *earlier, last = reversed(store.checkpoints.page(job.id, limit=plan.kept_checkpoints).items)
    closing = [f"Checkpoint created at step {checkpoint.step}" for checkpoint in earlier]
    closing.append(f"New fine-tuned model created: {last.model_name}")
    closing.append("The job has successfully completed")
    store.jobs.succeed(
        held.lease,
        fine_tuned_model=last.model_name,
        trained_tokens=tokens_per_epoch * plan.n_epochs,
        result_file=result_file,
        events=[NewEvent(message) for message in closing],
    )
    log.info("%s succeeded: %s", job.id, last.model_name)
