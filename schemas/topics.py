"""The topics: what each carries, by which key, and for how long. Names are standard; TopicNames maps them to yours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from schemas.errors import UserError
from schemas.events import (
    AuthorProfile,
    EngagementAction,
    EngagementSnapshot,
    Event,
    LabelDecided,
    ReviewDecided,
    ReviewRequested,
    ReviewWithdrawn,
    VideoPublished,
    VideoRemoved,
)

VIDEO_PUBLISHED = "video.published.v1"
VIDEO_REMOVED = "video.removed.v1"
VIDEO_RETRY = "video.published.retry.v1"
VIDEO_DEAD = "video.published.dlq.v1"
AUTHOR_PROFILES = "author.profiles.v1"
ENGAGEMENT_ACTIONS = "engagement.actions.v1"
ENGAGEMENT_SNAPSHOTS = "engagement.snapshots.v1"
VIDEO_LABELS = "video.labels.v1"
VIDEO_REVIEW = "video.review.v1"
REVIEW_DECISIONS = "review.decisions.v1"

EVENT_TYPES: Mapping[type[Event], str] = {
    VideoPublished: "reelsort.video.published.v1",
    VideoRemoved: "reelsort.video.removed.v1",
    AuthorProfile: "reelsort.author.profile.v1",
    EngagementAction: "reelsort.engagement.action.v1",
    EngagementSnapshot: "reelsort.engagement.snapshot.v1",
    LabelDecided: "reelsort.label.decided.v1",
    ReviewRequested: "reelsort.review.requested.v1",
    ReviewWithdrawn: "reelsort.review.withdrawn.v1",
    ReviewDecided: "reelsort.review.decided.v1",
}
"""ce_type of each event."""

LABEL_WITHDRAWN = "reelsort.label.withdrawn.v1"
"""ce_type of the record without a value that ends a label: what Kafka calls a tombstone."""

OUTSIDE = frozenset({"upload service", "platform"})
"""Writers that are not reelsort."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic. `retention` None keeps records for ever (a compacted topic keeps the newest of each key)."""

    name: str
    key_field: Literal["video_id", "author_id"]
    events: tuple[type[Event], ...]
    written_by: str
    read_by: str
    cleanup: Literal["delete", "compact"] = "delete"
    retention: timedelta | None = timedelta(days=7)
    tombstone: str | None = None  # ce_type of records without a value, where the topic has them

    def config(self) -> dict[str, str]:
        """Broker configuration of the topic, as strings."""
        milliseconds = -1 if self.retention is None else self.retention // timedelta(milliseconds=1)
        return {"cleanup.policy": self.cleanup, "retention.ms": str(milliseconds)}


TOPICS: Mapping[str, TopicSpec] = {
    spec.name: spec
    for spec in (
        TopicSpec(
            VIDEO_PUBLISHED,
            "video_id",
            (VideoPublished,),
            "upload service",
            "classify, replay",
            retention=timedelta(days=400),  # the replay source: more than a year of videos
        ),
        TopicSpec(VIDEO_REMOVED, "video_id", (VideoRemoved,), "upload service", "classify"),
        TopicSpec(VIDEO_RETRY, "video_id", (VideoPublished,), "outbox, when due", "classify"),
        TopicSpec(
            VIDEO_DEAD,
            "video_id",
            (VideoPublished,),  # as it arrived: the value need not be valid
            "outbox",
            "operators",
            retention=timedelta(days=30),
        ),
        TopicSpec(
            AUTHOR_PROFILES, "author_id", (AuthorProfile,), "platform", "rescore", cleanup="compact", retention=None
        ),
        TopicSpec(ENGAGEMENT_ACTIONS, "video_id", (EngagementAction,), "platform", "signals"),
        TopicSpec(
            ENGAGEMENT_SNAPSHOTS,
            "video_id",
            (EngagementSnapshot,),
            "signals",
            "rescore",
            cleanup="compact",
            retention=None,
        ),
        TopicSpec(
            VIDEO_LABELS,
            "video_id",
            (LabelDecided,),
            "outbox",
            "downstream",
            cleanup="compact",
            retention=None,
            tombstone=LABEL_WITHDRAWN,
        ),
        TopicSpec(
            VIDEO_REVIEW,
            "video_id",
            (ReviewRequested, ReviewWithdrawn),
            "outbox",
            "review desk, or the team's own tool",
            retention=timedelta(days=30),
        ),
        TopicSpec(
            REVIEW_DECISIONS,
            "video_id",
            (ReviewDecided,),
            "outbox",
            "downstream, training sets",
            retention=timedelta(days=400),  # people's work: training sets are made of it
        ),
    )
}
"""Every topic, by standard name."""

_KAFKA_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")


class TopicNames:
    """Standard names to the names on this cluster, and back. A name that is not mapped stands for itself."""

    def __init__(self, overrides: Mapping[str, str] | None = None) -> None:
        """Raises UserError for an unknown standard name, a name Kafka refuses, or one given to two topics."""
        overrides = overrides or {}
        for standard, actual in overrides.items():
            if standard not in TOPICS:
                raise UserError(
                    f"kafka.topics names {standard}, which is no topic here", f"use one of {', '.join(TOPICS)}"
                )
            if not _KAFKA_NAME.fullmatch(actual) or actual in (".", ".."):
                raise UserError(
                    f"kafka.topics calls {standard} '{actual[:60]}', which Kafka refuses",
                    "use up to 249 letters, digits, '.', '_' and '-'",
                )
        self._actual = {standard: overrides.get(standard, standard) for standard in TOPICS}
        self._standard = {actual: standard for standard, actual in self._actual.items()}
        if len(self._standard) < len(self._actual):
            twice = next(name for standard, name in self._actual.items() if self._standard[name] != standard)
            raise UserError(f"kafka.topics calls two topics {twice}", "give every topic its own name")

    def actual(self, standard: str) -> str:
        """The name on this cluster. KeyError for a name that is not in TOPICS: a defect, not an input."""
        return self._actual[standard]

    def standard(self, actual: str) -> str:
        """The standard name. KeyError for a topic that is none of ours."""
        return self._standard[actual]

    def standard_or_none(self, actual: str) -> str | None:
        """The standard name, or None for a topic that is none of ours: of a record stored under names of before."""
        return self._standard.get(actual)
