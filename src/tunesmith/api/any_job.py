"""What the APIs of both eras do alike: find a job, and make one of files and a model."""

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.api.context import Services
from tunesmith.api.serving import ServedModel
from tunesmith.domain import errors
from tunesmith.domain.eras import Era, fine_tune_id_of
from tunesmith.domain.files import FilePurpose, StoredFile
from tunesmith.domain.jobs import Job, JobStatus, MethodType, NewEvent
from tunesmith.domain.models import clean_suffix
from tunesmith.domain.plan import Hyperparameters
from tunesmith.domain.tenancy import Caller


def find_job(services: Services, caller: Caller, id: str) -> Job:
    """By its id of either era. Raises NotFound."""
    job = services.store.jobs.find(caller.scope, id)
    if job is None:
        raise job_not_found(id)
    return job


def job_not_found(id: str) -> errors.NotFound:
    """The names are of the first era's API; clients of today's rely on them all the same."""
    return errors.NotFound(
        f"Could not find fine tune: {id}", param="fine_tune_id", code="fine_tune_not_found"
    )


def refuse_other_purpose(file: StoredFile, param: str) -> None:
    """Raises InvalidRequest for a file that isn't meant for training."""
    if file.purpose is not FilePurpose.FINE_TUNE:
        raise errors.InvalidRequest(
            f"File '{file.id}' has purpose '{file.purpose.value}', expected 'fine-tune'. Upload it "
            "again with that purpose.",
            param=param,
        )


def new_job(
    services: Services,
    caller: Caller,
    model: ServedModel,
    training: StoredFile,
    validation: StoredFile | None,
    *,
    era: Era,
    hyperparameters: Hyperparameters,
    suffix: str | None,
    method: MethodType = MethodType.SUPERVISED,
    seed: int | None = None,
    metadata: Mapping[str, str] | None = None,
    integrations: Sequence[Mapping[str, Any]] = (),  # Any: echoed as sent
) -> Job:
    """A job at its beginning, not stored yet. Raises InvalidRequest for a suffix that can't become
    a part of a name."""
    if suffix is not None:
        clean_suffix(suffix)
    return Job(
        id=services.ids.job(),
        organization_id=caller.organization.id,
        project_id=caller.project.id,
        created_at=services.clock(),
        status=JobStatus.VALIDATING_FILES,
        model=model.name,
        base_model=model.base.name,
        method=method,
        hyperparameters=hyperparameters,
        seed=services.ids.seed() if seed is None else seed,
        suffix=suffix,
        metadata=metadata,
        integrations=tuple(integrations),
        training_file_id=training.id,
        training_blob=training.blob_key,
        validation_file_id=validation.id if validation else None,
        validation_blob=validation.blob_key if validation else None,
        era=era,
        parent_adapter_id=model.tuned.adapter_id if model.tuned else None,
    )


def created(job: Job) -> list[NewEvent]:
    """A job's first events, in the words of each era."""
    return [
        NewEvent(f"Created fine-tuning job: {job.id}"),
        NewEvent(f"Created fine-tune: {fine_tune_id_of(job.id)}", era=Era.FINE_TUNES),
    ]
