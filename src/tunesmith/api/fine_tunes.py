"""/v1/fine-tunes, the API of the first era (behaviour reference, section 20; decision 0010).

The jobs are the same as those of `/v1/fine_tuning/jobs`, in other words: see `any_job.py`. Nothing
here is paged, and everything is told oldest first.
"""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.responses import Response

from tunesmith.api.any_job import created, find_job, job_not_found, new_job, refuse_other_purpose
from tunesmith.api.auth import CallerDep, refuse_ended_key
from tunesmith.api.bodies import json_body
from tunesmith.api.context import Services, ServicesDep
from tunesmith.api.followers import Look, News
from tunesmith.api.idempotency import OnceDep
from tunesmith.api.models import delete_tuned_model
from tunesmith.api.openapi import EVENT
from tunesmith.api.schema_refusal import fine_tune_refusal
from tunesmith.api.serving import ServedModel, find_trainable
from tunesmith.api.streams import EventStream, end_with_server, long_json
from tunesmith.domain import errors
from tunesmith.domain.eras import Era
from tunesmith.domain.files import StoredFile
from tunesmith.domain.fine_tunes import FineTune
from tunesmith.domain.jobs import Event
from tunesmith.domain.tenancy import Caller
from tunesmith.wire.base import DeletedReply
from tunesmith.wire.fine_tune_replies import (
    FineTuneEventListReply,
    FineTuneEventReply,
    FineTuneListReply,
    FineTuneReply,
    fine_tune_event_list_reply,
    fine_tune_event_reply,
    fine_tune_list_json,
    fine_tune_reply,
    new_fine_tune_reply,
)
from tunesmith.wire.fine_tunes import CreateFineTuneRequest

# This API asks for no seed: the same request makes the same model.
SEED = 1


class ModelNameConvertor(PathConvertor):
    """Names of models may hold slashes, as ids of jobs don't. All of them hold a colon, so that the
    routes below `/fine-tunes/{fine_tune_id}/` are told from them."""

    regex = ".*:.*"


register_url_convertor("model_name", ModelNameConvertor())

router = APIRouter()

Body = Annotated[
    CreateFineTuneRequest, Depends(json_body(CreateFineTuneRequest, fine_tune_refusal))
]


@router.post("/fine-tunes")
def create_fine_tune(
    caller: CallerDep, services: ServicesDep, once: OnceDep, body: Body
) -> FineTuneReply:
    content = body.model_dump_json()
    once.recall(content)
    fine_tune = _new_fine_tune(services, caller, body)
    events = created(fine_tune.job)
    reply = new_fine_tune_reply(fine_tune, [e for e in events if e.era is Era.FINE_TUNES])
    services.store.jobs.create(fine_tune.job, events, once.record(content, reply))
    return reply


@router.get("/fine-tunes", response_model=FineTuneListReply)
def list_fine_tunes(caller: CallerDep, services: ServicesDep) -> Response:
    return long_json(fine_tune_list_json(services.store.fine_tunes.parts(caller.scope)))


@router.get("/fine-tunes/{fine_tune_id}")
def retrieve_fine_tune(
    fine_tune_id: str, caller: CallerDep, services: ServicesDep
) -> FineTuneReply:
    fine_tune = services.store.fine_tunes.find(caller.scope, fine_tune_id)
    if fine_tune is None:
        raise job_not_found(fine_tune_id)
    return fine_tune_reply(fine_tune, _events(services, fine_tune.job.id))


@router.post("/fine-tunes/{fine_tune_id}/cancel")
def cancel_fine_tune(fine_tune_id: str, caller: CallerDep, services: ServicesDep) -> FineTuneReply:
    """A body, should there be one, means nothing and isn't read."""
    if services.store.jobs.cancel(caller.scope, fine_tune_id) is None:
        raise job_not_found(fine_tune_id)
    return retrieve_fine_tune(fine_tune_id, caller, services)


@router.get(
    "/fine-tunes/{fine_tune_id}/events",
    response_model=FineTuneEventListReply,
    responses={200: {"content": {"text/event-stream": {"schema": EVENT}}}},
)
def list_fine_tune_events(
    fine_tune_id: str,
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    stream: bool = False,
) -> FineTuneEventListReply | Response:
    job = find_job(services, caller, fine_tune_id)
    if not stream:
        return fine_tune_event_list_reply(_events(services, job.id))
    end_with_server(request)
    look = _look(services, caller, job.id)
    return EventStream(services.followers.follow(caller.project.id, look, _written))


@router.delete("/fine-tunes/{fine_tune_id}")
@router.delete("/fine-tunes/{fine_tune_id:model_name}", include_in_schema=False)
async def delete_fine_tune(
    fine_tune_id: str, caller: CallerDep, services: ServicesDep
) -> DeletedReply:
    """Deletes a model, by its name or by the id of the job that made it. Jobs stay."""
    name = await run_in_threadpool(_model_name, services, caller, fine_tune_id)
    return await delete_tuned_model(services, caller, name)


def _new_fine_tune(services: Services, caller: Caller, body: CreateFineTuneRequest) -> FineTune:
    """What a request asks for, not stored yet. Raises InvalidRequest."""
    hyperparameters = body.asked_hyperparameters()
    training = _file(services, caller, body.training_file, "training_file")
    validation = (
        _file(services, caller, body.validation_file, "validation_file")
        if body.validation_file is not None
        else None
    )
    job = new_job(
        services,
        caller,
        _base_model(services, caller, body.model),
        training,
        validation,
        era=Era.FINE_TUNES,
        hyperparameters=hyperparameters,
        suffix=body.suffix,
        seed=SEED,
    )
    return FineTune(job, job.created_at, training, validation)


def _file(services: Services, caller: Caller, file_id: str, param: str) -> StoredFile:
    file = services.store.files.find(caller.scope, file_id)
    if file is None:
        raise errors.InvalidRequest(f"No file with ID: {file_id}", param="file")
    refuse_other_purpose(file, param)
    return file


def _base_model(services: Services, caller: Caller, name: str) -> ServedModel:
    model = find_trainable(services.store, services.catalog, caller.scope, name)
    if model is None:
        names = ", ".join(services.catalog.entries)
        raise errors.InvalidRequest(
            f"Invalid base model: {name} (you can fine-tune {names}, or a model that was "
            "fine-tuned from one of these)"
        )
    return model


def _events(services: Services, job_id: str) -> Sequence[Event]:
    events, _ = services.store.events.since(job_id, Era.FINE_TUNES)
    return events


def _look(services: Services, caller: Caller, job_id: str) -> Look:
    def look(position: int) -> News:
        refuse_ended_key(services, caller)
        # In this order: a job that has ended gets no more events, so those read then are all.
        has_ended = find_job(services, caller, job_id).status.is_terminal
        events, newest = services.store.events.since(job_id, Era.FINE_TUNES, position)
        return News(events, newest, has_ended)

    return look


def _written(event: Event) -> FineTuneEventReply:
    return fine_tune_event_reply(event, event.created_at)


def _model_name(services: Services, caller: Caller, id: str) -> str:
    """The model that is meant by `id`. Raises NotFound, InvalidRequest for a job without one."""
    job = services.store.jobs.find(caller.scope, id)
    if job is None:
        if ":" in id:
            return id
        raise job_not_found(id)
    if job.fine_tuned_model is None:
        todo = (
            "It made none."
            if job.status.is_terminal
            else "Cancel it instead, or wait until it has succeeded."
        )
        raise errors.InvalidRequest(f"The fine-tune {id} has no model to delete. {todo}")
    return job.fine_tuned_model
