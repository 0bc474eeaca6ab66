"""Review tasks that people will not get to: overdue, or more than the budget allows. What waits is published as far as
level 1 goes, with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg

from models.decision.priority import AGEING
from models.decision.types import Reason, Route
from stream.store.encoding import rows as pg_rows
from stream.store.messages import OUTBOX_COLUMNS, OutboxRow, withdrawal
from stream.store.rows import HumanWord, StoredVideo
from stream.store.ruling import Authority, Ruling, put_in_force
from stream.store.transaction import copy_rows

Connection = psycopg.Connection[Any]
Cursor = psycopg.Cursor[Any]

AT_ONCE = 200  # tasks of one transaction: their videos stay locked no longer than a batch's
SECONDS_OF_AGEING = AGEING.total_seconds()

_SWEEPER = 0x73776570  # 'swep': one process sweeps at a time

_OVERDUE = """
SELECT video_id FROM review_tasks WHERE state = 'open' AND deadline_at <= %s ORDER BY deadline_at LIMIT %s
"""
# The order of models.decision.priority.aged(). Audit samples stay: they are the only unbiased estimate of error.
_OVER_BUDGET = """
SELECT video_id
  FROM (SELECT video_id, reasons,
               row_number() OVER (ORDER BY priority * (1 + extract(epoch FROM %s - requested_at) / %s) DESC, video_id)
          FROM review_tasks WHERE state = 'open') AS t(video_id, reasons, place)
 WHERE place > %s AND NOT 'audit_sample' = ANY(reasons)
 ORDER BY place DESC LIMIT %s
"""


def expire(connection: Connection, *, now: datetime, within: timedelta, budget_per_h: int | None) -> Counter[str]:
    """Close what is overdue, then what is over the budget (as many tasks as people decide within a deadline, those of
    lowest priority first). Returns how many by reason. Does nothing where another process is at it."""
    closed = Counter[str]()
    allowed = None if budget_per_h is None else max(1, int(budget_per_h * within / timedelta(hours=1)))
    while True:
        with connection.transaction(), connection.cursor() as cursor:
            if cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_SWEEPER]).fetchone() != (True,):
                return closed
            why, chosen = Reason.REVIEW_EXPIRED, _ids(cursor, _OVERDUE, [now, AT_ONCE])
            if not chosen and allowed is not None:
                why = Reason.OVER_BUDGET
                chosen = _ids(cursor, _OVER_BUDGET, [now, SECONDS_OF_AGEING, allowed, AT_ONCE])
            count = _close(cursor, chosen, why, now)
        closed[why.value] += count
        if not count:
            return +closed


def _ids(cursor: Cursor, query: str, parameters: Sequence[Any]) -> list[str]:
    return sorted(video_id for (video_id,) in cursor.execute(query, parameters))


_LOCK = 'SELECT FROM videos WHERE video_id = ANY(%s) ORDER BY video_id COLLATE "C" FOR UPDATE'
_WAITING = """
SELECT v.video_id, v.revision, v.author_id, v.published_at, v.traceparent, t.task_id,
       c.status = 'in_review' AND c.source = 'model' AND c.decision_id = t.decision_id, c.label_revision,
       d.model_id, d.encoder_id, d.policy_id, d.taxonomy_id, d.promotion_epoch,
       d.level1, d.confidence, d.reasons, d.top_k, d.evidence,
       c.human_revision, c.human_level1, c.human_level2, c.human_at, c.questioned_at
  FROM review_tasks t
  JOIN videos v USING (video_id)
  JOIN current_labels c USING (video_id)
  JOIN decisions d ON d.video_id = t.video_id AND d.decision_id = t.decision_id
 WHERE t.video_id = ANY(%s) AND t.state = 'open'
"""
_CLOSE = """
UPDATE review_tasks SET state = 'withdrawn', closed_at = %s, closed_why = %s
 WHERE video_id = ANY(%s) AND state = 'open'
"""


def _close(cursor: Cursor, video_ids: list[str], why: Reason, now: datetime) -> int:
    if not video_ids:
        return 0
    cursor.execute(_LOCK, [video_ids])
    waiting = cursor.execute(_WAITING, [video_ids]).fetchall()
    records: list[OutboxRow] = []
    for video_id, revision, author_id, published_at, traceparent, task_id, undecided, label_revision, *rest in waiting:
        records.append(withdrawal(video_id, task_id, why.value, traceparent, now))
        if undecided:
            video = StoredVideo(video_id, revision, author_id, published_at)
            records.append(put_in_force(cursor, _at_level1(video, traceparent, label_revision, rest, why), now))
    cursor.execute(_CLOSE, [now, why.value, video_ids])
    copy_rows(cursor, "outbox", OUTBOX_COLUMNS, [pg_rows(OUTBOX_COLUMNS, records)])
    return len(waiting)


def _at_level1(
    video: StoredVideo, traceparent: str | None, label_revision: int, row: Sequence[Any], why: Reason
) -> Ruling:
    """The doubtful decision again, published as far as level 1."""
    model_id, encoder_id, policy_id, taxonomy_id, epoch, level1, confidence, reasons, top_k, evidence, *said = row
    return Ruling(
        video=video,
        traceparent=traceparent,
        authority=Authority(model_id, encoder_id, policy_id, taxonomy_id, epoch),
        source="model",
        route=Route.ACCEPT_LEVEL1,
        level1=level1,
        level2=None,
        confidence=confidence,
        threshold=None,
        reasons=(why.value, *reasons),
        top_k=top_k,
        evidence=evidence,
        label_revision=label_revision + 1,
        human=None if said[0] is None else HumanWord(*said),
    )
