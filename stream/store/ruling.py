"""One decision put in force by itself: a reviewer's, or one that follows from a task's end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from psycopg.types.json import Jsonb

from models.decision.types import Route
from schemas import ids
from schemas.events import Candidate, LabelDecided, Trigger
from stream.store.messages import OutboxRow, announced
from stream.store.rows import STATUS_OF_ROUTE, HumanWord, StoredVideo

Cursor = psycopg.Cursor[Any]


@dataclass(frozen=True, slots=True)
class Authority:
    """By which model, policy and promotion something was decided."""

    model_id: str
    encoder_id: str
    policy_id: str
    taxonomy_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Ruling:
    """A decision and the label it makes. level1, level2: the answer, whatever of it the route publishes."""

    video: StoredVideo
    traceparent: str | None
    authority: Authority
    source: str  # model | human
    route: Route
    level1: str
    level2: str | None
    confidence: float | None
    threshold: float | None
    reasons: tuple[str, ...]
    top_k: list[dict[str, Any]]
    evidence: dict[str, Any]
    label_revision: int
    human: HumanWord | None

    @property
    def decision_id(self) -> UUID:
        video, model = self.video, self.authority.model_id
        return ids.decision_id(video.video_id, video.revision, model, "", Trigger.REVIEW.value, self.label_revision)


_DECISION = """
INSERT INTO decisions (video_id, decision_id, revision, label_revision, trigger, source, model_id, encoder_id,
                       policy_id, taxonomy_id, promotion_epoch, route, level1, level2, confidence, threshold, reasons,
                       top_k, evidence, decided_at)
VALUES (%s, %s, %s, %s, 'review', %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_LABEL = """
UPDATE current_labels
   SET decision_id = %s, revision = %s, label_revision = %s, promotion_epoch = %s, status = %s, source = %s,
       level1 = %s, level2 = %s, confidence = %s, taxonomy_id = %s, model_id = %s, decided_at = %s,
       human_revision = %s, human_level1 = %s, human_level2 = %s, human_at = %s, questioned_at = %s
 WHERE video_id = %s
"""


def put_in_force(cursor: Cursor, ruling: Ruling, now: datetime) -> OutboxRow:
    """Write the decision and its label, which the caller has locked; returns what is announced of it."""
    video, by = ruling.video, ruling.authority
    public, accepted = ruling.route is not Route.REVIEW, ruling.route is Route.ACCEPT
    level1, level2 = ruling.level1 if public else None, ruling.level2 if accepted else None
    confidence = ruling.confidence if public else None
    cursor.execute(
        _DECISION,
        [
            video.video_id,
            ruling.decision_id,
            video.revision,
            ruling.label_revision,
            ruling.source,
            by.model_id,
            by.encoder_id,
            by.policy_id,
            by.taxonomy_id,
            by.epoch,
            ruling.route.value,
            ruling.level1,
            ruling.level2,
            ruling.confidence,
            ruling.threshold,
            list(ruling.reasons),
            Jsonb(ruling.top_k),
            Jsonb(ruling.evidence),
            now,
        ],
    )
    said = (None,) * len(HumanWord._fields) if ruling.human is None else ruling.human
    cursor.execute(
        _LABEL,
        [
            ruling.decision_id,
            video.revision,
            ruling.label_revision,
            by.epoch,
            STATUS_OF_ROUTE[ruling.route].value,
            ruling.source,
            level1,
            level2,
            confidence,
            by.taxonomy_id,
            by.model_id,
            now,
            *said,
            video.video_id,
        ],
    )
    event = LabelDecided(
        decision_id=ruling.decision_id,
        video_id=video.video_id,
        revision=video.revision,
        author_id=video.author_id,
        published_at=video.published_at,
        label_revision=ruling.label_revision,
        status=STATUS_OF_ROUTE[ruling.route],
        level1=level1,
        level2=level2,
        confidence=confidence,
        threshold=ruling.threshold,
        top_k=tuple(Candidate(**each) for each in ruling.top_k) if public else (),
        source="human" if ruling.source == "human" else "model",
        trigger=Trigger.REVIEW,
        taxonomy_id=by.taxonomy_id,
        encoder_id=by.encoder_id,
        policy_id=by.policy_id,
        model_id=by.model_id,
        evidence=summary_of(ruling.evidence),
        reasons=ruling.reasons,
        decided_at=now,
    )
    return announced(event, video.video_id, ruling.decision_id, ruling.traceparent, now)


def summary_of(evidence: dict[str, Any]) -> dict[str, Any]:
    """What of a decision's evidence is announced: what it did, never what people wrote."""
    return {name: value for name, value in evidence.items() if name not in ("author", "engagement")}


_HISTORY = """
INSERT INTO author_history (author_id, video_id, published_at, taxonomy_id, human, level1)
VALUES (%s, %s, %s, %s, true, %s)
ON CONFLICT (author_id, video_id) DO UPDATE
   SET published_at = excluded.published_at, taxonomy_id = excluded.taxonomy_id, human = true, level1 = excluded.level1
"""


def remember(cursor: Cursor, ruling: Ruling, level1: tuple[str, ...]) -> None:
    """A reviewer's word joins the author's history in full. level1: category ids in order."""
    video = ruling.video
    whole = np.zeros(len(level1), "<f4")
    whole[level1.index(ruling.level1)] = 1.0
    cursor.execute(
        _HISTORY,
        [video.author_id, video.video_id, video.published_at, ruling.authority.taxonomy_id, whole.tobytes()],
    )
