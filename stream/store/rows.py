"""Rows of a decided video, in the binary form COPY takes. Pure: no connection is needed to build or test them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from uuid import UUID

import numpy as np
import orjson

from models.decision.types import Decision, FloatArray, Route
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
    " author_id, published_at, taxonomy_id, model_id, evidence, decided_at"
)
TASK_COLUMNS = "video_id, task_id, revision, decision_id, reasons, priority, requested_at, deadline_at"

STATUS_OF_ROUTE = {
    Route.ACCEPT: LabelStatus.LABELLED,
    Route.ACCEPT_LEVEL1: LabelStatus.LABELLED_LEVEL1,
    Route.REVIEW: LabelStatus.IN_REVIEW,
}

# The signals that moved nothing are named too: null is "none was there", not "none was kept".
NO_SIGNALS = {"author": None, "engagement": None}


@dataclass(slots=True)  # not frozen: one is made for every decision, and frozen ones cost three times as much
class Decided:
    """One decision of a batch. label_revision is None where it never came into force."""

    video: VideoPublished
    decision: Decision
    decision_id: bytes  # of a uuid
    label_revision: int | None
    traceparent: str | None
    top_k: bytes  # JSON


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
        pg.jsonb(payload),
        pg.text_or_null(traceparent),
    )


class RowBuilder:
    """Builds the rows of one model's decisions made at one moment; what they share is encoded once."""

    def __init__(self, model: LiveModel, now: datetime) -> None:
        self._model = model
        self._now = pg.timestamptz(now)
        self._encoder = pg.text(model.encoder_id)
        self._made_by = b"".join(
            (
                pg.text(Trigger.PUBLISH.value),
                _MODEL,
                pg.text(model.model_id),
                self._encoder,
                pg.text(model.policy_id),
                pg.text(model.taxonomy_id),
                pg.int8(model.epoch),
            )
        )
        self._label_head = pg.int8(model.epoch)
        self._label_tail = (pg.text(model.taxonomy_id), pg.text(model.model_id), _EVIDENCE, self._now)
        self._level1, self._level2 = _category_fields(model.level1), _category_fields(model.level2)

    def predictions(self, answers: Sequence[tuple[VideoPublished, Analysis]]) -> list[tuple[Field, ...]]:
        """Rows of many; the arrays are cast in one go."""
        if not answers:
            return []
        analyses = [analysis for _, analysis in answers]
        level1 = _encoded([analysis.level1_logits for analysis in analyses], "<f4")
        level2 = _encoded([analysis.level2_logits for analysis in analyses], "<f4")
        embedding = _encoded([analysis.embedding for analysis in analyses], "<f2")
        return [
            (
                pg.text(video.video_id),
                pg.int4(video.revision),
                self._encoder,
                first,
                second,
                embedded,
                pg.float4_array(analysis.frame_times),
                self._now,
            )
            for (video, analysis), first, second, embedded in zip(answers, level1, level2, embedding, strict=True)
        ]

    def decision(self, decided: Decided) -> tuple[Field, ...]:
        decision = decided.decision
        return (
            pg.text(decided.video.video_id),
            pg.data(decided.decision_id),
            pg.int4(decided.video.revision),
            pg.int8_or_null(decided.label_revision),
            self._made_by,
            _ROUTES[decision.route],
            self._level1[decision.level1],
            self._level2[decision.level2],
            pg.float8(decision.confidence),
            pg.float8(decision.threshold),
            pg.boolean(decision.audit),
            _reasons(tuple(decision.reasons)),
            pg.json_text(decided.top_k),
            _EVIDENCE,
            self._now,
        )

    def label(self, decided: Decided) -> tuple[Field, ...]:
        assert decided.label_revision is not None
        video, decision = decided.video, decided.decision
        accepted = decision.route is Route.ACCEPT
        public = decision.route is not Route.REVIEW
        return (
            pg.text(video.video_id),
            pg.data(decided.decision_id),
            pg.int4(video.revision),
            pg.int8(decided.label_revision),
            self._label_head,
            _STATUSES[decision.route],
            _MODEL,
            self._level1[decision.level1] if public else NULL,
            self._level2[decision.level2] if accepted else NULL,
            pg.float8(decision.confidence) if public else NULL,
            pg.text(video.author_id),
            pg.timestamptz(video.published_at),
            *self._label_tail,
        )

    def task(self, decided: Decided, task_id: UUID, priority: float, deadline: datetime) -> tuple[Field, ...]:
        return (
            pg.text(decided.video.video_id),
            pg.uuid(task_id),
            pg.int4(decided.video.revision),
            pg.data(decided.decision_id),
            _reasons(tuple(decided.decision.reasons)),
            pg.float8(priority),
            self._now,
            pg.timestamptz(deadline),
        )


def top_k_json(decision: Decision, model: LiveModel) -> bytes:
    names = model.level2
    return orjson.dumps([{"level2": names[place], "probability": share} for place, share in decision.top_k])


def priority_of(decision: Decision, model: LiveModel) -> float:
    """harm x uncertainty of the best answer. Reach (followers, plays) multiplies it once those signals are read."""
    return model.harm[decision.level2] * (1.0 - decision.level2_probability)


_MODEL = pg.text("model")
_EVIDENCE = pg.jsonb(NO_SIGNALS)
_ROUTES = {route: pg.text(route.value) for route in Route}
_STATUSES = {route: pg.text(status.value) for route, status in STATUS_OF_ROUTE.items()}


def _encoded(arrays: Sequence[FloatArray], dtype: str) -> list[Field]:
    """bytea fields of arrays of one shape."""
    block = np.stack(arrays).astype(dtype, copy=False)
    size = block[0].nbytes
    content, head = block.tobytes(), pg.length(size)
    return [head + content[at : at + size] for at in range(0, len(content), size)]


@lru_cache(maxsize=1024)
def _reasons(reasons: tuple[str, ...]) -> Field:
    return pg.text_array([str(reason) for reason in reasons])


@lru_cache(maxsize=16)
def _category_fields(names: tuple[str, ...]) -> tuple[Field, ...]:
    return tuple(pg.text(name) for name in names)
