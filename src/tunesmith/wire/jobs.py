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
from tunesmith.domain.plan import BATCH_SIZE, MAX_BETA, N_EPOCHS, Hyperparameters
from tunesmith.wire.base import (
    ListReply,
    Metadata,
    Name,
    Reply,
    Request,
    is_none,
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


class PreferenceHyperparametersRequest(HyperparametersRequest):
    beta: Auto | Annotated[float, Field(gt=0, le=MAX_BETA)] | None = None


class SupervisedRequest(Request):
    hyperparameters: HyperparametersRequest | None = None


class DpoRequest(Request):
    hyperparameters: PreferenceHyperparametersRequest | None = None


class MethodRequest(Request):
    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: SupervisedRequest | None = None
    dpo: DpoRequest | None = None
    reinforcement: dict[str, Any] | None = None  # Any: refused as a whole until it is built


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
        """The method asked for. Raises InvalidRequest for one that isn't built yet, and for the
        settings of another one."""
        if self.method is None:
            return MethodType.SUPERVISED
        method = MethodType(self.method.type)
        for other in MethodType:
            is_there = getattr(self.method, other.value) is not None
            if other is MethodType.REINFORCEMENT and (is_there or method is other):
                raise errors.InvalidRequest(
                    "The method 'reinforcement' isn't supported yet. Use 'supervised' or 'dpo', or "
                    "leave `method` out.",
                    param="method",
                    code="unsupported_method",
                )
            if is_there and other is not method:
                raise errors.InvalidRequest(
                    f"`method.{other}` was sent with the type '{method}', which has no use for it. "
                    f"Leave it out, or ask for the type '{other}'.",
                    param=f"method.{other}",
                )
        return method

    def asked_hyperparameters(self) -> Hyperparameters:
        """What was asked for, `method` first (behaviour reference, section 11)."""
        of_method = self.method and (self.method.supervised or self.method.dpo)
        asked = (of_method and of_method.hyperparameters) or self.hyperparameters
        if asked is None:
            return Hyperparameters()
        beta = asked.beta if isinstance(asked, PreferenceHyperparametersRequest) else None
        return Hyperparameters(
            n_epochs=_number(asked.n_epochs),
            batch_size=_number(asked.batch_size),
            learning_rate_multiplier=_number(asked.learning_rate_multiplier),
            beta=_number(beta),
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


class PreferenceHyperparametersReply(HyperparametersReply):
    beta: float | Auto


class DpoReply(Reply):
    hyperparameters: PreferenceHyperparametersReply


class MethodReply(Reply):
    """The type, and the key of that name."""

    type: Literal["supervised", "dpo"]
    supervised: SupervisedReply | None = Field(default=None, exclude_if=is_none)
    dpo: DpoReply | None = Field(default=None, exclude_if=is_none)


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
        method=_method_reply(job, hyperparameters),
        metadata=None if job.metadata is None else dict(job.metadata),
    )


def _hyperparameters_reply(job: Job) -> HyperparametersReply:
    known = job.plan or job.hyperparameters
    return HyperparametersReply(
        n_epochs=known.n_epochs or "auto",
        batch_size=known.batch_size or "auto",
        learning_rate_multiplier=known.learning_rate_multiplier or "auto",
    )


def _method_reply(job: Job, hyperparameters: HyperparametersReply) -> MethodReply:
    if job.method is not MethodType.DPO:
        return MethodReply(
            type="supervised", supervised=SupervisedReply(hyperparameters=hyperparameters)
        )
    known = job.plan or job.hyperparameters
    own = PreferenceHyperparametersReply(**vars(hyperparameters), beta=known.beta or "auto")
    return MethodReply(type="dpo", dpo=DpoReply(hyperparameters=own))


def _error_reply(error: ErrorDetail | None) -> JobErrorReply | None:
    """Null for a job that has not failed: the one form that every typed client copes with."""
    if error is None:
        return None
    return JobErrorReply(code=error.code, message=error.message, param=error.param)


def _number(value: Number | Auto | None) -> Number | None:
    return None if isinstance(value, str) else value
