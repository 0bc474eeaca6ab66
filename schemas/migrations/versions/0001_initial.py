"""The first tables, the view and the function readers use."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

QUEUE_STORAGE = {
    "autovacuum_vacuum_scale_factor": 0,
    "autovacuum_vacuum_threshold": 2000,
    "autovacuum_vacuum_cost_delay": 0,
}

LABELS_VIEW = """
CREATE VIEW labels AS
SELECT video_id, revision, author_id, published_at, label_revision, status, level1, level2, confidence, source,
       taxonomy_id, model_id, decision_id, decided_at
  FROM current_labels
"""

# What the view showed at `ts`, from the decisions. A removal is none: while it stands it takes the label away, and the
# label_revision shown stays that of the last decision.
LABELS_AS_OF = """
CREATE FUNCTION labels_as_of(ts timestamptz)
RETURNS TABLE (
    video_id text, revision integer, author_id text, published_at timestamptz, label_revision bigint, status text,
    level1 text, level2 text, confidence double precision, source text, taxonomy_id text, model_id text,
    decision_id uuid, decided_at timestamptz
)
LANGUAGE sql STABLE
AS $$
    SELECT last.video_id, last.revision, v.author_id, v.published_at, last.label_revision,
           CASE WHEN v.removed_at <= ts THEN 'withdrawn'
                WHEN last.route = 'accept' THEN 'labelled'
                WHEN last.route = 'accept_level1' THEN 'labelled_level1'
                ELSE 'in_review' END,
           CASE WHEN last.route IN ('accept', 'accept_level1') AND (v.removed_at <= ts) IS NOT TRUE THEN last.level1 END,
           CASE WHEN last.route = 'accept' AND (v.removed_at <= ts) IS NOT TRUE THEN last.level2 END,
           CASE WHEN last.route IN ('accept', 'accept_level1') AND (v.removed_at <= ts) IS NOT TRUE
                THEN last.confidence END,
           last.source, last.taxonomy_id, last.model_id, last.decision_id, last.decided_at
      FROM (SELECT DISTINCT ON (d.video_id) d.*
              FROM decisions d
             WHERE d.decided_at <= ts AND d.label_revision IS NOT NULL
             ORDER BY d.video_id, d.label_revision DESC) AS last
      JOIN videos v ON v.video_id = last.video_id
