"""The tables, and how the domain's types become columns.

A column holds the domain's type, not the database's: times are aware datetimes, statuses are
enums, a plan is a `TrainingPlan`. The conversions below are the only ones, so a row and its
dataclass differ in nothing (`rows.py`).

Whoever changes a table here adds a migration (`migrations/`); a test compares the two.
"""

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
)

from tunesmith.domain.eras import Era
from tunesmith.domain.errors import ErrorDetail
from tunesmith.domain.files import FilePurpose
from tunesmith.domain.jobs import EventLevel, EventType, JobStatus, MethodType, StepMetrics
from tunesmith.domain.plan import Hyperparameters, TrainingPlan
from tunesmith.domain.uploads import UploadStatus

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

Word = TypeVar("Word", bound=StrEnum)
T = TypeVar("T")


class UtcTime(TypeDecorator[datetime]):
    """An aware time, kept as microseconds since the epoch: exact, in order, and the same in
    every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> int | None:
        if value is None:
            return None
        assert value.tzinfo is not None, "a time without a zone can't be stored"
        return (value - EPOCH) // MICROSECOND

    def process_result_value(self, value: int | None, _dialect: Dialect) -> datetime | None:
        return None if value is None else EPOCH + value * MICROSECOND


class WordOf(TypeDecorator[Word]):
    """A member of a closed list, kept as its value."""

    impl = String
    cache_ok = True

    def __init__(self, kind: type[Word]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: Word | None, _dialect: Dialect) -> str | None:
        return None if value is None else self.kind(value).value

    def process_result_value(self, value: str | None, _dialect: Dialect) -> Word | None:
        return None if value is None else self.kind(value)


class JsonOf(TypeDecorator[T]):
    """A domain value kept as JSON; None is SQL's NULL."""

    impl = JSON
    cache_ok = True

    def __init__(self, encode: Callable[[T], Any], decode: Callable[[Any], T]) -> None:
        super().__init__(none_as_null=True)
        self.encode = encode
        self.decode = decode

    def process_bind_param(self, value: T | None, _dialect: Dialect) -> Any:  # JSON: anything
        return None if value is None else self.encode(value)

    def process_result_value(self, value: Any, _dialect: Dialect) -> T | None:
        return None if value is None else self.decode(value)


def _decode_metrics(value: dict[str, Any]) -> StepMetrics:
    return StepMetrics(**value)


def _decode_error(value: dict[str, Any]) -> ErrorDetail:
    return ErrorDetail(**value)


def _position() -> Column[int]:
    """Grows with every row and is never used again: the order in which rows were made, when
    their times are equal or a clock was set back. SQLite counts only an INTEGER by itself."""
    return Column(
        "position",
        BigInteger().with_variant(Integer, "sqlite"),
        primary_key=True,
        autoincrement=True,
    )


metadata = MetaData()

organizations = Table(
    "organizations",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("created_at", UtcTime, nullable=False),
)

