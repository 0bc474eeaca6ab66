"""What is known of videos besides their content: read under their locks, newest first, and told as evidence.

A video is judged by the newest profile of its author that is not much younger than itself, by the author's videos
published before it, and by the engagement of its own revision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import orjson
import psycopg

from models.decision.evidence import author_known, engagement_evidence, evidence_json
from models.decision.priority import reach_of
from models.decision.types import AuthorEvidence, Decision, EngagementEvidence, FloatArray
from schemas.events import EngagementSnapshot
from schemas.ids import shard_of
from stream.store import encoding as pg
from stream.store.prior import Key, key_columns
from stream.store.rows import Seen, Subject
from stream.store.work import LiveModel

Cursor = psycopg.Cursor[Any]

PROFILE_WINDOW = timedelta(days=7)  # a profile this much younger than a video still speaks for it
HISTORY_VIDEOS = 64  # of an author: the newest before the video


class Signals(NamedTuple):
    """Of one video; reach is for its task's priority."""

    author: AuthorEvidence | None = None
    engagement: EngagementEvidence | None = None
    reach: float = reach_of(None, None)


NO_SIGNALS_KNOWN = Signals()
NOTHING_NEWER: Mapping[Key, EngagementSnapshot] = MappingProxyType({})

_AUTHORS_LOCK = 0x617574  # 'aut': the first half of the advisory locks' keys
_LOCK_SHARED = "SELECT pg_advisory_xact_lock_shared(%s, shard) FROM unnest(%s::int4[]) AS shard"
_LOCK_EXCLUSIVE = "SELECT pg_advisory_xact_lock(%s, shard) FROM unnest(%s::int4[]) AS shard"


def lock_authors(cursor: Cursor, author_ids: Iterable[str], *, to_write: bool) -> None:
    """Before any video is locked: whoever decides shares the lock of its authors' shards, whoever writes profiles has
    it alone. So a profile is seen by a decision, or its writer sees the decided video."""
    shards = sorted({shard_of(author_id) for author_id in author_ids})
    cursor.execute(_LOCK_EXCLUSIVE if to_write else _LOCK_SHARED, [_AUTHORS_LOCK, shards])


# In the order of publication, newest first, of one moment by id: equal histories add up to equal sums.
_AUTHORS = """
SELECT k.place, p.main_vertical, p.interests::text, p.verified, p.followers, h.levels
  FROM unnest(%b::text[], %b::text[], %b::timestamptz[])
       WITH ORDINALITY AS k(video_id, author_id, published_at, place)
  LEFT JOIN LATERAL (SELECT * FROM author_profiles p
                      WHERE p.author_id = k.author_id AND p.as_of <= k.published_at + %s
                      ORDER BY p.seq DESC LIMIT 1) AS p ON true
  LEFT JOIN LATERAL (SELECT string_agg(newest.level1, '') AS levels
                       FROM (SELECT h.level1 FROM author_history h
                              WHERE h.author_id = k.author_id AND h.published_at < k.published_at
                                AND h.video_id <> k.video_id AND h.taxonomy_id = %s
                              ORDER BY h.published_at DESC, h.video_id LIMIT %s) AS newest) AS h ON true
 WHERE p.author_id IS NOT NULL OR h.levels IS NOT NULL
"""
_SNAPSHOTS = """
SELECT e.video_id, e.revision, e.snapshot::text
  FROM unnest(%b::text[], %b::int4[]) AS k(video_id, revision)
  JOIN engagement_snapshots e USING (video_id, revision)
"""


def read_signals(
    cursor: Cursor,
    videos: Sequence[Subject],
    model: LiveModel,
    *,
    watched: Sequence[Key],
    newest: Mapping[Key, EngagementSnapshot] = NOTHING_NEWER,
) -> dict[Key, Signals]:
    """Of each video that has any; `watched` are those of `videos` that may have engagement: one just inserted has
    none. newest: snapshots that need not be read, as this transaction wrote them."""
    if model.policy.signals is None:
        return {}
    return _read_known(cursor, videos, model.taxonomy_id, model.level1, watched=watched, newest=newest)


def evidence_now(cursor: Cursor, video: Subject, taxonomy_id: str, level1: Sequence[str]) -> dict[str, Any]:
    """What is known of one video at this moment, whatever any decision saw of it, as evidence_json() has it."""
    key = (video.video_id, video.revision)
    known = _read_known(cursor, [video], taxonomy_id, level1, watched=[key]).get(key, NO_SIGNALS_KNOWN)
    return evidence_json(known.author, known.engagement, level1)


