"""Rows of a decided video, in the binary form COPY takes. Pure: no connection is needed to build or test them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import numpy as np
import orjson

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
    key: Field  # its video_id, encoded once for all the rows it leads
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
        pg.json(payload),
        pg.text_or_null(traceparent),
    )


class RowBuilder:
    """Builds the rows of one model's decisions made at one moment; what they share is encoded once."""

    def __init__(self, model: LiveModel, now: datetime) -> None:
        self._model = model
        self._now = pg.timestamptz(now)
        self._encoder = pg.text(model.encoder_id)
        made_by = (
            pg.text(Trigger.PUBLISH.value),
            _MODEL,
            pg.text(model.model_id),
            self._encoder,
            pg.text(model.policy_id),
            pg.text(model.taxonomy_id),
            pg.int8(model.epoch),
        )
        self._made_by = {route: b"".join((*made_by, pg.text(route.value))) for route in Route}
        self._decision_tail = _EVIDENCE + self._now
        self._label_head = {
            route: b"".join((pg.int8(model.epoch), pg.text(status.value), _MODEL))
            for route, status in STATUS_OF_ROUTE.items()
        }
        self._label_tail = b"".join((pg.text(model.taxonomy_id), pg.text(model.model_id), _EVIDENCE, self._now))
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
            self._decision_tail,
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
        )

    def task(self, decided: Decided, task_id: bytes, priority: float, deadline: datetime) -> tuple[Field, ...]:
        return (
            decided.key,
            pg.data(task_id),
            pg.int4(decided.video.revision),
            pg.data(decided.decision_id),
            _reasons(decided.decision.reasons),
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


@lru_cache(maxsize=1024)
def _reasons(reasons: tuple[str, ...]) -> Field:
    return pg.text_array([str(reason) for reason in reasons])


@lru_cache(maxsize=16)
def _category_fields(names: tuple[str, ...]) -> tuple[Field, ...]:
    return tuple(pg.text(name) for name in names)
