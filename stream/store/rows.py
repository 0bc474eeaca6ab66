"""Rows of a decided video, in the binary form COPY takes. Pure: no connection is needed to build or test them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from models.decision.priority import review_priority
from models.decision.types import Decision, Route
from schemas.events import LabelStatus, Trigger, VideoPublished
from stream.classify.analyse import Analysis
from stream.store import encoding as pg
from stream.store.encoding import NULL, Field
from stream.store.work import LiveModel

PREDICTION_COLUMNS = "video_id, revision, encoder_id, level1_logits, level2_logits, embedding, frame_times, created_at"
DECISION_COLUMNS = (
    "video_id, decision_id, revision, label_revision, trigger, source, model_id, encoder_id, policy_id, taxonomy_id,"
    " promotion_epoch, route, level1, level2, confidence, threshold, audit, reasons, top_k, evidence, decided_at"
)
LABEL_COLUMNS = (
    "video_id, decision_id, revision, label_revision, promotion_epoch, status, source, level1, level2, confidence,"
    " author_id, published_at, taxonomy_id, model_id, decided_at, human_revision, human_level1, human_level2,"
    " human_at, questioned_at"
)
HISTORY_COLUMNS = "author_id, video_id, published_at, taxonomy_id, human, level1"
TASK_COLUMNS = "video_id, task_id, revision, decision_id, reasons, priority, requested_at, deadline_at, escalated"

STATUS_OF_ROUTE = {
    Route.ACCEPT: LabelStatus.LABELLED,
    Route.ACCEPT_LEVEL1: LabelStatus.LABELLED_LEVEL1,
    Route.REVIEW: LabelStatus.IN_REVIEW,
}

# The signals that moved nothing are named too: null is "none was there", not "none was kept".
NO_SIGNALS = {"author": None, "engagement": None}


class Subject(Protocol):
    """The video a decision is about."""

    @property
    def video_id(self) -> str: ...
    @property
    def revision(self) -> int: ...
    @property
    def author_id(self) -> str: ...
    @property
    def published_at(self) -> datetime: ...


class StoredVideo(NamedTuple):
    """A Subject, read back."""

    video_id: str
    revision: int
    author_id: str
    published_at: datetime


class HumanWord(NamedTuple):
    """What a reviewer last said of a video, of whichever revision. It outlives the label: what contradicts it goes to
    people. questioned_at: when evidence against it last opened a task."""

    revision: int
    level1: str | None
    level2: str | None
    said_at: datetime
    questioned_at: datetime | None = None


class Seen(NamedTuple):
    """The signals a decision saw. full: JSON of every value; summary: JSON of what they did, fit to be announced."""

    full: bytes
    summary: bytes


class Waiting(NamedTuple):
    """How long people have had a video before them, whatever became of the answer meanwhile."""

    requested_at: datetime
    deadline_at: datetime
    escalated: bool


class Cause(NamedTuple):
    """What the decisions of one batch have in common: why they are made, and under which promotion."""

    trigger: Trigger
    epoch: int


@dataclass(slots=True)  # not frozen: one is made for every decision, and frozen ones cost three times as much
class Decided:
    """One decision of a batch. label_revision is None where it never came into force; seen where no signal was there.

    content_level1: [C1] probabilities of the content alone; None where the author's history has them. reach: for its
    task's priority. waiting: of the task that its own one replaces.
    """

    video: Subject
    key: Field  # its video_id, encoded once for all the rows it leads
    decision: Decision
    decision_id: bytes  # of a uuid
    label_revision: int | None
    traceparent: str | None
    top_k: bytes  # JSON
    content_level1: NDArray[np.float64] | None
    seen: Seen | None = None
    human: HumanWord | None = None
    reach: float = 1.0
    waiting: Waiting | None = None


def video_fields(video: VideoPublished, traceparent: str | None) -> tuple[Field, ...]:
    """video_id, revision, author_id, media_uri, published_at, title, payload, traceparent."""
    payload = {
        "ocr": video.ocr,
        "asr": video.asr,
        "tags": video.tags,
        "language": video.language,
        "duration_s": video.duration_s,
        "content_sha256": video.content_sha256,
    }
    return (
        pg.text(video.video_id),
        pg.int4(video.revision),
        pg.text(video.author_id),
        pg.text(video.media_uri),
        pg.timestamptz(video.published_at),
        pg.text(video.title),
        pg.json(payload),
        pg.text_or_null(traceparent),
    )


class RowBuilder:
    """Builds the rows of one model's decisions made at one moment; what they share is encoded once."""

    def __init__(self, model: LiveModel, now: datetime, cause: Cause) -> None:
        self._model = model
        self._now = pg.timestamptz(now)
        self._encoder = pg.text(model.encoder_id)
        made_by = (
            pg.text(cause.trigger.value),
            _MODEL,
            pg.text(model.model_id),
            self._encoder,
            pg.text(model.policy_id),
            pg.text(model.taxonomy_id),
            pg.int8(cause.epoch),
        )
        self._made_by = {route: b"".join((*made_by, pg.text(route.value))) for route in Route}
        self._label_head = {
            route: b"".join((pg.int8(cause.epoch), pg.text(status.value), _MODEL))
            for route, status in STATUS_OF_ROUTE.items()
        }
        self._taxonomy = pg.text(model.taxonomy_id)
        self._label_tail = self._taxonomy + pg.text(model.model_id) + self._now
        self._unseen = _EVIDENCE + self._now
        self._level1, self._level2 = _category_fields(model.level1), _category_fields(model.level2)

    def predictions(self, answers: Sequence[tuple[VideoPublished, Analysis]]) -> list[tuple[Field, ...]]:
        """Rows of many; the arrays are encoded in one go."""
        if not answers:
            return []
        analyses = [analysis for _, analysis in answers]
        arrays = pg.bytea_columns(
            np.asarray([analysis.level1_logits for analysis in analyses], "<f4"),
            np.asarray([analysis.level2_logits for analysis in analyses], "<f4"),
            np.asarray([analysis.embedding for analysis in analyses], "<f2"),
        )
        return [
            (
                pg.text(video.video_id),
                pg.int4(video.revision),
                self._encoder,
                encoded,
                pg.float4_array(analysis.frame_times),
                self._now,
            )
            for (video, analysis), encoded in zip(answers, arrays, strict=True)
        ]

    def decision(self, decided: Decided) -> tuple[Field, ...]:
        decision, revision, label_revision = decided.decision, decided.video.revision, decided.label_revision
        return (
            decided.key,
            pg.data(decided.decision_id),
            pg.int4(revision) + NULL if label_revision is None else pg.int4_int8(revision, label_revision),
            self._made_by[decision.route],
            self._level1[decision.level1],
            self._level2[decision.level2],
            pg.float8_float8_boolean(decision.confidence, decision.threshold, decision.audit),
            _reasons(decision.reasons),
            pg.jsonb_text(decided.top_k),
            self._unseen if decided.seen is None else pg.jsonb_text(decided.seen.full) + self._now,
        )

    def label(self, decided: Decided) -> tuple[Field, ...]:
        assert decided.label_revision is not None
        video, decision = decided.video, decided.decision
        accepted = decision.route is Route.ACCEPT
        public = decision.route is not Route.REVIEW
        return (
            decided.key,
            pg.data(decided.decision_id),
            pg.int4_int8(video.revision, decided.label_revision),
            self._label_head[decision.route],
            self._level1[decision.level1] if public else NULL,
            self._level2[decision.level2] if accepted else NULL,
            pg.float8(decision.confidence) if public else NULL,
            pg.text(video.author_id),
            pg.timestamptz(video.published_at),
            self._label_tail,
            human_fields(decided.human),
        )

    def history(self, decided: Decided) -> tuple[Field, ...]:
        """What the video says of its author: the content's word, whatever signals made of it."""
        video, content = decided.video, decided.content_level1
        assert content is not None
        return (
            pg.text(video.author_id),
            decided.key,
            pg.timestamptz(video.published_at),
            self._taxonomy,
            _FALSE,
            pg.data(content.astype("<f4").tobytes()),
        )

    def task(self, decided: Decided, task_id: bytes, priority: float, deadline: datetime) -> tuple[Field, ...]:
        held = decided.waiting
        return (
            decided.key,
            pg.data(task_id),
            pg.int4(decided.video.revision),
            pg.data(decided.decision_id),
            _reasons(decided.decision.reasons),
            pg.float8(priority),
            self._now if held is None else pg.timestamptz(held.requested_at),
            pg.timestamptz(deadline),
            _FALSE if held is None else pg.boolean(held.escalated),
        )