$$
"""


def upgrade() -> None:
    op.create_table(
        "attempts",
        sa.Column("consumer_group", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("record_offset", sa.BigInteger(), nullable=False),
        sa.Column("alone", sa.Integer(), server_default="0", nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("consumer_group", "topic", "partition", "record_offset", name=op.f("pk_attempts")),
    )
    op.create_table(
        "in_hand",
        sa.Column("lot", sa.UUID(), nullable=False),
        sa.Column("consumer_group", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offsets", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("lot", name=op.f("pk_in_hand")),
        prefixes=["UNLOGGED"],
        postgresql_with=QUEUE_STORAGE,
    )
    op.create_table(
        "current_labels",
        sa.Column("video_id", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.UUID(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("label_revision", sa.BigInteger(), nullable=False),
        sa.Column("promotion_epoch", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("level1", sa.Text(), nullable=True),
        sa.Column("level2", sa.Text(), nullable=True),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("author_id", sa.Text(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("taxonomy_id", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("evidence", postgresql.JSONB(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("source IN ('model', 'human')", name=op.f("ck_current_labels_source")),
        sa.CheckConstraint(
            "status IN ('labelled', 'labelled_level1', 'in_review', 'failed', 'withdrawn')",
            name=op.f("ck_current_labels_status"),
        ),
        sa.PrimaryKeyConstraint("video_id", name=op.f("pk_current_labels")),
        postgresql_with={"fillfactor": 80},
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("video_id", sa.Text(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="1", nullable=False),
        sa.Column("source_topic", sa.Text(), nullable=False),
        sa.Column("source_partition", sa.Integer(), nullable=False),
        sa.Column("source_offset", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column("headers", postgresql.JSONB(), nullable=False),
        sa.Column("died_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("redriven_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
    )
    op.create_index("ix_dead_letters_died_at", "dead_letters", ["died_at"], unique=False)
    op.create_index("ix_dead_letters_video_id", "dead_letters", ["video_id"], unique=False)
    op.create_index(
        "uq_dead_letters_source", "dead_letters", ["source_topic", "source_partition", "source_offset"], unique=True
    )
    op.create_table(
        "decisions",
        sa.Column("video_id", sa.Text(), nullable=False),
        sa.Column("decision_id", sa.UUID(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("label_revision", sa.BigInteger(), nullable=True),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("encoder_id", sa.Text(), nullable=False),
        sa.Column("policy_id", sa.Text(), nullable=False),
        sa.Column("taxonomy_id", sa.Text(), nullable=False),
        sa.Column("promotion_epoch", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.Text(), server_default="", nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("level1", sa.Text(), nullable=True),
        sa.Column("level2", sa.Text(), nullable=True),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("threshold", sa.Double(), nullable=True),
        sa.Column("audit", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("reasons", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("top_k", postgresql.JSONB(), nullable=False),
        sa.Column("evidence", postgresql.JSONB(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("source IN ('model', 'human')", name=op.f("ck_decisions_source")),
        sa.CheckConstraint(
            "trigger IN ('publish', 'engagement', 'author', 'replay', 'review', 'rollback')",
            name=op.f("ck_decisions_trigger"),
        ),
        sa.PrimaryKeyConstraint("video_id", "decision_id", name=op.f("pk_decisions")),
    )
    op.create_index("ix_decisions_decided_at", "decisions", ["decided_at"], unique=False, postgresql_using="brin")
    op.create_table(
        "models",
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("encoder_id", sa.Text(), nullable=False),
        sa.Column("policy_id", sa.Text(), nullable=False),
        sa.Column("taxonomy_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("manifest", postgresql.JSONB(), nullable=False),
        sa.Column("registered_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("model_id", name=op.f("pk_models")),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("available_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        postgresql_with=QUEUE_STORAGE,
    )
    op.create_index("ix_outbox_shard_id", "outbox", ["shard", "id"], unique=False)
    op.create_table(
        "predictions",
        sa.Column("video_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("encoder_id", sa.Text(), nullable=False),
        sa.Column("level1_logits", sa.LargeBinary(), nullable=False),
        sa.Column("level2_logits", sa.LargeBinary(), nullable=False),
        sa.Column("embedding", sa.LargeBinary(), nullable=False),
        sa.Column("frame_times", postgresql.ARRAY(sa.REAL()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("video_id", "revision", "encoder_id", name=op.f("pk_predictions")),
    )
    op.create_table(
        "promotions",
        sa.Column("epoch", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("promoted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('promote', 'rollback')", name=op.f("ck_promotions_kind")),
        sa.PrimaryKeyConstraint("epoch", name=op.f("pk_promotions")),
    )
    op.create_table(
        "review_tasks",
        sa.Column("video_id", sa.Text(), nullable=False),
        sa.Column("task_id", sa.UUID(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("decision_id", sa.UUID(), nullable=False),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("reasons", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("priority", sa.Double(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_why", sa.Text(), nullable=True),
        sa.CheckConstraint("state IN ('open', 'decided', 'withdrawn')", name=op.f("ck_review_tasks_state")),
        sa.PrimaryKeyConstraint("video_id", "task_id", name=op.f("pk_review_tasks")),
    )
    op.create_index(
        "ix_review_tasks_queue", "review_tasks", ["priority"], unique=False, postgresql_where=sa.text("state = 'open'")
    )
    op.create_index(
        "uq_review_tasks_open", "review_tasks", ["video_id"], unique=True, postgresql_where=sa.text("state = 'open'")
    )
    op.create_table(
        "videos",
        sa.Column("video_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("author_id", sa.Text(), nullable=False),
        sa.Column("media_uri", sa.Text(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("video_id", name=op.f("pk_videos")),
    )
    op.execute(LABELS_VIEW)
    op.execute(LABELS_AS_OF)


def downgrade() -> None:
    op.execute("DROP FUNCTION labels_as_of(timestamptz)")
    op.execute("DROP VIEW labels")
    op.drop_table("videos")
    op.drop_table("review_tasks")
    op.drop_table("promotions")
    op.drop_table("predictions")
    op.drop_table("outbox")
    op.drop_table("models")
    op.drop_table("decisions")
    op.drop_table("dead_letters")
    op.drop_table("current_labels")
    op.drop_table("attempts")
    op.drop_table("in_hand")
