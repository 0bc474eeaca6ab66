"""What is stored already of the videos in hand. Read under their row locks, except by lookup()."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import numpy as np
import psycopg

from models.decision.supersede import Standing
from models.decision.types import ContentEvidence
from schemas.events import VideoPublished
from stream.store import encoding as pg
from stream.store.rows import HumanWord
from stream.store.work import LiveModel

Cursor = psycopg.Cursor[Any]
Key = tuple[str, int]  # video_id, revision


@dataclass(frozen=True, slots=True)
class Known:
    """A video seen before. label is what holds now, and label_revision its number (0: none yet); human: what a reviewer
    last said of it, of whichever revision."""

    removed: bool
    label: Standing | None
    label_revision: int
    open_task: UUID | None
    human: HumanWord | None = None


_KNOWN = """
SELECT v.video_id, v.removed_at IS NOT NULL, c.revision, c.promotion_epoch, c.source = 'human', c.level1, c.level2,
       c.label_revision, t.task_id, c.human_revision, c.human_level1, c.human_level2, c.human_at, c.questioned_at
  FROM unnest(%s::text[]) AS k(video_id)
  JOIN videos v ON v.video_id = k.video_id
  LEFT JOIN current_labels c ON c.video_id = k.video_id
  LEFT JOIN review_tasks t ON t.video_id = k.video_id AND t.state = 'open'
"""


def read_known(cursor: Cursor, video_ids: Collection[str]) -> dict[str, Known]:
    cursor.execute(_KNOWN, [list(video_ids)])
    return {
        video_id: Known(
            removed=removed,
            label=None if revision is None else Standing(revision, epoch, human, level1, level2),
            label_revision=label_revision or 0,
            open_task=task_id,
            human=None if said[0] is None else HumanWord(*said),
        )
        for video_id, removed, revision, epoch, human, level1, level2, label_revision, task_id, *said in cursor
    }


_PREDICTIONS = """
SELECT p.video_id, p.revision, p.level1_logits, p.level2_logits
  FROM unnest(%b::text[], %b::int4[]) AS k(video_id, revision)
  JOIN predictions p ON p.video_id = k.video_id AND p.revision = k.revision AND p.encoder_id = %s
"""


def read_predictions(cursor: Cursor, keys: Sequence[Key], model: LiveModel) -> dict[Key, ContentEvidence]:
    cursor.execute(_PREDICTIONS, [*key_columns(keys), model.encoder_id])
    return {
        (video_id, revision): ContentEvidence(np.frombuffer(level1, "<f4"), np.frombuffer(level2, "<f4"))
        for video_id, revision, level1, level2 in cursor
    }


_DECIDED = """
SELECT d.video_id, d.revision
  FROM unnest(%b::text[], %b::int4[]) AS k(video_id, revision)
  JOIN decisions d ON d.video_id = k.video_id AND d.revision = k.revision AND d.model_id = %s AND d.run_id = ''
   AND d.trigger = 'publish'
"""


def read_decided(cursor: Cursor, keys: Sequence[Key], model: LiveModel) -> set[Key]:
    cursor.execute(_DECIDED, [*key_columns(keys), model.model_id])
    return set(cursor)


@dataclass(frozen=True, slots=True)
class Found:
    """What lookup() found of inputs. finished: decided, dead or removed: nothing is left to do. predicted: a stored
    prediction waits for a decision, so nothing needs to be decoded."""

    finished: frozenset[Key]
    predicted: frozenset[Key]


NOTHING = Found(frozenset(), frozenset())

_SEEN = "SELECT video_id, revision, removed_at FROM videos WHERE video_id = ANY(%b::text[])"
_FOUND = """
SELECT k.video_id, k.revision,
       EXISTS (SELECT FROM decisions d WHERE d.video_id = k.video_id AND d.revision = k.revision AND d.model_id = %s
                  AND d.run_id = '' AND d.trigger = 'publish'),
       EXISTS (SELECT FROM dead_letters l WHERE l.video_id = k.video_id AND l.revision = k.revision
                  AND l.redriven_at IS NULL),
       EXISTS (SELECT FROM predictions p WHERE p.video_id = k.video_id AND p.revision = k.revision
                  AND p.encoder_id = %s)
  FROM unnest(%b::text[], %b::int4[]) AS k(video_id, revision)
"""


def lookup(connection: psycopg.Connection[Any], videos: Iterable[VideoPublished], model: LiveModel) -> Found:
    """Before anything is fetched: which of these inputs need no analysis. One probe each for videos never seen."""
    wanted: Mapping[Key, VideoPublished] = {(video.video_id, video.revision): video for video in videos}
    if not wanted:
        return NOTHING
    with connection.cursor() as cursor:
        cursor.execute(_SEEN, [pg.text_column([pg.text(video_id) for video_id, _ in wanted])])
        seen = {video_id: rest for video_id, *rest in cursor}
        if not seen:
            return NOTHING
        keys = [key for key in wanted if key[0] in seen]
        removed = {key for key in keys if _stays_removed(wanted[key], *seen[key[0]])}
        cursor.execute(_FOUND, [model.model_id, model.encoder_id, *key_columns(keys)])
        found = cursor.fetchall()
    return Found(
        finished=frozenset(removed | {(v, r) for v, r, decided, dead, _ in found if decided or dead}),
        predicted=frozenset((v, r) for v, r, _, _, predicted in found if predicted),
    )


def _stays_removed(video: VideoPublished, revision: int, removed_at: datetime | None) -> bool:
    """Mirrors the WHERE of the statement that locks videos."""
    return removed_at is not None and not (video.revision > revision and video.published_at > removed_at)


def key_columns(keys: Sequence[Key]) -> tuple[pg.Column, pg.Column]:
    return (
        pg.text_column([pg.text(video_id) for video_id, _ in keys]),
        pg.int4_column([pg.int4(revision) for _, revision in keys]),
    )
