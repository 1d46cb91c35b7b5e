"""Jobs with a past: what a trainer would have written, written by the store's own methods."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from tests.api.conftest import IDS, LiveApi, now
from tunesmith.adapters.files import save_adapter
from tunesmith.domain import plan as plans
from tunesmith.domain.eras import Era
from tunesmith.domain.errors import ErrorDetail
from tunesmith.domain.files import FilePurpose, StoredFile
from tunesmith.domain.jobs import (
    Checkpoint,
    EventLevel,
    EventType,
    Job,
    JobStatus,
    Lease,
    MethodType,
    NewEvent,
    StepMetrics,
)
from tunesmith.domain.models import TunedModel, checkpoint_name, fine_tune_name, tuned_name
from tunesmith.modeling.lora import LoraAdapter, LoraSpec
from tunesmith.modeling.shape import read_shape
from tunesmith.store.blobs import file_blob_key

WORKER = "a test"
STEPS = 3
# Models of the first era are told apart by the second they were made in.
SECONDS = (timedelta(seconds=number) for number in count())
CSV = b"step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,1.50000,0.50000,,\n"


def upload(api: LiveApi, purpose: FilePurpose = FilePurpose.FINE_TUNE) -> str:
    """A file that is there; gives its id. What is in it matters to no test here."""
    file_id = IDS.file()
    key = file_blob_key(file_id)
    api.store.blobs.put_bytes(key, b"{}\n")
    api.store.files.add(stored(api, file_id, purpose=purpose))
    return file_id


def validated(api: LiveApi, job_id: str) -> Lease:
    """validating_files → queued."""
    lease = claimed(api, job_id, JobStatus.VALIDATING_FILES)
    events = [
        NewEvent("Files validated, moving job to queued state"),
        NewEvent("Fine-tune costs $0.01", era=Era.FINE_TUNES),
    ]
    api.store.jobs.move(lease, JobStatus.QUEUED, events)
    return lease


def started(api: LiveApi, job_id: str) -> Lease:
    """validating_files → queued → running."""
    lease = validated(api, job_id)
    job = _job(api, job_id)
    plan = plans.resolve(
        job.hyperparameters, job.era, num_examples=100, hidden_size=32, max_tokens=512, seed=1
    )
    events = [
        NewEvent("Fine-tuning job started", data=None),
        NewEvent("Fine-tune started", era=Era.FINE_TUNES),
    ]
    api.store.jobs.move(lease, JobStatus.RUNNING, events, plan=plan)
    return lease


def failed(api: LiveApi, job_id: str, error: ErrorDetail) -> None:
    lease = claimed(api, job_id, JobStatus.VALIDATING_FILES)
    data = {"error_code": error.code, "error_param": error.param}
    level = EventLevel.ERROR
    events = [
        NewEvent(error.message, level=level, data=data),
        NewEvent(f"Fine-tune failed. {error.message}", level=level, era=Era.FINE_TUNES),
    ]
    api.store.jobs.move(lease, JobStatus.FAILED, events, error=error)


def succeeded(api: LiveApi, job_id: str, adapter_ids: Sequence[str]) -> list[TunedModel]:
    """A job that made one checkpoint for each adapter; the last one is its model."""
    return finished(api, started(api, job_id), adapter_ids)


def finished(api: LiveApi, lease: Lease, adapter_ids: Sequence[str]) -> list[TunedModel]:
    """running → succeeded."""
    models = [
        _checkpoint(api, lease, adapter_id, step, is_last=step == len(adapter_ids))
        for step, adapter_id in enumerate(adapter_ids, start=1)
    ]
    result = stored(api, IDS.file(), "step_metrics.csv", FilePurpose.FINE_TUNE_RESULTS, len(CSV))
    api.store.blobs.put_bytes(result.blob_key, CSV)
    api.store.jobs.succeed(
        lease,
        fine_tuned_model=models[-1].name,
        trained_tokens=5070,
        result_file=result,
        events=[
            NewEvent("The job has successfully completed"),
            NewEvent(f"Uploaded model: {models[-1].name}", era=Era.FINE_TUNES),
            NewEvent(f"Uploaded result file: {result.id}", era=Era.FINE_TUNES),
            NewEvent("Fine-tune succeeded", era=Era.FINE_TUNES),
        ],
    )
    return models


def metrics(step: int) -> StepMetrics:
    is_last = step == STEPS
    return StepMetrics(
        step,
        train_loss=1.5 / step,
        train_mean_token_accuracy=0.5,
        valid_loss=0.7 if is_last else None,
        valid_mean_token_accuracy=0.6 if is_last else None,
    )


def metrics_event(step: int) -> NewEvent:
    return NewEvent(
        f"Step {step}/{STEPS}: training loss={1.5 / step:.2f}",
        type=EventType.METRICS,
        data={"step": step, "total_steps": STEPS, **metrics(step).measured()},
    )


def _checkpoint(
    api: LiveApi, lease: Lease, adapter_id: str, step: int, *, is_last: bool
) -> TunedModel:
    job = _job(api, lease.job_id)
    naming = (job.base_model, api.caller.organization.name, job.suffix)
    name = (
        tuned_name(*naming, adapter_id)
        if job.era is Era.JOBS
        else fine_tune_name(*naming, now() + next(SECONDS))
    )
    tuned = TunedModel(
        name=checkpoint_name(name, None if is_last else step),
        organization_id=job.organization_id,
        project_id=job.project_id,
        base_model=job.base_model,
        adapter_id=adapter_id,
        job_id=job.id,
        created_at=now(),
    )
    checkpoint = Checkpoint(
        id=IDS.checkpoint(),
        job_id=job.id,
        created_at=tuned.created_at,
        step=step,
        model_name=tuned.name,
        adapter_id=adapter_id,
        metrics=replace(metrics(step), step=step),
    )
    completed = NewEvent(f"Completed epoch {step}/{STEPS}", era=Era.FINE_TUNES)
    api.store.jobs.record(lease, [metrics_event(step), completed], estimated_finish=now())
    api.store.jobs.add_checkpoint(lease, checkpoint, tuned, keep=3)
    return tuned


def claimed(api: LiveApi, job_id: str, status: JobStatus) -> Lease:
    """The lease of this very job. Others that are claimed on the way wait for nobody here."""
    while (found := api.store.jobs.claim(WORKER, {status}, ttl_s=3600)) is not None:
        job, lease = found
        if job.id == job_id:
            return lease
    raise AssertionError(f"{job_id} isn't {status}, or is held already")


def _job(api: LiveApi, job_id: str) -> Job:
    job = api.store.jobs.find(api.caller.scope, job_id)
    assert job is not None
    return job


def stored(
    api: LiveApi,
    file_id: str,
    filename: str = "train.jsonl",
    purpose: FilePurpose = FilePurpose.FINE_TUNE,
    size_bytes: int = 3,
    blob_key: str | None = None,
) -> StoredFile:
    """A file's row, not written yet."""
    return StoredFile(
        id=file_id,
        organization_id=api.caller.organization.id,
        project_id=api.caller.project.id,
        filename=filename,
        purpose=purpose,
        size_bytes=size_bytes,
        created_at=now(),
        expires_at=None,
        blob_key=blob_key or file_blob_key(file_id),
    )


