"""The events on the topics, version 1. Fields may be added inside v1, never renamed or retyped."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

BIGINT_MAX = 2**63 - 1
INT_MAX = 2**31 - 1
EVIDENCE_DEPTH = 8  # levels of nesting in a decision's evidence


def _storable(text: str) -> str:
    """Postgres text holds neither NUL nor lone surrogates; refuse them where they enter."""
    if "\x00" in text:
        raise ValueError("text contains a NUL character")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("text contains a lone surrogate") from error
    return text


def _utc(moment: datetime) -> datetime:
    """In UTC, and inside the years that Python, Postgres and arithmetic with time spans all hold."""
    if not 1970 <= moment.year <= 2999:
        raise ValueError("the year is not in 1970..2999")
    return moment.astimezone(UTC)


def _plain(value: object, depth: int = EVIDENCE_DEPTH) -> None:
    """Raise ValueError unless jsonb can hold the value as it is."""
    if depth == 0:
        raise ValueError("nested too deeply")
    match value:
        case str():
            _storable(value)
        case bool() | None:
            pass
        case int() if abs(value) > BIGINT_MAX:
            raise ValueError("number is over bigint")
        case float() if not math.isfinite(value):
            raise ValueError("number is not finite")
        case dict():
            for name, inner in value.items():
                _storable(name)
                _plain(inner, depth - 1)
        case list() | tuple():
            for inner in value:
                _plain(inner, depth - 1)
        case int() | float():
            pass
        case _:
            raise ValueError(f"a {type(value).__name__} has no JSON form")


def _plain_object(value: dict[str, Any]) -> dict[str, Any]:
    _plain(value)
    return value


# _storable() where pydantic checks it by itself: it refuses lone surrogates in every str
_NO_NUL = r"^[^\x00]*$"
Text = Annotated[str, Field(max_length=100_000, pattern=_NO_NUL)]
Key = Annotated[str, Field(min_length=1, max_length=256, pattern=_NO_NUL)]
Instant = Annotated[AwareDatetime, AfterValidator(_utc)]
PlainObject = Annotated[dict[str, Any], AfterValidator(_plain_object)]
Revision = Annotated[int, Field(ge=0, le=INT_MAX, strict=True)]
Count = Annotated[int, Field(ge=0, le=BIGINT_MAX, strict=True)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0.0, le=10_000_000.0, allow_inf_nan=False)]


class Event(BaseModel):
    """Base of all events: immutable, tolerant of fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class VideoPublished(Event):
    """A video was uploaded or edited. Written by the upload service, keyed by video_id."""

    video_id: Key
    revision: Revision = 0
    author_id: Key
    media_uri: Annotated[str, Field(min_length=1, max_length=4096, pattern=_NO_NUL)]
    published_at: Instant
    title: Text = ""
    ocr: Annotated[tuple[Text, ...], Field(max_length=1000)] = ()
    asr: Text = ""
    tags: Annotated[tuple[Text, ...], Field(max_length=1000)] = ()
    language: Annotated[str, Field(max_length=35, pattern=_NO_NUL)] = "zh"
    duration_s: Seconds | None = None
    content_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class VideoRemoved(Event):
    """A video is gone: tombstone its label, withdraw its review task, purge what was derived from it."""

    video_id: Key
    reason: Text = ""
    removed_at: Instant


class LabelStatus(StrEnum):
    LABELLED = "labelled"
    LABELLED_LEVEL1 = "labelled_level1"
    IN_REVIEW = "in_review"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"


class Trigger(StrEnum):
    PUBLISH = "publish"
    ENGAGEMENT = "engagement"
    AUTHOR = "author"
    REPLAY = "replay"
    REVIEW = "review"
    ROLLBACK = "rollback"


class Candidate(Event):
    """One of the best level-2 answers."""

    level2: Key
    probability: Share


class LabelDecided(Event):
    """What is in force now for a video. Readers keep the highest label_revision."""

    decision_id: UUID
    video_id: Key
    revision: Revision
    author_id: Key
    published_at: Instant
    label_revision: Count
    status: LabelStatus
    level1: Key | None = None
    level2: Key | None = None
    confidence: Share | None = None
    threshold: Finite | None = None
    top_k: tuple[Candidate, ...] = ()
    source: Literal["model", "human"]
    trigger: Trigger
    taxonomy_id: Key
    encoder_id: Key
    policy_id: Key
    model_id: Key
    evidence: PlainObject = Field(default_factory=dict)
    reasons: tuple[Key, ...] = ()
    decided_at: Instant


class ReviewRequested(Event):
    """A video is routed to people, or sampled for audit."""

    task_id: UUID
    decision_id: UUID
    video_id: Key
    revision: Revision
    author_id: Key
    published_at: Instant
    level1: Key | None = None
    level2: Key | None = None
    confidence: Share | None = None
    top_k: tuple[Candidate, ...] = ()
    model_id: Key
    priority: Finite
    reasons: tuple[Key, ...]
    deadline_at: Instant


class ReviewWithdrawn(Event):
    """A task needs no answer any more."""

    task_id: UUID
    video_id: Key
    why: Text


class InterestWeight(Event):
    category: Key
    weight: Finite


class AuthorProfile(Event):
    """What the platform knows of an author; the highest seq wins."""

    author_id: Key
    seq: Count
    main_vertical: Key | None = None
    interests: tuple[InterestWeight, ...] = ()
    verified: bool = False
    certification: Text | None = None
    followers: Count | None = None
    updated_at: Instant


class EngagementAction(Event):
    """One thing one viewer did."""

    action_id: Key
    video_id: Key
    revision: Revision = 0
    author_id: Key
    kind: Literal["play", "like", "comment", "share", "follow", "report"]
    watched_s: Seconds | None = None
    duration_s: Seconds | None = None
    comment_text: Text | None = None
    viewer_vertical: Key | None = None
    occurred_at: Instant


class EngagementSnapshot(Event):
    """Engagement of one video's revision so far; the highest seq wins."""

    video_id: Key
    revision: Revision = 0
    seq: Count
    plays: Count = 0
    likes: Count = 0
    comments: Count = 0
    shares: Count = 0
    reports: Count = 0
    completion_rate: Share | None = None
    mean_watch_s: Seconds | None = None
    audience: dict[Key, Share] = Field(default_factory=dict)
    top_comments: tuple[Text, ...] = ()
    window_end: Instant


class ReviewDecided(Event):
    """What a reviewer said."""

    task_id: UUID
    video_id: Key
    level1: Key | None = None
    level2: Key | None = None
    reviewer: Key
    verdict: Literal["confirm", "correct", "escalate", "skip"]
    seconds_spent: Seconds | None = None
    note: Text = ""