def _read_known(
    cursor: Cursor,
    videos: Sequence[Subject],
    taxonomy_id: str,
    level1: Sequence[str],
    *,
    watched: Sequence[Key],
    newest: Mapping[Key, EngagementSnapshot] = NOTHING_NEWER,
) -> dict[Key, Signals]:
    if not videos:
        return {}
    authors = _read_authors(cursor, videos, taxonomy_id, level1)
    snapshots = {**_read_snapshots(cursor, [key for key in watched if key not in newest]), **newest}
    found = {}
    for place, video in enumerate(videos):
        key = (video.video_id, video.revision)
        author, snapshot = authors.get(place), snapshots.get(key)
        if author is not None or snapshot is not None:
            found[key] = _signals(author, snapshot, level1)
    return found


class _Author(NamedTuple):
    evidence: AuthorEvidence | None
    followers: int | None


def _read_authors(
    cursor: Cursor, videos: Sequence[Subject], taxonomy_id: str, level1: Sequence[str]
) -> dict[int, _Author]:
    """By the video's place."""
    columns = (
        pg.text_column([pg.text(video.video_id) for video in videos]),
        pg.text_column([pg.text(video.author_id) for video in videos]),
        pg.timestamptz_column([pg.timestamptz(video.published_at) for video in videos]),
    )
    cursor.execute(_AUTHORS, [*columns, PROFILE_WINDOW, taxonomy_id, HISTORY_VIDEOS], binary=True)
    rows = cursor.fetchall()
    sums = iter(_sums_of([row[5] for row in rows if row[5] is not None], len(level1)))
    return {
        place - 1: _Author(
            author_known(main, _interests(interests), verified, None if levels is None else next(sums), level1),
            followers,
        )
        for place, main, interests, verified, followers, levels in rows
    }


def _read_snapshots(cursor: Cursor, watched: Sequence[Key]) -> Mapping[Key, EngagementSnapshot]:
    if not watched:
        return {}
    cursor.execute(_SNAPSHOTS, key_columns(watched))
    return {(video_id, revision): EngagementSnapshot.model_validate_json(text) for video_id, revision, text in cursor}


def _interests(stored: str | None) -> Sequence[tuple[str, float]]:
    if stored is None or stored == "[]":
        return ()
    return [(each["category"], each["weight"]) for each in orjson.loads(stored)]


def _sums_of(histories: Sequence[bytes], n_level1: int) -> FloatArray:
    """[B, C1]: soft counts over the videos whose shares follow one another in each."""
    if not histories:
        return np.empty((0, n_level1), np.float32)
    shares = np.frombuffer(b"".join(histories), "<f4").reshape(-1, n_level1).astype(np.float64)
    ends = np.cumsum([len(each) for each in histories]) // (4 * n_level1)
    return np.add.reduceat(shares, np.concatenate(([0], ends[:-1]))).astype(np.float32)


def _signals(author: _Author | None, snapshot: EngagementSnapshot | None, level1: Sequence[str]) -> Signals:
    evidence, followers = author or (None, None)
    if snapshot is None:
        return Signals(evidence, None, reach_of(followers, None))
    return Signals(evidence, engagement_evidence(snapshot, level1), reach_of(followers, snapshot.plays))


# Of the author of the label that goes too: a new revision may have another one.
_DELETE_HISTORY = """
DELETE FROM author_history h
 USING (SELECT video_id, author_id FROM videos WHERE video_id = ANY(%(ids)s)
         UNION SELECT video_id, author_id FROM current_labels WHERE video_id = ANY(%(ids)s)) AS k
 WHERE h.author_id = k.author_id AND h.video_id = k.video_id
"""


def forget_history(cursor: Cursor, video_ids: Sequence[str]) -> None:
    """Take what these videos say of their authors out of the authors' histories."""
    cursor.execute(_DELETE_HISTORY, {"ids": video_ids})


def seen(signals: Signals, decision: Decision, model: LiveModel) -> Seen | None:
    """What a decision saw, and what that did; None where it saw its content alone."""
    if signals.author is None and signals.engagement is None:
        return None
    content = decision.content
    done: dict[str, Any] = {
        "moved": decision.moved,
        "contributions": dict(decision.contributions),
        "content": None
        if content is None
        else {
            "route": content.route,
            "level1": model.level1[content.level1],
            "level2": model.level2[content.level2],
            "probability": content.probability,
        },
    }
    values = evidence_json(signals.author, signals.engagement, model.level1)
    return Seen(orjson.dumps(values | done), orjson.dumps(done))
