"""Videos with a label, read under their locks together with all that the label may be decided again from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import psycopg

from models.decision.supersede import Standing
from models.decision.types import ContentEvidence, Route
from schemas.events import EngagementSnapshot, Trigger
from stream.store import encoding as pg
from stream.store.prior import Key, Known
from stream.store.rows import HumanWord, StoredVideo, Waiting
from stream.store.signals import NO_SIGNALS_KNOWN, NOTHING_NEWER, Signals, read_signals
from stream.store.work import LiveModel

Cursor = psycopg.Cursor[Any]


class Stored(NamedTuple):
    """A row of _LABELLED. best: of the decision in force, whatever of it is published; human: what a reviewer last said
    of the video, of whichever revision."""

    video_id: str
    revision: int
    author_id: str
    published_at: datetime
    traceparent: str | None
    epoch: int
    is_human: bool
    level1: str | None
    level2: str | None
    label_revision: int
    model_id: str
    route: str
    best_level1: str
    best_level2: str | None
    reasons: list[str]
    open_task: UUID | None
    requested_at: datetime
    deadline_at: datetime
    escalated: bool
    level1_logits: bytes
    level2_logits: bytes
    human_revision: int | None
    human_level1: str | None
    human_level2: str | None
    human_at: datetime
    questioned_at: datetime | None

    def told(self, human: HumanWord | None) -> Stored:
        """The same, had a reviewer last said that."""
        return Stored._make((*self[: -len(HumanWord._fields)], *(human or (None,) * len(HumanWord._fields))))


class Labelled(NamedTuple):
    """A video with a label. trigger: why it is looked at again. What few are asked for is made only then."""

    stored: Stored
    content: ContentEvidence
    signals: Signals
    trigger: Trigger

    @property
    def video(self) -> StoredVideo:
        return StoredVideo(*self.stored[:4])

    @property
    def label(self) -> Standing:
        stored = self.stored
        return Standing(stored.revision, stored.epoch, stored.is_human, stored.level1, stored.level2)

    @property
    def human(self) -> HumanWord | None:
        stored = self.stored
        if stored.human_revision is None:
            return None
        return HumanWord(
            stored.human_revision, stored.human_level1, stored.human_level2, stored.human_at, stored.questioned_at
        )

    @property
    def known(self) -> Known:
        return Known(False, self.label, self.stored.label_revision, self.stored.open_task, self.human)

    @property
    def route(self) -> Route:
        return Route(self.stored.route)

    @property
    def best(self) -> tuple[str, str | None]:
        return self.stored.best_level1, self.stored.best_level2

    @property
    def waiting(self) -> Waiting | None:
        """Of its open task."""
        stored = self.stored
        if stored.open_task is None:
            return None
        return Waiting(stored.requested_at, stored.deadline_at, stored.escalated)


# What a model of a newer promotion decided is not ours to decide again, though it was before that promotion.
_LABELLED = """
SELECT v.video_id, v.revision, v.author_id, v.published_at, v.traceparent,
       c.promotion_epoch, c.source = 'human', c.level1, c.level2, c.label_revision, c.model_id,
       d.route, d.level1, d.level2, d.reasons, t.task_id, t.requested_at, t.deadline_at, t.escalated,
       p.level1_logits, p.level2_logits,
       c.human_revision, c.human_level1, c.human_level2, c.human_at, c.questioned_at
  FROM unnest(%b::text[]) AS k(video_id)
  JOIN videos v ON v.video_id = k.video_id AND v.removed_at IS NULL
  JOIN current_labels c ON c.video_id = k.video_id AND c.revision = v.revision
       AND c.model_id NOT IN (SELECT model_id FROM promotions WHERE epoch > %s)
  JOIN decisions d ON d.video_id = k.video_id AND d.decision_id = c.decision_id
  JOIN predictions p ON p.video_id = k.video_id AND p.revision = v.revision AND p.encoder_id = %s
  LEFT JOIN review_tasks t ON t.video_id = k.video_id AND t.state = 'open'
"""


def read_labelled(
    cursor: Cursor,
    video_ids: Sequence[str],
    watched: set[str],
    model: LiveModel,
    newest: Mapping[Key, EngagementSnapshot] = NOTHING_NEWER,
) -> list[Labelled]:
    """Those of the videos, which the caller has locked, whose label this model may decide again: its stored prediction
    is there, and no newer promotion has decided. watched: those that have a new snapshot; newest: those that were just
    stored."""
    if not video_ids:
        return []
    column = pg.text_column([pg.text(video_id) for video_id in video_ids])
    cursor.execute(_LABELLED, [column, model.epoch, model.encoder_id], binary=True)
    rows = list(map(Stored._make, cursor.fetchall()))
    keys = [row[:2] for row in rows]
    signals = read_signals(cursor, rows, model, watched=keys, newest=newest)
    return [
        Labelled(
            row,
            ContentEvidence(np.frombuffer(row.level1_logits, "<f4"), np.frombuffer(row.level2_logits, "<f4")),
            signals.get(key, NO_SIGNALS_KNOWN),
            Trigger.ENGAGEMENT if row.video_id in watched else Trigger.AUTHOR,
        )
        for key, row in zip(keys, rows, strict=True)
    ]
