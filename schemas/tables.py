"""The tables. video_id leads every large key, so that hash partitioning or distribution by it changes no code."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL
from sqlalchemy.dialects.postgresql import UUID as PgUuid
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "pk": "pk_%(table_name)s",
}


class Table(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own idiom
        str: Text,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        bytes: LargeBinary,
        UUID: PgUuid(as_uuid=True),
        float: Double,
    }


# Tables whose rows come and go in minutes. Vacuum's default is a share of the table's size, which may have been taken
# at its peak or at nothing; a fixed count keeps dead rows few, so that reading the queue stays cheap.
QUEUE_STORAGE = {
    "autovacuum_vacuum_scale_factor": 0,
    "autovacuum_vacuum_threshold": 2000,
    "autovacuum_vacuum_cost_delay": 0,
}


class Video(Table):
    """What was published, newest revision; the row every decider locks.

    A removal that comes before the publication is remembered as revision -1, with the other fields empty.
    """

    __tablename__ = "videos"

    video_id: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(Integer)
    author_id: Mapped[str]
    media_uri: Mapped[str]
    published_at: Mapped[datetime]
    title: Mapped[str]
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)  # the event's other fields (ocr, asr, tags, …)
    removed_at: Mapped[datetime | None]
    traceparent: Mapped[str | None]
    first_seen_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Prediction(Table):
    """The model's answer for one input and encoder: never computed twice, never changed."""

    __tablename__ = "predictions"

    video_id: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(Integer, primary_key=True)
    encoder_id: Mapped[str] = mapped_column(primary_key=True)
    level1_logits: Mapped[bytes]  # little-endian float32 [C1]
    level2_logits: Mapped[bytes]  # little-endian float32 [C2]
    embedding: Mapped[bytes]  # little-endian float16 [E]
    frame_times: Mapped[list[float]] = mapped_column(ARRAY(REAL))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class DecisionRow(Table):
    """Every decision ever made, with the evidence it saw. Append-only.

    One publish decision per (video, revision, model), one replay decision per run: their decision_id is derived from
    just these (schemas.ids), so the primary key says so.
    """

    __tablename__ = "decisions"
    __table_args__ = (
        # rows come in the order of this column: block ranges cost nothing to keep, and suffice to find an hour
        Index("ix_decisions_decided_at", "decided_at", postgresql_using="brin"),
        CheckConstraint("source IN ('model', 'human')", name="source"),
        CheckConstraint(
            "trigger IN ('publish', 'engagement', 'author', 'replay', 'review', 'rollback')", name="trigger"
        ),
    )

    video_id: Mapped[str] = mapped_column(primary_key=True)
    decision_id: Mapped[UUID] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(Integer)
    label_revision: Mapped[int | None] = mapped_column(BigInteger)  # null: a shadow decision, never in force
    trigger: Mapped[str]
    source: Mapped[str]  # model | human
    model_id: Mapped[str]
    encoder_id: Mapped[str]
    policy_id: Mapped[str]
    taxonomy_id: Mapped[str]
    promotion_epoch: Mapped[int] = mapped_column(BigInteger)
    run_id: Mapped[str] = mapped_column(server_default="")  # '' live, else the replay's run
    route: Mapped[str]
    level1: Mapped[str | None]  # the model's best answers, whatever the route
    level2: Mapped[str | None]
    confidence: Mapped[float | None]
    threshold: Mapped[float | None]
    audit: Mapped[bool] = mapped_column(Boolean, server_default="false")
    reasons: Mapped[list[str]] = mapped_column(ARRAY(Text))
    top_k: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    evidence: Mapped[dict[str, Any]]
    decided_at: Mapped[datetime] = mapped_column(server_default=func.now())


