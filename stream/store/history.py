"""All that is stored of one video, read at one moment; and labels as readers see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from schemas.ids import shard_of
from stream.store.rows import StoredVideo
from stream.store.signals import evidence_now
from stream.store.work import LiveModel

Connection = psycopg.Connection[Any]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class History:
    """Rows as they are stored, each table's in the order of time. video, label: None where there is none.

    known: the signals of this moment, as evidence_json() has them; None where no model says what they mean.
    """

    video_id: str
    video: Row | None
    predictions: Sequence[Row]
    decisions: Sequence[Row]
    tasks: Sequence[Row]
    reviews: Sequence[Row]
    label: Row | None
    pending: Sequence[Row]  # outbox records, without their values
    letters: Sequence[Row]
    known: Row | None


_VIDEO = "SELECT * FROM videos WHERE video_id = %s"
_LABEL = "SELECT * FROM current_labels WHERE video_id = %s"
_PREDICTIONS = """
SELECT revision, encoder_id, level1_logits, level2_logits, frame_times, created_at
  FROM predictions WHERE video_id = %s ORDER BY revision, created_at, encoder_id
"""
# Of two decisions of one moment the one that came into force later is the later one.
_DECISIONS = "SELECT * FROM decisions WHERE video_id = %s ORDER BY decided_at, label_revision NULLS FIRST, decision_id"
# A task may go on with the wait of the one it replaces: the open one comes last.
_TASKS = "SELECT * FROM review_tasks WHERE video_id = %s ORDER BY requested_at, closed_at, task_id"
_REVIEWS = "SELECT * FROM review_decisions WHERE video_id = %s ORDER BY decided_at, review_id"
_PENDING = "SELECT id, topic, key, headers, available_at FROM outbox WHERE shard = %s AND key = %s ORDER BY id"
_LETTERS = """
SELECT id, revision, code, detail, attempts, source_topic, source_partition, source_offset, died_at, redriven_at
  FROM dead_letters WHERE video_id = %s ORDER BY died_at, id
"""


def read_history(connection: Connection, video_id: str, model: LiveModel | None) -> History:
    """model: the one at hand. The connection is in autocommit mode."""
    with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

        def rows(query: str) -> list[Row]:
            return cursor.execute(query, [video_id]).fetchall()

        video = next(iter(rows(_VIDEO)), None)
        return History(
            video_id=video_id,
            video=video,
            predictions=rows(_PREDICTIONS),
            decisions=rows(_DECISIONS),
            tasks=rows(_TASKS),
            reviews=rows(_REVIEWS),
            label=next(iter(rows(_LABEL)), None),
            pending=cursor.execute(_PENDING, [shard_of(video_id), video_id]).fetchall(),
            letters=rows(_LETTERS),
            known=_known(connection, video, model),
        )


def _known(connection: Connection, video: Row | None, model: LiveModel | None) -> Row | None:
    if video is None or model is None:
        return None
    with connection.cursor() as cursor:
        subject = StoredVideo(*(video[name] for name in StoredVideo._fields))
        return evidence_now(cursor, subject, model.taxonomy_id, model.level1)


_LABELS = "SELECT * FROM labels WHERE video_id = ANY(%s)"
_AS_OF = "SELECT * FROM labels_as_of(%s) WHERE video_id = %s"
# A removal is no decision: the one that stands is told from the label, as its end.
_CHANGES = """
SELECT d.label_revision, d.revision, d.decided_at, d.trigger, d.source,
       CASE d.route WHEN 'accept' THEN 'labelled' WHEN 'accept_level1' THEN 'labelled_level1' ELSE 'in_review' END
           AS status,
       CASE WHEN d.route IN ('accept', 'accept_level1') THEN d.level1 END AS level1,
       CASE WHEN d.route = 'accept' THEN d.level2 END AS level2,
       CASE WHEN d.route IN ('accept', 'accept_level1') THEN d.confidence END AS confidence,
       d.reasons, d.model_id, d.decision_id
  FROM decisions d WHERE d.video_id = %(video)s AND d.label_revision IS NOT NULL
UNION ALL
SELECT c.label_revision, c.revision, c.decided_at, 'removal', 'platform', c.status, NULL, NULL, NULL, '{}', NULL, NULL
  FROM current_labels c WHERE c.video_id = %(video)s AND c.status = 'withdrawn'
 ORDER BY label_revision
"""


def labels_of(connection: Connection, video_ids: Sequence[str]) -> list[Row]:
    """What may be read of each, in the order asked for; those without a label are left out."""
    with connection.cursor(row_factory=dict_row) as cursor:
        found = {row["video_id"]: row for row in cursor.execute(_LABELS, [list(video_ids)])}
    return [found[video_id] for video_id in dict.fromkeys(video_ids) if video_id in found]


def changes_of(connection: Connection, video_id: str) -> list[Row]:
    """Every label that was in force, by label_revision."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_CHANGES, {"video": video_id}).fetchall()


def label_as_of(connection: Connection, video_id: str, moment: datetime) -> Row | None:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_AS_OF, [moment, video_id]).fetchone()
