"""The life of a fine-tuning job: its states, the legal moves, and what it leaves behind.

    validating_files ──► queued ──► running ──► succeeded
           │               │          │
           │               ▲ │        │  │
           │               │ │        ▼  │
           │               └─┼── paused  │
           └─────────────────┴────────┴──┴──► failed, cancelled

A job is paused by its owner while it runs: its worker leaves a snapshot and lets go of it. Resumed,
it queues again and goes on from there.
The store applies a move with one guarded UPDATE; nothing else changes a status.
Source: behaviour reference, sections 4 to 7.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from tunesmith.domain.eras import Era
from tunesmith.domain.errors import ErrorDetail
from tunesmith.domain.plan import Hyperparameters, TrainingPlan


class JobStatus(StrEnum):
    VALIDATING_FILES = "validating_files"
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        return not LEGAL_MOVES[self]


LEGAL_MOVES: Mapping[JobStatus, frozenset[JobStatus]] = {
    JobStatus.VALIDATING_FILES: frozenset(
        {JobStatus.QUEUED, JobStatus.FAILED, JobStatus.CANCELLED}
    ),
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELLED}),
    JobStatus.RUNNING: frozenset(
        {JobStatus.SUCCEEDED, JobStatus.PAUSED, JobStatus.FAILED, JobStatus.CANCELLED}
    ),
    # Its worker may still find out that it can't go on.
    JobStatus.PAUSED: frozenset({JobStatus.QUEUED, JobStatus.FAILED, JobStatus.CANCELLED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
}


class MethodType(StrEnum):
    SUPERVISED = "supervised"
    DPO = "dpo"
    REINFORCEMENT = "reinforcement"


@dataclass(frozen=True)
class Job:
    """A job's row, whole. `hyperparameters` is what the client asked for; `plan`, from the
    moment training starts, is what that became."""

    id: str
    organization_id: str
    project_id: str
    created_at: datetime
    status: JobStatus
    model: str  # resolved: a dated base name, or the `ft:` name that is trained further
    base_model: str  # the catalogue entry whose weights are used
    method: MethodType
    hyperparameters: Hyperparameters
    seed: int
    suffix: str | None
    metadata: Mapping[str, str] | None
    integrations: tuple[Mapping[str, Any], ...]  # echoed as the client sent them
    training_file_id: str
    training_blob: str
    validation_file_id: str | None
    validation_blob: str | None
    era: Era = Era.JOBS  # whose API made it: decides the model's name and the result file
    parent_adapter_id: str | None = None  # of the `ft:` model that is trained further
    plan: TrainingPlan | None = None
    estimated_finish: datetime | None = None
    finished_at: datetime | None = None
    fine_tuned_model: str | None = None
    trained_tokens: int | None = None
    result_file_id: str | None = None
    error: ErrorDetail | None = None


class EventLevel(StrEnum):
    INFO = "info"
    WARN = "warn"
    ERROR = "error"


class EventType(StrEnum):
    MESSAGE = "message"
    METRICS = "metrics"


@dataclass(frozen=True)
class NewEvent:
    """An event about to be written; the store adds id, position and time. Events are told by
    the API of their `era`, in its own words; those without one by both.

    `once` names what must be told only once in a job's life, such as a step's metrics: work that
    is repeated after a crash tells the same again, and the store leaves out what is already there.
    """

    message: str
    level: EventLevel = EventLevel.INFO
    type: EventType = EventType.MESSAGE
    data: Mapping[str, Any] | None = field(default_factory=dict)
    once: str | None = None
    era: Era | None = Era.JOBS


@dataclass(frozen=True)
class Event:
    id: str
    job_id: str
    created_at: datetime
    level: EventLevel
    type: EventType
    message: str
    data: Mapping[str, Any] | None


TOKEN_METRICS = (
    "train_loss",
    "train_mean_token_accuracy",
    "valid_loss",
    "valid_mean_token_accuracy",
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
)
SEQUENCE_METRICS = (
    "train_sequence_accuracy",
    "valid_sequence_accuracy",
    "full_valid_sequence_accuracy",
)


@dataclass(frozen=True)
class StepMetrics:
    """What one optimiser step measured. Losses are in nats per unit of loss weight; accuracies are
    shares of what is learned that the most likely prediction gets right: of the tokens, or of the
    sequences in which it gets all of them right. None: not measured at this step."""

    step: int  # 1-based
    train_loss: float
    train_mean_token_accuracy: float
    train_sequence_accuracy: float | None = None
    valid_loss: float | None = None
    valid_mean_token_accuracy: float | None = None
    valid_sequence_accuracy: float | None = None
    full_valid_loss: float | None = None
    full_valid_mean_token_accuracy: float | None = None
    full_valid_sequence_accuracy: float | None = None
    classification: Mapping[str, float] = field(default_factory=dict)  # by their columns' names
    preference: Mapping[str, float] = field(default_factory=dict)  # by their columns' names

    def measured(self) -> dict[str, float]:
        """The metrics that were measured, by the names that today's jobs have for them and a
        classifier's by their own; `step` and what only the first era tells left out."""
        return {**self._measured(TOKEN_METRICS), **self.classification, **self.preference}

    def sequence_accuracies(self) -> dict[str, float]:
        """Those that were measured: the first era tells them."""
        return self._measured(SEQUENCE_METRICS)

    def _measured(self, names: Sequence[str]) -> dict[str, float]:
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True)
class Checkpoint:
    """A snapshot of a job's adapter that can be used as a model."""

    id: str
    job_id: str
    created_at: datetime
    step: int
    model_name: str
    adapter_id: str
    metrics: StepMetrics


@dataclass(frozen=True)
class Lease:
    """The right to work on a job. `fence` grows with every claim: a write with an older fence
    is refused (`LeaseLost`), however late its worker wakes up."""

    job_id: str
    worker: str
    fence: int
    num_crashes: int = 0  # workers that fell silent with the job in hand, since it last got on
