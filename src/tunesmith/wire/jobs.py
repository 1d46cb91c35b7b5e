"""Fine-tuning jobs on the wire (behaviour reference, sections 4 and 11).

A job's hyperparameters are asked for in one of two places, `method` or the older top-level
`hyperparameters`, and are echoed in both: as "auto" or the number asked for until training is
planned, as the plan's numbers from then on.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from tunesmith.domain import errors
from tunesmith.domain.errors import ErrorDetail
from tunesmith.domain.jobs import Job, MethodType
from tunesmith.domain.models import MAX_SUFFIX_LENGTH
from tunesmith.domain.pages import Page
from tunesmith.domain.plan import BATCH_SIZE, N_EPOCHS, Hyperparameters
from tunesmith.wire.base import (
    ListReply,
    Metadata,
    Name,
    Reply,
    Request,
    unix_seconds,
    unix_seconds_or_none,
)

MAX_SEED = 2**31 - 1
MAX_INTEGRATIONS = 5

Number = TypeVar("Number", int, float)
Auto = Literal["auto"]


class HyperparametersRequest(Request):
    batch_size: Auto | Annotated[int, Field(ge=BATCH_SIZE[0], le=BATCH_SIZE[-1])] | None = None
    learning_rate_multiplier: Auto | Annotated[float, Field(gt=0)] | None = None
    n_epochs: Auto | Annotated[int, Field(ge=N_EPOCHS[0], le=N_EPOCHS[-1])] | None = None


class SupervisedRequest(Request):
    hyperparameters: HyperparametersRequest | None = None


class MethodRequest(Request):
    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: SupervisedRequest | None = None
    # Any: refused as a whole until these methods are built.
    dpo: dict[str, Any] | None = None
    reinforcement: dict[str, Any] | None = None


class WandbRequest(Request):
    project: str
    name: str | None = None
    entity: str | None = None
    tags: list[Annotated[str, Field(max_length=64)]] = Field(default_factory=list, max_length=50)


class IntegrationRequest(Request):
    type: Literal["wandb"]
    wandb: WandbRequest


class CreateJobRequest(Request):
    model: Name
    training_file: Name
    validation_file: Name | None = None
    suffix: Annotated[str, Field(min_length=1, max_length=MAX_SUFFIX_LENGTH)] | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    method: MethodRequest | None = None
    hyperparameters: HyperparametersRequest | None = None
    integrations: Annotated[list[IntegrationRequest], Field(max_length=MAX_INTEGRATIONS)] | None = (
        None
    )
    metadata: Metadata | None = None

    def asked_method(self) -> MethodType:
        """The method asked for. Raises InvalidRequest for one that isn't built yet."""
        asked = self.method.model_dump(exclude_none=True) if self.method else {}
        for method in (MethodType.DPO, MethodType.REINFORCEMENT):
            if method.value in (asked.get("type"), *asked):
                raise errors.InvalidRequest(
                    f"The method '{method.value}' isn't supported yet. Use 'supervised', or leave "
                    "`method` out.",
                    param="method",
                    code="unsupported_method",
                )
        return MethodType.SUPERVISED

    def asked_hyperparameters(self) -> Hyperparameters:
        """What was asked for, `method` first (behaviour reference, section 11)."""
        asked = self.hyperparameters
        if self.method and self.method.supervised and self.method.supervised.hyperparameters:
            asked = self.method.supervised.hyperparameters
        if asked is None:
            return Hyperparameters()
        return Hyperparameters(
            n_epochs=_number(asked.n_epochs),
            batch_size=_number(asked.batch_size),
            learning_rate_multiplier=_number(asked.learning_rate_multiplier),
        )

    def asked_integrations(self) -> tuple[dict[str, Any], ...]:
        """As they are stored and echoed: what the client sent, nothing filled in."""
        return tuple(item.model_dump(exclude_unset=True) for item in self.integrations or ())


class HyperparametersReply(Reply):
    """All three keys, always: typed clients broke when one was missing."""

    n_epochs: int | Auto
    batch_size: int | Auto
    learning_rate_multiplier: float | Auto


class SupervisedReply(Reply):
    hyperparameters: HyperparametersReply


class MethodReply(Reply):
    type: Literal["supervised"] = "supervised"
    supervised: SupervisedReply


class JobErrorReply(Reply):
    code: str
    message: str
    param: str | None


class JobReply(Reply):
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    id: str
    model: str
    created_at: int
    finished_at: int | None
    fine_tuned_model: str | None
    organization_id: str
    result_files: list[str]
    status: str
    validation_file: str | None
    training_file: str
    hyperparameters: HyperparametersReply
    trained_tokens: int | None
    error: JobErrorReply | None
    user_provided_suffix: str | None
    seed: int
    estimated_finish: int | None
    integrations: list[dict[str, Any]]  # Any: echoed as sent
    method: MethodReply
    metadata: dict[str, str] | None
    usage_metrics: None = None
    shared_with_openai: Literal[False] = False
    eval_id: None = None


class JobListReply(ListReply[JobReply]):
    pass


def job_reply(job: Job) -> JobReply:
    hyperparameters = _hyperparameters_reply(job)
    return JobReply(
        id=job.id,
        model=job.model,
        created_at=unix_seconds(job.created_at),
        finished_at=unix_seconds_or_none(job.finished_at),
        fine_tuned_model=job.fine_tuned_model,
        organization_id=job.organization_id,
        result_files=[job.result_file_id] if job.result_file_id else [],
        status=job.status.value,
        validation_file=job.validation_file_id,
        training_file=job.training_file_id,
        hyperparameters=hyperparameters,
        trained_tokens=job.trained_tokens,
        error=_error_reply(job.error),
        user_provided_suffix=job.suffix,
        seed=job.seed,
        estimated_finish=unix_seconds_or_none(job.estimated_finish),
        integrations=[dict(integration) for integration in job.integrations],
        method=MethodReply(supervised=SupervisedReply(hyperparameters=hyperparameters)),
        metadata=None if job.metadata is None else dict(job.metadata),
    )


def job_list_reply(page: Page[Job]) -> JobListReply:
    return JobListReply(data=[job_reply(job) for job in page.items], has_more=page.has_more)


def _hyperparameters_reply(job: Job) -> HyperparametersReply:
    known = job.plan or job.hyperparameters
    return HyperparametersReply(
        n_epochs=known.n_epochs or "auto",
        batch_size=known.batch_size or "auto",
        learning_rate_multiplier=known.learning_rate_multiplier or "auto",
    )


def _error_reply(error: ErrorDetail | None) -> JobErrorReply | None:
    """Null for a job that has not failed: the one form that every typed client copes with."""
    if error is None:
        return None
    return JobErrorReply(code=error.code, message=error.message, param=error.param)


def _number(value: Number | Auto | None) -> Number | None:
    return None if isinstance(value, str) else value
