"""What a removal does to what was stored.

Removals and revisions may arrive in any order. A video is removed if and only if a removal is at least as late as the
publication of its newest revision, so every order ends in the same state: a late removal of an earlier upload changes
nothing, a removal that comes first is remembered, and a re-upload after the removal brings the video back.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg

from stream.store import messages
from stream.store.messages import OutboxRow
from stream.store.signals import forget_history
from stream.store.work import Removal

# A video not seen yet is remembered as revision -1, which any publication after the removal raises.
_REMOVE = """
INSERT INTO videos AS v (video_id, revision, author_id, media_uri, published_at, title, payload, removed_at)
SELECT video_id, -1, '', '', removed_at, '', '{}', removed_at
  FROM unnest(%s::text[], %s::timestamptz[]) AS r(video_id, removed_at)
 ORDER BY video_id COLLATE "C"
ON CONFLICT (video_id) DO UPDATE SET removed_at = excluded.removed_at, title = '', media_uri = '', payload = '{}'
 WHERE (v.removed_at IS NULL AND v.published_at <= excluded.removed_at) OR v.removed_at < excluded.removed_at
RETURNING video_id
"""
_PURGE_PREDICTIONS = "DELETE FROM predictions WHERE video_id = ANY(%s)"
_PURGE_SNAPSHOTS = "DELETE FROM engagement_snapshots WHERE video_id = ANY(%s)"
_PURGE_LETTERS = "UPDATE dead_letters SET value = NULL, headers = '{}' WHERE video_id = ANY(%s) AND value IS NOT NULL"
_WITHDRAW_LABELS = """
UPDATE current_labels
   SET status = 'withdrawn', level1 = NULL, level2 = NULL, confidence = NULL,
       human_revision = NULL, human_level1 = NULL, human_level2 = NULL, human_at = NULL, questioned_at = NULL,
       label_revision = label_revision + 1, decided_at = %s
 WHERE video_id = ANY(%s) AND status <> 'withdrawn'
RETURNING video_id, label_revision, decision_id
"""
_WITHDRAW_TASKS = """
UPDATE review_tasks SET state = 'withdrawn', closed_at = %s, closed_why = 'removed'
 WHERE video_id = ANY(%s) AND state = 'open'
RETURNING video_id, task_id
"""


def apply(cursor: psycopg.Cursor[Any], removals: Sequence[Removal], now: datetime, outbox: list[OutboxRow]) -> int:
    """Withdraw and purge; a removal that was applied before changes nothing. Returns how many took effect."""
    if not removals:
        return 0
    latest: dict[str, Removal] = {}
    for each in removals:
        held = latest.get(each.event.video_id)
        if held is None or held.event.removed_at < each.event.removed_at:
            latest[each.event.video_id] = each
    cursor.execute(_REMOVE, [list(latest), [each.event.removed_at for each in latest.values()]])
    removed = [video_id for (video_id,) in cursor]
    if not removed:
        return 0
    forget_history(cursor, removed)
    for purge in (_PURGE_PREDICTIONS, _PURGE_SNAPSHOTS):
        cursor.execute(purge, [removed])
    cursor.execute(_PURGE_LETTERS, [removed])
    cursor.execute(_WITHDRAW_TASKS, [now, removed])
    outbox += [
        messages.withdrawal(video_id, task_id, "removed", latest[video_id].input.traceparent, now)
        for video_id, task_id in cursor
    ]
    cursor.execute(_WITHDRAW_LABELS, [now, removed])
    outbox += [
        messages.tombstone(video_id, label_revision, decision_id, latest[video_id].input.traceparent, now)
        for video_id, label_revision, decision_id in cursor
    ]
    return len(removed)
