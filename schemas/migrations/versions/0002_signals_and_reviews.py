"""What signals and reviewers say: profiles, histories, snapshots, human labels, review decisions."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

HUMAN: tuple[tuple[str, sa.types.TypeEngine[Any]], ...] = (
    ("human_revision", sa.Integer()),
    ("human_level1", sa.Text()),
    ("human_level2", sa.Text()),
    ("human_at", sa.DateTime(timezone=True)),
    ("questioned_at", sa.DateTime(timezone=True)),
)


def upgrade() -> None:
    for name, type_ in HUMAN:
        op.add_column("current_labels", sa.Column(name, type_, nullable=True))
    op.add_column(
        "review_tasks", sa.Column("escalated", sa.Boolean(), server_default="false", nullable=False)
    )
    op.create_table(
        "author_profiles",
        sa.Column("author_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("main_vertical", sa.Text(), nullable=True),
        sa.Column("interests", postgresql.JSONB(), nullable=False),
        sa.Column("verified", sa.Boolean(), nullable=False),
        sa.Column("certification", sa.Text(), nullable=True),
        sa.Column("followers", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("author_id", "seq", name=op.f("pk_author_profiles")),
    )
    op.create_table(
        "author_history",
        sa.Column("author_id", sa.Text(), nullable=False),
        sa.Column("video_id", sa.Text(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("taxonomy_id", sa.Text(), nullable=False),
        sa.Column("human", sa.Boolean(), nullable=False),
        sa.Column("level1", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("author_id", "video_id", name=op.f("pk_author_history")),
    )
    op.create_index("ix_author_history_author_id_published_at", "author_history", ["author_id", "published_at"])
    op.create_table(
        "engagement_snapshots",
        sa.Column("video_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("plays", sa.BigInteger(), nullable=False),
        sa.Column("snapshot", sa.JSON(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("video_id", "revision", name=op.f("pk_engagement_snapshots")),
        postgresql_with={"fillfactor": 80},
    )
    op.create_table(
        "reviewers",
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("enrolled_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("reviewer", name=op.f("pk_reviewers")),
    )
    op.create_table(
        "review_decisions",
        sa.Column("video_id", sa.Text(), nullable=False),
        sa.Column("review_id", sa.UUID(), nullable=False),
        sa.Column("task_id", sa.UUID(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("level1", sa.Text(), nullable=True),
        sa.Column("level2", sa.Text(), nullable=True),
        sa.Column("seconds_spent", sa.Double(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("undoes", sa.UUID(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "verdict IN ('confirm', 'correct', 'escalate', 'skip', 'undo')", name=op.f("ck_review_decisions_verdict")
        ),
        sa.PrimaryKeyConstraint("video_id", "review_id", name=op.f("pk_review_decisions")),
    )
    op.create_index("ix_review_decisions_reviewer", "review_decisions", ["reviewer", "decided_at"])


def downgrade() -> None:
    for table in ("review_decisions", "reviewers", "engagement_snapshots", "author_history", "author_profiles"):
        op.drop_table(table)
    op.drop_column("review_tasks", "escalated")
    for name, _ in reversed(HUMAN):
        op.drop_column("current_labels", name)