class CurrentLabel(Table):
    """The one label in force for a video. status decides which of level1, level2 readers may see."""

    __tablename__ = "current_labels"
    __table_args__ = (
        CheckConstraint("status IN ('labelled', 'labelled_level1', 'in_review', 'failed', 'withdrawn')", name="status"),
        CheckConstraint("source IN ('model', 'human')", name="source"),
        {"postgresql_with": {"fillfactor": 80}},  # rows are rewritten in place, without touching an index
    )

    video_id: Mapped[str] = mapped_column(primary_key=True)
    decision_id: Mapped[UUID]
    revision: Mapped[int] = mapped_column(Integer)
    label_revision: Mapped[int] = mapped_column(BigInteger)
    promotion_epoch: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str]
    source: Mapped[str]
    level1: Mapped[str | None]  # as announced: null where the route withholds it
    level2: Mapped[str | None]
    confidence: Mapped[float | None]
    author_id: Mapped[str]
    published_at: Mapped[datetime]
    taxonomy_id: Mapped[str]
    model_id: Mapped[str]
    decided_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # what a reviewer last said of this video, of whichever revision; null where nobody did or it was taken back
    human_revision: Mapped[int | None] = mapped_column(Integer)
    human_level1: Mapped[str | None]
    human_level2: Mapped[str | None]
    human_at: Mapped[datetime | None]
    questioned_at: Mapped[datetime | None]  # when evidence against that label last opened a task


class AuthorProfileRow(Table):
    """What the platform said of an author, by version: a video is judged by the newest one of its own time."""

    __tablename__ = "author_profiles"

    author_id: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    as_of: Mapped[datetime]
    main_vertical: Mapped[str | None]
    interests: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    verified: Mapped[bool] = mapped_column(Boolean)
    certification: Mapped[str | None]
    followers: Mapped[int | None] = mapped_column(BigInteger)


class AuthorHistory(Table):
    """What each video says of its author, for the videos published after it: once, however often it is relabelled.

    A human label in full, else the probabilities of the content alone: what signals moved never comes back as evidence.
    """

    __tablename__ = "author_history"
    __table_args__ = (Index("ix_author_history_author_id_published_at", "author_id", "published_at"),)

    author_id: Mapped[str] = mapped_column(primary_key=True)
    video_id: Mapped[str] = mapped_column(primary_key=True)
    published_at: Mapped[datetime]
    taxonomy_id: Mapped[str]
    human: Mapped[bool] = mapped_column(Boolean)
    level1: Mapped[bytes]  # little-endian float32 [C1], sums to 1


