"""The evidence beside a label was a copy of what profiles, histories and snapshots say: it goes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_column("current_labels", "evidence")


def downgrade() -> None:
    op.add_column(
        "current_labels", sa.Column("evidence", postgresql.JSONB(), server_default="{}", nullable=False)
    )
    op.alter_column("current_labels", "evidence", server_default=None)
