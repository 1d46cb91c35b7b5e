"""Requests and tokens per minute of each key: NULL means the default, 0 no limit."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("requests_per_minute", sa.BigInteger))
    op.add_column("api_keys", sa.Column("tokens_per_minute", sa.BigInteger))
