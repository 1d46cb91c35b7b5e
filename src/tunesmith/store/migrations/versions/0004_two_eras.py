"""The first era's API as a second face of jobs: who made a job, and who tells an event."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("era", sa.String, nullable=False, server_default="jobs"))
    op.add_column("events", sa.Column("era", sa.String, server_default="jobs"))
