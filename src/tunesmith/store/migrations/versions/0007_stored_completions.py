"""Stored chat completions, their messages and their metadata."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "stored_completions",
        sa.Column(
            "position",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("organization_id", sa.String, nullable=False),
        sa.Column("project_id", sa.String, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("metadata", sa.JSON, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("reply", sa.String, nullable=False),
        sa.Index("ix_stored_completions_oldest", "organization_id", "project_id", "position"),
        sa.Index(
            "ix_stored_completions_model", "organization_id", "project_id", "model", "position"
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "stored_messages",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column(
            "completion_id",
            sa.String,
            sa.ForeignKey("stored_completions.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("content", sa.String, nullable=False),
        sa.UniqueConstraint("completion_id", "number"),
    )
    op.create_table(
        "stored_sizes",
        sa.Column("organization_id", sa.String, primary_key=True),
        sa.Column("project_id", sa.String, primary_key=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "stored_metadata",
        sa.Column(
            "position",
            sa.BigInteger,
            sa.ForeignKey("stored_completions.position", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
        sa.Column("project_id", sa.String, nullable=False),
        sa.Index("ix_stored_metadata_pair", "project_id", "key", "value", "position"),
    )