def top_k_json(decision: Decision, model: LiveModel) -> bytes:
    names = model.level2
    return orjson.dumps([{"level2": names[place], "probability": share} for place, share in decision.top_k])


def priority_of(level2: int, probability: float, model: LiveModel, reach: float = 1.0) -> float:
    """Of a task about this best answer, which is as probable as that."""
    return review_priority(model.harm[level2], reach, 1.0 - probability)


def human_fields(human: HumanWord | None) -> Field:
    """human_revision, human_level1, human_level2, human_at, questioned_at."""
    if human is None:
        return _NO_HUMAN
    return b"".join(
        (
            pg.int4(human.revision),
            pg.text_or_null(human.level1),
            pg.text_or_null(human.level2),
            pg.timestamptz(human.said_at),
            NULL if human.questioned_at is None else pg.timestamptz(human.questioned_at),
        )
    )


_MODEL = pg.text("model")
_EVIDENCE = pg.jsonb(NO_SIGNALS)
_NO_HUMAN = NULL * 5
_FALSE = pg.boolean(False)


@lru_cache(maxsize=1024)
def _reasons(reasons: tuple[str, ...]) -> Field:
    return pg.text_array([str(reason) for reason in reasons])


@lru_cache(maxsize=16)
def _category_fields(names: tuple[str, ...]) -> tuple[Field, ...]:
    return tuple(pg.text(name) for name in names)
