"""/v1/files/{file_id}/report: what a job would say of a file, before there is one.

An extension of OpenAI's API. The file is judged as a training file for a model; a file that can't
be used is a report too, with what is wrong in it.
"""

import re
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.concurrency import run_in_threadpool

from tunesmith.api.auth import CallerDep
from tunesmith.api.context import Services, ServicesDep
from tunesmith.api.files import find_file
from tunesmith.api.serving import ServedModel, trainable_model
from tunesmith.domain import errors
from tunesmith.domain.eras import MIN_EXAMPLES, Era
from tunesmith.domain.examples import Format
from tunesmith.domain.files import FilePurpose, StoredFile
from tunesmith.domain.plan import Hyperparameters, TrainingPlan, resolve
from tunesmith.domain.surveys import TRAINING, Survey
from tunesmith.domain.tenancy import Caller
from tunesmith.modeling.shape import read_shape
from tunesmith.wire.reports import (
    LINE_ID,
    ExampleListReply,
    FileReportReply,
    Report,
    example_list_reply,
    report_reply,
)

MAX_PAGE = 10_000

router = APIRouter()


@router.get("/files/{file_id}/report")
async def report_on_file(
    file_id: str, caller: CallerDep, services: ServicesDep, model: str
) -> FileReportReply:
    file, served = await _asked(services, caller, file_id, model)
    survey = await services.reports.survey(file, served.base)
    return await run_in_threadpool(_reply, file, served, survey)


@router.get("/files/{file_id}/report/examples")
async def list_report_examples(
    file_id: str,
    caller: CallerDep,
    services: ServicesDep,
    model: str,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
    after: str | None = None,
) -> ExampleListReply:
    """The file's good examples one by one, in its order."""
    file, served = await _asked(services, caller, file_id, model)
    after_line = None if after is None else _line(after)
    page = await services.reports.examples(file, served.base, limit, after_line)
    return example_list_reply(page)


async def _asked(
    services: Services, caller: Caller, file_id: str, model: str
) -> tuple[StoredFile, ServedModel]:
    """The file and the model that a report is asked for, once the model is on this machine. Raises
    NotFound, InvalidRequest, Unavailable."""
    file = await run_in_threadpool(find_file, services, caller, file_id)
    if file.purpose is not FilePurpose.FINE_TUNE:
        raise errors.InvalidRequest(
            f"File '{file_id}' has purpose '{file.purpose.value}'; only files with purpose "
            "'fine-tune' have a report.",
            param="file_id",
        )
    served = await run_in_threadpool(
        trainable_model, services.store, services.catalog, caller.scope, model
    )
    await services.models.when_here(services.models.renderer, served.base)
    return file, served


def _reply(file: StoredFile, model: ServedModel, survey: Survey) -> FileReportReply:
    problems = survey.all_problems(file.id, MIN_EXAMPLES[Era.JOBS])
    plan = None if problems else _plan(model, survey)
    return report_reply(
        Report(
            file.id,
            model.name,
            survey,
            problems,
            survey.warnings(TRAINING),
            plan,
            model.base.prices.training,
        )
    )


def _plan(model: ServedModel, survey: Survey) -> TrainingPlan:
    return resolve(
        Hyperparameters(),
        num_examples=survey.num_examples,
        hidden_size=read_shape(Path(model.base.source)).hidden_size,
        max_tokens=survey.max_tokens,
        seed=0,
        by_preference=survey.format is Format.PREFERENCES,
    )


def _line(after: str) -> int:
    number = after.removeprefix(LINE_ID)
    if after.startswith(LINE_ID) and re.fullmatch("[0-9]{1,18}", number):
        return int(number)
    raise errors.InvalidRequest(
        f"Invalid 'after': there is no example '{after[:100]}' in this report.", param="after"
    )
