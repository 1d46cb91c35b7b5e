"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

POSITION = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def position() -> sa.Column[int]:
    return sa.Column("position", POSITION, primary_key=True, autoincrement=True)


def upgrade() -> None:
    create_tenants()
    create_files()
    create_jobs()
    create_results()


def create_tenants() -> None:
    op.create_table(
        "organizations",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("organization_id", sa.String, sa.ForeignKey("organizations.id"), nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("organization_id", "name"),
    )
    op.create_table(
        "api_keys",
        position(),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("digest", sa.String, nullable=False, unique=True),
        sa.Column("hint", sa.String, nullable=False),
        sa.Column("organization_id", sa.String, sa.ForeignKey("organizations.id"), nullable=False),
        sa.Column("project_id", sa.String, sa.ForeignKey("projects.id"), nullable=False),
        sa.Column("is_admin", sa.Boolean, nullable=False),
        sa.Column("is_bootstrap", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
        sqlite_autoincrement=True,
    )


def create_files() -> None:
    op.create_table(
        "files",
        position(),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("project_id", sa.String, nullable=False),
        sa.Column("filename", sa.String, nullable=False),
        sa.Column("purpose", sa.String, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("blob_key", sa.String, nullable=False, index=True),
        sa.Index("ix_files_newest", "organization_id", "project_id", "created_at", "position"),
        sqlite_autoincrement=True,
    )


def create_jobs() -> None:
    op.create_table(
        "jobs",
        position(),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("project_id", sa.String, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("base_model", sa.String, nullable=False),
        sa.Column("method", sa.String, nullable=False),
        sa.Column("hyperparameters", sa.JSON, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.Column("suffix", sa.String),
        sa.Column("metadata", sa.JSON),
        sa.Column("integrations", sa.JSON, nullable=False),
        sa.Column("training_file_id", sa.String, nullable=False),
        sa.Column("training_blob", sa.String, nullable=False, index=True),
        sa.Column("validation_file_id", sa.String),
        sa.Column("validation_blob", sa.String, index=True),
        sa.Column("parent_adapter_id", sa.String),
        sa.Column("plan", sa.JSON),
        sa.Column("estimated_finish", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
        sa.Column("fine_tuned_model", sa.String),
        sa.Column("trained_tokens", sa.BigInteger),
        sa.Column("result_file_id", sa.String),
        sa.Column("error", sa.JSON),
        sa.Column("worker", sa.String),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("lease_expires_at", sa.BigInteger),
        sa.Column("num_crashes", sa.BigInteger, nullable=False),
        sa.Index("ix_jobs_newest", "organization_id", "project_id", "created_at", "position"),
        sa.Index("ix_jobs_oldest", "status", "created_at", "position"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "job_metadata",
        sa.Column("job_id", sa.String, sa.ForeignKey("jobs.id"), primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
    )


def create_results() -> None:
    op.create_table(
        "events",
        position(),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("job_id", sa.String, sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("level", sa.String, nullable=False),
        sa.Column("type", sa.String, nullable=False),
        sa.Column("message", sa.String, nullable=False),
        sa.Column("data", sa.JSON),
        sa.Column("once", sa.String),
        sa.UniqueConstraint("job_id", "once"),
        sa.Index("ix_events_newest", "job_id", "position"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "checkpoints",
        position(),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("job_id", sa.String, sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("model_name", sa.String, nullable=False),
        sa.Column("adapter_id", sa.String, nullable=False),
        sa.Column("metrics", sa.JSON, nullable=False),
        sa.UniqueConstraint("job_id", "step"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "tuned_models",
        position(),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("project_id", sa.String, nullable=False),
        sa.Column("base_model", sa.String, nullable=False),
        sa.Column("adapter_id", sa.String, nullable=False),
        sa.Column("job_id", sa.String, sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Index("ix_tuned_models_project", "organization_id", "project_id"),
        sqlite_autoincrement=True,
    )