class EngagementSnapshotRow(Table):
    """The engagement of one revision of a video so far: the snapshot with the most plays, of equals the newest."""

    __tablename__ = "engagement_snapshots"
    __table_args__ = ({"postgresql_with": {"fillfactor": 80}},)  # rewritten in place, without touching an index

    video_id: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(Integer, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    plays: Mapped[int] = mapped_column(BigInteger)
    snapshot: Mapped[dict[str, Any]] = mapped_column(JSON)  # the event
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ReviewTask(Table):
    """A request to people; at most one open per video."""

    __tablename__ = "review_tasks"
    __table_args__ = (
        Index("uq_review_tasks_open", "video_id", unique=True, postgresql_where=text("state = 'open'")),
        Index("ix_review_tasks_queue", "priority", postgresql_where=text("state = 'open'")),
        CheckConstraint("state IN ('open', 'decided', 'withdrawn')", name="state"),
    )

    video_id: Mapped[str] = mapped_column(primary_key=True)
    task_id: Mapped[UUID] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(Integer)
    decision_id: Mapped[UUID]
    state: Mapped[str] = mapped_column(server_default="open")  # open | decided | withdrawn
    reasons: Mapped[list[str]] = mapped_column(ARRAY(Text))
    priority: Mapped[float]
    requested_at: Mapped[datetime] = mapped_column(server_default=func.now())
    deadline_at: Mapped[datetime]
    escalated: Mapped[bool] = mapped_column(Boolean, server_default="false")  # somebody more experienced is to look
    closed_at: Mapped[datetime | None]
    closed_why: Mapped[str | None]


class Reviewer(Table):
    """Who may decide."""

    __tablename__ = "reviewers"

    reviewer: Mapped[str] = mapped_column(primary_key=True)
    active: Mapped[bool] = mapped_column(Boolean, server_default="true")
    enrolled_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ReviewDecisionRow(Table):
    """What reviewers did, word for word. Append-only: an undo is a row of its own."""

    __tablename__ = "review_decisions"
    __table_args__ = (
        CheckConstraint("verdict IN ('confirm', 'correct', 'escalate', 'skip', 'undo')", name="verdict"),
        Index("ix_review_decisions_reviewer", "reviewer", "decided_at"),
    )

    video_id: Mapped[str] = mapped_column(primary_key=True)
    review_id: Mapped[UUID] = mapped_column(primary_key=True)
    task_id: Mapped[UUID]
    revision: Mapped[int] = mapped_column(Integer)
    reviewer: Mapped[str]
    verdict: Mapped[str]
    level1: Mapped[str | None]
    level2: Mapped[str | None]
    seconds_spent: Mapped[float | None]
    note: Mapped[str]
    undoes: Mapped[UUID | None]  # the review_id that an undo takes back
    decided_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Model(Table):
    """Bundles this system has seen."""

    __tablename__ = "models"

    model_id: Mapped[str] = mapped_column(primary_key=True)
    encoder_id: Mapped[str]
    policy_id: Mapped[str]
    taxonomy_id: Mapped[str]
    name: Mapped[str]
    manifest: Mapped[dict[str, Any]]
    registered_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Promotion(Table):
    """Which model is live: append-only; the highest epoch is in force."""

    __tablename__ = "promotions"
    __table_args__ = (CheckConstraint("kind IN ('promote', 'rollback')", name="kind"),)

    epoch: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    model_id: Mapped[str]
    kind: Mapped[str]  # promote | rollback
    actor: Mapped[str]
    reason: Mapped[str]
    promoted_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Outbox(Table):
    """Records to be sent; a row exists if and only if its cause committed. Deleted once Kafka has them.

    Ids are not cached per session: who decides holds the video's row lock, so ids of one video rise in commit order.
    With a cache an older label could be sent last, and compaction would keep it.
    """

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_shard_id", "shard", "id"), {"postgresql_with": QUEUE_STORAGE})

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    shard: Mapped[int] = mapped_column(SmallInteger)  # hash(video_id) in [0, 64): relays own ranges of it
    topic: Mapped[str]  # standard name; the relay maps it
    key: Mapped[str]
    value: Mapped[bytes | None]  # null is a tombstone
    headers: Mapped[dict[str, Any]] = mapped_column(JSON)  # written and read once: nobody looks inside
    available_at: Mapped[datetime] = mapped_column(server_default=func.now())


class DeadLetter(Table):
    """What could not be handled, with why; kept until redriven or dismissed."""

    __tablename__ = "dead_letters"
    __table_args__ = (
        Index("ix_dead_letters_died_at", "died_at"),
        Index("ix_dead_letters_video_id", "video_id"),  # a redelivered input asks whether it is already here
        Index("uq_dead_letters_source", "source_topic", "source_partition", "source_offset", unique=True),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    video_id: Mapped[str | None]  # unknown where the value could not be parsed
    revision: Mapped[int | None] = mapped_column(Integer)
    code: Mapped[str]
    detail: Mapped[str]
    attempts: Mapped[int] = mapped_column(Integer, server_default="1")
    source_topic: Mapped[str]
    source_partition: Mapped[int] = mapped_column(Integer)
    source_offset: Mapped[int] = mapped_column(BigInteger)
    key: Mapped[bytes | None]
    value: Mapped[bytes | None]
    headers: Mapped[dict[str, Any]]
    died_at: Mapped[datetime] = mapped_column(server_default=func.now())
    redriven_at: Mapped[datetime | None]


class InHand(Table):
    """What workers are about to analyse, a row for each batch and partition: found here by a partition's next owner, it
    was in hand when a process died.

    Unlogged: after a crash of Postgres itself it is empty, and an input that kills needs one death more to be found.
    """

    __tablename__ = "in_hand"
    __table_args__ = ({"prefixes": ["UNLOGGED"], "postgresql_with": QUEUE_STORAGE},)

    lot: Mapped[UUID] = mapped_column(primary_key=True)  # made by the worker
    consumer_group: Mapped[str]
    topic: Mapped[str]
    partition: Mapped[int] = mapped_column(Integer)
    offsets: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    taken_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Attempt(Table):
    """Inputs that were in hand at a death, by their place in Kafka; cleared when something has become of them, at the
    latest when their partition's next owner has read past them."""

    __tablename__ = "attempts"

    consumer_group: Mapped[str] = mapped_column(primary_key=True)
    topic: Mapped[str] = mapped_column(primary_key=True)
    partition: Mapped[int] = mapped_column(Integer, primary_key=True)
    record_offset: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    alone: Mapped[int] = mapped_column(Integer, server_default="0")  # attempts made alone
    found_at: Mapped[datetime] = mapped_column(server_default=func.now())