def tuned(api: LiveApi, base_folder: Path, seed: int, num_checkpoints: int = 1) -> list[TunedModel]:
    """Models of a succeeded job, with adapters that do something: their b is random, where
    training would have begun at zero."""
    shape = read_shape(base_folder)
    spec = LoraSpec(rank=8, alpha=32.0, target_modules=plans.TARGET_MODULES)
    ids = [IDS.adapter() for _ in range(num_checkpoints)]
    for number, adapter_id in enumerate(ids):
        torch.manual_seed(100 * seed + number)
        weights = {
            module: (a, torch.randn_like(b))
            for module, (a, b) in LoraAdapter.initialise(shape, spec, seed).weights.items()
        }
        with TemporaryDirectory() as folder:
            save_adapter(Path(folder), LoraAdapter(shape, spec, weights), "tiny")
            api.shelf.publish(adapter_id, Path(folder))
    job = new_job(api)
    api.store.jobs.create(job, [])
    return succeeded(api, job.id, ids)


def callable_model(api: LiveApi, name: str | None = None) -> TunedModel:
    """A model without weights, of a job that still trains: for tests that only ask whether it is
    there."""
    job = new_job(api)
    api.store.jobs.create(job, [])
    adapter_id = IDS.adapter()
    tuned = TunedModel(
        name=name or f"ft:tiny:local::{adapter_id}",
        organization_id=job.organization_id,
        project_id=job.project_id,
        base_model=job.base_model,
        adapter_id=adapter_id,
        job_id=job.id,
        created_at=now(),
    )
    checkpoint = Checkpoint(IDS.checkpoint(), job.id, now(), 1, tuned.name, adapter_id, metrics(1))
    lease = started(api, job.id)
    api.store.jobs.add_checkpoint(lease, checkpoint, tuned, keep=1)
    return tuned


def new_job(api: LiveApi) -> Job:
    """A job as the API would create it, not stored yet."""
    file_id = upload(api)
    return Job(
        id=IDS.job(),
        organization_id=api.caller.organization.id,
        project_id=api.caller.project.id,
        created_at=now(),
        status=JobStatus.VALIDATING_FILES,
        model="tiny",
        base_model="tiny",
        method=MethodType.SUPERVISED,
        hyperparameters=plans.Hyperparameters(),
        seed=1,
        suffix=None,
        metadata=None,
        integrations=(),
        training_file_id=file_id,
        training_blob=file_blob_key(file_id),
        validation_file_id=None,
        validation_blob=None,
    )
