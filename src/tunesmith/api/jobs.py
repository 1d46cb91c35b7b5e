"""/v1/fine_tuning/jobs (behaviour reference, sections 4 to 7).

Creating a job only checks what needs no look into the files: that they exist and are meant for
training, and that the model can be trained. Their content is the worker's to judge, as the job's
first stage.
"""

from dataclasses import replace
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from tunesmith.api import validation
from tunesmith.api.any_job import created, find_job, job_not_found, new_job, refuse_other_purpose
from tunesmith.api.auth import CallerDep
from tunesmith.api.bodies import json_body
from tunesmith.api.context import Services, ServicesDep
from tunesmith.api.idempotency import OnceDep
from tunesmith.api.metadata_filters import METADATA_FILTER, metadata_filter
from tunesmith.api.serving import trainable_model
from tunesmith.api.streams import long_json
from tunesmith.domain import errors
from tunesmith.domain.eras import Era
from tunesmith.domain.files import StoredFile
from tunesmith.domain.jobs import Event, Job, MethodType
from tunesmith.domain.pages import Page, Place, in_parts
from tunesmith.domain.tenancy import Caller
from tunesmith.wire.base import list_json
from tunesmith.wire.checkpoints import CheckpointListReply, checkpoint_list_reply
from tunesmith.wire.events import EventListReply, event_reply
from tunesmith.wire.jobs import CreateJobRequest, JobListReply, JobReply, job_reply

MAX_PAGE = 10_000

router = APIRouter()

Body = Annotated[CreateJobRequest, Depends(json_body(CreateJobRequest, validation.job_refusal))]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]


@router.post("/fine_tuning/jobs")
def create_job(caller: CallerDep, services: ServicesDep, once: OnceDep, body: Body) -> JobReply:
    content = body.model_dump_json()
    once.recall(content)
    job = _new_job(services, caller, body)
    reply = job_reply(job)
    services.store.jobs.create(job, created(job), once.record(content, reply))
    return reply


@router.get(
    "/fine_tuning/jobs",
    response_model=JobListReply,
    openapi_extra={"parameters": [METADATA_FILTER]},
)
def list_jobs(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    limit: Limit = 20,
    after: str | None = None,
) -> Response:
    metadata, without_metadata = metadata_filter(request)
    now = services.clock()

    def page(limit: int, after: str | Place | None) -> Page[Job]:
        return services.store.jobs.page(
            caller.scope,
            limit=limit,
            after=after,
            metadata=metadata,
            without_metadata=without_metadata,
        )

    parts = in_parts(page, limit, after)
    return long_json(list_json(parts, lambda job: job_reply(_as_of(now, job))))


@router.get("/fine_tuning/jobs/{job_id}")
def retrieve_job(job_id: str, caller: CallerDep, services: ServicesDep) -> JobReply:
    return job_reply(_as_of(services.clock(), find_job(services, caller, job_id)))


@router.post("/fine_tuning/jobs/{job_id}/cancel")
def cancel_job(job_id: str, caller: CallerDep, services: ServicesDep) -> JobReply:
    """A body, should there be one, means nothing and isn't read."""
    job = services.store.jobs.cancel(caller.scope, job_id)
    if job is None:
        raise job_not_found(job_id)
    return job_reply(job)


@router.post("/fine_tuning/jobs/{job_id}/pause")
def pause_job(job_id: str, caller: CallerDep, services: ServicesDep) -> JobReply:
    """A job that runs stops as soon as its trainer has written a snapshot."""
    job = services.store.jobs.pause(caller.scope, job_id)
    if job is None:
        raise job_not_found(job_id)
    return job_reply(job)


@router.post("/fine_tuning/jobs/{job_id}/resume")
def resume_job(job_id: str, caller: CallerDep, services: ServicesDep) -> JobReply:
    """A paused job queues again and goes on exactly where it stopped."""
    job = services.store.jobs.resume(caller.scope, job_id)
    if job is None:
        raise job_not_found(job_id)
    return job_reply(job)


@router.get("/fine_tuning/jobs/{job_id}/events", response_model=EventListReply)
def list_events(
    job_id: str,
    caller: CallerDep,
    services: ServicesDep,
    limit: Limit = 20,
    after: str | None = None,
) -> Response:
    job = find_job(services, caller, job_id)

    def page(limit: int, after: str | Place | None) -> Page[Event]:
        return services.store.events.page(job.id, limit=limit, after=after)

    return long_json(list_json(in_parts(page, limit, after), event_reply))


@router.get("/fine_tuning/jobs/{job_id}/checkpoints")
def list_checkpoints(
    job_id: str,
    caller: CallerDep,
    services: ServicesDep,
    limit: Limit = 10,
    after: str | None = None,
) -> CheckpointListReply:
    job = find_job(services, caller, job_id)
    return checkpoint_list_reply(services.store.checkpoints.page(job.id, limit=limit, after=after))


def _new_job(services: Services, caller: Caller, body: CreateJobRequest) -> Job:
    """The job that a request asks for, not stored yet. Raises InvalidRequest."""
    method = body.asked_method()
    training = _training_file(services, caller, body.training_file, "training_file")
    validation_file = (
        _training_file(services, caller, body.validation_file, "validation_file")
        if body.validation_file is not None
        else None
    )
    model = trainable_model(services.store, services.catalog, caller.scope, body.model)
    if method is MethodType.DPO and not model.base.takes_preferences:
        raise errors.InvalidRequest(
            f"The method 'dpo' compares answers in conversations, and {model.name} takes none. "
            "Choose a chat model, or leave `method` out.",
            param="method",
        )
    return new_job(
        services,
        caller,
        model,
        training,
        validation_file,
        era=Era.JOBS,
        hyperparameters=body.asked_hyperparameters(),
        suffix=body.suffix,
        method=method,
        seed=body.seed,
        metadata=body.metadata,
        integrations=body.asked_integrations(),
    )


def _training_file(services: Services, caller: Caller, file_id: str, param: str) -> StoredFile:
    file = services.store.files.find(caller.scope, file_id)
    if file is None:
        raise errors.InvalidRequest(f"invalid {param}: {file_id}", param=param)
    refuse_other_purpose(file, param)
    return file


def _as_of(now: datetime, job: Job) -> Job:
    """Without an estimate that the clock has overtaken: whoever made it is late, or dead."""
    is_past = job.estimated_finish is not None and job.estimated_finish <= now
    return replace(job, estimated_finish=None) if is_past else job
