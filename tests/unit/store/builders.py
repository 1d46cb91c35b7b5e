"""Small real objects for the store's tests: each builder gives a whole one, to be changed by
`dataclasses.replace` or keywords."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tunesmith.domain.answered import AnsweredRequest
from tunesmith.domain.errors import ErrorDetail
from tunesmith.domain.files import FilePurpose, StoredFile
from tunesmith.domain.jobs import Checkpoint, Job, JobStatus, Lease, MethodType, StepMetrics
from tunesmith.domain.models import TunedModel
from tunesmith.domain.plan import Hyperparameters, TrainingPlan
from tunesmith.domain.stored_completions import StoredCompletion, StoredMessage
from tunesmith.domain.tenancy import Scope
from tunesmith.domain.uploads import LIFETIME, Upload, UploadPart, UploadStatus
from tunesmith.store.blobs import file_blob_key, part_blob_key
from tunesmith.store.store import Store

START = datetime(2026, 11, 22, 9, 30, 15, 123457, tzinfo=UTC)
OURS = Scope("org-ours", "proj_ours")
MAX_PART_BYTES = 64 * 2**20
PLAN = TrainingPlan(
    num_examples=10,
    n_epochs=2,
    batch_size=4,
    learning_rate_multiplier=1.8,
    learning_rate=1e-3,
    warmup_steps=1,
    num_steps=6,
    steps_per_epoch=3,
    seed=7,
    max_tokens=256,
)
ERROR = ErrorDetail("invalid_n_examples", "file-1 has 4 example(s)", "training_file")


@dataclass
class FixedClock:
    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def stored_file(id: str = "file-1", scope: Scope = OURS, **changes: Any) -> StoredFile:
    file = StoredFile(
        id=id,
        organization_id=scope.organization_id,
        project_id=scope.project_id,
        filename="train.jsonl",
        purpose=FilePurpose.FINE_TUNE,
        size_bytes=6,
        created_at=START,
        expires_at=None,
        blob_key=file_blob_key(id),
    )
    return replace(file, **changes)


def an_upload(id: str = "upload_1", scope: Scope = OURS, **changes: Any) -> Upload:
    upload = Upload(
        id=id,
        organization_id=scope.organization_id,
        project_id=scope.project_id,
        created_at=START,
        expires_at=START + LIFETIME,
        status=UploadStatus.PENDING,
        filename="train.jsonl",
        purpose=FilePurpose.FINE_TUNE,
        size_bytes=6,
        file_expires_after_s=None,
    )
    return replace(upload, **changes)


def add_part(
    store: Store,
    id: str,
    upload_id: str = "upload_1",
    content: bytes = b"line 1",
    scope: Scope = OURS,
) -> str:
    """As the API does: the blob first, then the row."""
    key = part_blob_key(id)
    size_bytes = store.blobs.put_bytes(key, content)
    part = UploadPart(id, upload_id, START, size_bytes, key)
    assert store.uploads.add_part(scope, part, MAX_PART_BYTES)
    return id


def an_answer(key: str = "key-1", scope: Scope = OURS, **changes: Any) -> AnsweredRequest:
    answered = AnsweredRequest(
        organization_id=scope.organization_id,
        project_id=scope.project_id,
        key=key,
        fingerprint="what was asked",
        answer='{"id":"file-1"}',
        created_at=START,
    )
    return replace(answered, **changes)


def a_job(id: str = "ftjob-1", file_id: str = "file-1", scope: Scope = OURS, **changes: Any) -> Job:
    job = Job(
        id=id,
        organization_id=scope.organization_id,
        project_id=scope.project_id,
        created_at=START,
        status=JobStatus.VALIDATING_FILES,
        model="gpt-4o-mini-2024-07-18",
        base_model="gpt-4o-mini-2024-07-18",
        method=MethodType.SUPERVISED,
        hyperparameters=Hyperparameters(),
        seed=7,
        suffix=None,
        metadata=None,
        integrations=(),
        training_file_id=file_id,
        training_blob=file_blob_key(file_id),
        validation_file_id=None,
        validation_blob=None,
    )
    return replace(job, **changes)


def a_checkpoint(step: int, job_id: str = "ftjob-1") -> Checkpoint:
    return Checkpoint(
        id=f"ftckpt_{job_id}_{step}",
        job_id=job_id,
        created_at=START,
        step=step,
        model_name=f"ft:base:ours::{job_id}:ckpt-step-{step}",
        adapter_id=f"adapt{step:03}",
        metrics=StepMetrics(step, train_loss=1 / step, train_mean_token_accuracy=0.5),
    )


def tuned_by(checkpoint: Checkpoint, scope: Scope = OURS) -> TunedModel:
    return TunedModel(
        name=checkpoint.model_name,
        organization_id=scope.organization_id,
        project_id=scope.project_id,
        base_model="gpt-4o-mini-2024-07-18",
        adapter_id=checkpoint.adapter_id,
        job_id=checkpoint.job_id,
        created_at=START,
    )


def add_file(store: Store, file: StoredFile) -> StoredFile:
    store.blobs.put_bytes(file.blob_key, b"line 1")
    store.files.add(file)
    return file


def add_job(store: Store, job: Job) -> Job:
    """The job, and its training file if that isn't there yet."""
    scope = Scope(job.organization_id, job.project_id)
    if store.files.find(scope, job.training_file_id) is None:
        add_file(store, stored_file(job.training_file_id, scope))
    store.jobs.create(job, [])
    return job


def running_job(
    store: Store, id: str = "ftjob-1", worker: str = "worker-1", scope: Scope = OURS
) -> Lease:
    """A job that trains under a lease of 60 seconds."""
    add_job(store, a_job(id, scope=scope))
    claimed = store.jobs.claim(worker, [JobStatus.VALIDATING_FILES], ttl_s=60)
    assert claimed is not None
    store.jobs.move(claimed[1], JobStatus.QUEUED)
    store.jobs.move(claimed[1], JobStatus.RUNNING, plan=PLAN)
    return claimed[1]


def a_completion(id: str = "chatcmpl-1", scope: Scope = OURS, **changes: Any) -> StoredCompletion:
    completion = StoredCompletion(
        id=id,
        organization_id=scope.organization_id,
        project_id=scope.project_id,
        created_at=START,
        expires_at=START + timedelta(days=30),
        model="tiny",
        metadata={},
        size_bytes=100,
        reply="{}",
    )
    return replace(completion, **changes)


def add_completion(
    store: Store,
    id: str = "chatcmpl-1",
    scope: Scope = OURS,
    *,
    num_messages: int = 1,
    max_bytes: int = 10_000,
    **changes: Any,
) -> int:
    """Gives back how many others made room for it."""
    messages = [StoredMessage(f"{id}-{number}", id, number, "{}") for number in range(num_messages)]
    return store.stored_completions.add(a_completion(id, scope, **changes), messages, max_bytes)