projects = Table(
    "projects",
    metadata,
    Column("id", String, primary_key=True),
    Column("organization_id", String, ForeignKey("organizations.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    UniqueConstraint("organization_id", "name"),
)

api_keys = Table(
    "api_keys",
    metadata,
    _position(),
    Column("id", String, nullable=False, unique=True),
    Column("digest", String, nullable=False, unique=True),
    Column("hint", String, nullable=False),
    Column("organization_id", String, ForeignKey("organizations.id"), nullable=False),
    Column("project_id", String, ForeignKey("projects.id"), nullable=False),
    Column("is_admin", Boolean, nullable=False),
    Column("is_bootstrap", Boolean, nullable=False),  # at most one: what the service starts with
    Column("created_at", UtcTime, nullable=False),
    Column("revoked_at", UtcTime),
    Column("expires_at", UtcTime),
    Column("requests_per_minute", BigInteger),
    Column("tokens_per_minute", BigInteger),
    sqlite_autoincrement=True,
)

answered_requests = Table(
    "answered_requests",
    metadata,
    Column("project_id", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("organization_id", String, nullable=False),
    Column("fingerprint", String, nullable=False),
    Column("answer", String, nullable=False),
    Column("created_at", UtcTime, nullable=False, index=True),
)

files = Table(
    "files",
    metadata,
    _position(),
    Column("id", String, nullable=False, unique=True),
    Column("organization_id", String, nullable=False),
    Column("project_id", String, nullable=False),
    Column("filename", String, nullable=False),
    Column("purpose", WordOf(FilePurpose), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("blob_key", String, nullable=False, index=True),
    Index("ix_files_newest", "organization_id", "project_id", "created_at", "position"),
    sqlite_autoincrement=True,
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", String, primary_key=True),
    Column("organization_id", String, nullable=False),
    Column("project_id", String, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False, index=True),
    Column("status", WordOf(UploadStatus), nullable=False),
    Column("filename", String, nullable=False),
    Column("purpose", WordOf(FilePurpose), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("file_expires_after_s", BigInteger),
    Column("part_ids", JsonOf(list, tuple)),
    Column("md5", String),
    Column("file_id", String),
)

upload_parts = Table(
    "upload_parts",
    metadata,
    Column("id", String, primary_key=True),
    Column("upload_id", String, ForeignKey("uploads.id"), nullable=False, index=True),
    Column("created_at", UtcTime, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("blob_key", String, nullable=False, index=True),
)

jobs = Table(
    "jobs",
    metadata,
    _position(),
    Column("id", String, nullable=False, unique=True),
    Column("organization_id", String, nullable=False),
    Column("project_id", String, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("status", WordOf(JobStatus), nullable=False),
    Column("model", String, nullable=False),
    Column("base_model", String, nullable=False),
    Column("method", WordOf(MethodType), nullable=False),
    Column("hyperparameters", JsonOf(asdict, Hyperparameters.from_json), nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("suffix", String),
    Column("metadata", JsonOf(dict, dict)),
    Column("integrations", JsonOf(list, tuple), nullable=False),
    Column("training_file_id", String, nullable=False),
    Column("training_blob", String, nullable=False, index=True),
    Column("validation_file_id", String),
    Column("validation_blob", String, index=True),
    Column("parent_adapter_id", String),
    Column("plan", JsonOf(TrainingPlan.to_json, TrainingPlan.from_json)),
    Column("estimated_finish", UtcTime),
    Column("finished_at", UtcTime),
    Column("fine_tuned_model", String),
    Column("trained_tokens", BigInteger),
    Column("result_file_id", String),
    Column("error", JsonOf(asdict, _decode_error)),
    # The lease: who works on the job until when. `fence` grows with every claim and with cancel.
    Column("worker", String),
    Column("fence", BigInteger, nullable=False),
    Column("lease_expires_at", UtcTime),
    Column(
        "num_crashes", BigInteger, nullable=False
    ),  # workers that fell silent with it, since it last got on
    Column("era", WordOf(Era), nullable=False, server_default=Era.JOBS),
    Index("ix_jobs_newest", "organization_id", "project_id", "created_at", "position"),
    Index("ix_jobs_oldest", "status", "created_at", "position"),
    sqlite_autoincrement=True,
)

# A job's metadata once more, as rows: what lists are filtered by, in any database and for any key.
job_metadata = Table(
    "job_metadata",
    metadata,
    Column("job_id", String, ForeignKey("jobs.id"), primary_key=True),
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
)

events = Table(
    "events",
    metadata,
    _position(),
    Column("id", String, nullable=False, unique=True),
    Column("job_id", String, ForeignKey("jobs.id"), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("level", WordOf(EventLevel), nullable=False),
    Column("type", WordOf(EventType), nullable=False),
    Column("message", String, nullable=False),
    Column("data", JsonOf(dict, dict)),
    Column("once", String),  # NULLs are never equal
    Column("era", WordOf(Era), server_default=Era.JOBS),  # whose API tells it; NULL: both
    UniqueConstraint("job_id", "once"),
    Index("ix_events_newest", "job_id", "position"),
    sqlite_autoincrement=True,
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _position(),
    Column("id", String, nullable=False, unique=True),
    Column("job_id", String, ForeignKey("jobs.id"), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("model_name", String, nullable=False),
    Column("adapter_id", String, nullable=False),
    Column("metrics", JsonOf(asdict, _decode_metrics), nullable=False),
    UniqueConstraint("job_id", "step"),
    sqlite_autoincrement=True,
)

tuned_models = Table(
    "tuned_models",
    metadata,
    _position(),
    Column("name", String, nullable=False, unique=True),
    Column("organization_id", String, nullable=False),
    Column("project_id", String, nullable=False),
    Column("base_model", String, nullable=False),
    Column("adapter_id", String, nullable=False),
    Column("job_id", String, ForeignKey("jobs.id"), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Index("ix_tuned_models_project", "organization_id", "project_id"),
    sqlite_autoincrement=True,
)

# Each goes with the model or the project that it is about.
model_permissions = Table(
    "model_permissions",
    metadata,
    _position(),
    Column("id", String, nullable=False, unique=True),
    Column(
        "model_name", String, ForeignKey("tuned_models.name", ondelete="CASCADE"), nullable=False
    ),
    Column(
        "project_id",
        String,
        ForeignKey("projects.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("created_at", UtcTime, nullable=False),
    UniqueConstraint("model_name", "project_id"),
    sqlite_autoincrement=True,
)

# The long column comes last: SQLite reads a row only as far as it must.
stored_completions = Table(
    "stored_completions",
    metadata,
    _position(),
    Column("id", String, nullable=False, unique=True),
    Column("organization_id", String, nullable=False),
    Column("project_id", String, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False, index=True),
    Column("model", String, nullable=False),
    Column("metadata", JsonOf(dict, dict), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("reply", String, nullable=False),
    Index("ix_stored_completions_oldest", "organization_id", "project_id", "position"),
    Index("ix_stored_completions_model", "organization_id", "project_id", "model", "position"),
    sqlite_autoincrement=True,
)

stored_messages = Table(
    "stored_messages",
    metadata,
    Column("id", String, primary_key=True),
    Column(
        "completion_id",
        String,
        ForeignKey("stored_completions.id", ondelete="CASCADE"),
        nullable=False,
    ),
    Column("number", Integer, nullable=False),
    Column("content", String, nullable=False),
    UniqueConstraint("completion_id", "number"),
)

# What a project's stored completions take together: to add it up anew each time takes too long.
stored_sizes = Table(
    "stored_sizes",
    metadata,
    Column("organization_id", String, primary_key=True),
    Column("project_id", String, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
)

# As `job_metadata`, and indexed for lists of any length: by pair, in the order of the list.
stored_metadata = Table(
    "stored_metadata",
    metadata,
    Column(
        "position",
        BigInteger,
        ForeignKey("stored_completions.position", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
    Column("project_id", String, nullable=False),
    Index("ix_stored_metadata_pair", "project_id", "key", "value", "position"),
)
