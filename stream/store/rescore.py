"""New evidence in, labels decided again. The order of effects is the docstring of write()."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from models.decision.types import Route
from schemas.events import AuthorProfile, EngagementSnapshot
from schemas.wire import encode_value
from stream import boundaries
from stream.store import encoding as pg
from stream.store import letters
from stream.store.labelled import read_labelled
from stream.store.messages import OUTBOX_COLUMNS, OutboxRow
from stream.store.prior import Key
from stream.store.reassess import Reassessed, reassess
from stream.store.signals import PROFILE_WINDOW, lock_authors
from stream.store.transaction import append, copy_rows
from stream.store.work import Dead, LiveModel, Observed, Outcome, Written

Connection = psycopg.Connection[Any]
Cursor = psycopg.Cursor[Any]

PROFILES_KEPT = 20  # versions of an author's profile, for videos that come late
CONCERNED = 1000  # videos of an author that a new profile looks at again: the newest; nobody publishes more in a window
AT_ONCE = 4000  # videos of one transaction: a batch of profiles may concern any number


@dataclass(frozen=True, slots=True)
class ReviewRules:
    """within: how long a task may wait for people; cooldown: how long a human label is not questioned."""

    within: timedelta
    cooldown: timedelta


def write(
    connection: Connection, outcomes: Sequence[Outcome], model: LiveModel, now: datetime, rules: ReviewRules
) -> Written:
    """Store what a batch of observations says and decide again what it touches. The connection is in autocommit mode.

    1. profiles, in a transaction of their own that holds their authors' locks alone: whoever decided without them has
       committed by its end, and whoever decides later sees them.
    2. videos: those with a snapshot, and those that a profile of the batch counts for, published at most its window
       before it: were the accepted ones left out, it would matter which came first. Locked in sorted order; a video not
       published yet is remembered as revision -1, so that what is in flight waits for this transaction, and reads what
       it wrote, or is waited for.
    3. snapshots: the one with the most plays wins, of equals the newest.
    4. decide again, from stored predictions and the newest evidence, whether or not this batch changed any: what a
       killed process wrote in step 1 or 3 may never have been looked at.
    5. decisions, labels, tasks, outbox as classify does; where nothing would be published differently, the priority of
       the open task alone.
    6. dead letters; commit. Only then may offsets be committed. Where there are too many videos for one transaction,
       steps 2 to 5 are done for one share after another, each committed by itself: done again, they change nothing.

    Raises psycopg.Error; nothing is written then but profiles, and whole shares.
    """
    events = [each.event for each in outcomes if isinstance(each, Observed)]
    profiles = [event for event in events if isinstance(event, AuthorProfile)]
    snapshots = _newest([event for event in events if isinstance(event, EngagementSnapshot)])
    dead = [each for each in outcomes if isinstance(each, Dead)]
    if profiles:
        with connection.transaction(), connection.cursor() as cursor:
            _store_profiles(cursor, profiles)
        boundaries.reached("after_profiles")
    watched = {snapshot.video_id for snapshot in snapshots}
    touched = sorted(watched | _concerned(connection, profiles))
    taken: Counter[tuple[Route, str]] = Counter()
    while len(touched) > AT_ONCE:
        share, touched = touched[:AT_ONCE], touched[AT_ONCE:]
        taken += _write_share(connection, share, snapshots, (), model, now, rules).decisions
    rest = _write_share(connection, touched, snapshots, dead, model, now, rules)
    return Written(taken + rest.decisions, rest.dead, removed=0)


def _write_share(
    connection: Connection,
    touched: Sequence[str],
    snapshots: Sequence[EngagementSnapshot],
    dead: Sequence[Dead],
    model: LiveModel,
    now: datetime,
    rules: ReviewRules,
) -> Written:
    """touched: sorted. snapshots: those of other videos are passed over."""
    mine = set(touched)
    ours = [snapshot for snapshot in snapshots if snapshot.video_id in mine]
    records: list[OutboxRow] = []
    with connection.transaction(), connection.cursor() as cursor:
        _lock(cursor, touched)
        newest = _store_snapshots(cursor, ours, now)
        current = of_now(cursor, model)
        videos = read_labelled(cursor, touched, {each.video_id for each in ours}, current, newest)
        found = reassess(videos, current, now, now + rules.within, rules.cooldown)
        append(cursor, found.effects, now)
        _update(cursor, found, now)
        written = letters.write(cursor, dead, now, records)
        copy_rows(cursor, "outbox", OUTBOX_COLUMNS, [*found.effects.outbox, pg.rows(OUTBOX_COLUMNS, records)])
        boundaries.reached("before_commit")
    boundaries.reached("after_commit")
    return Written(decisions=found.effects.taken, dead=Counter(each.code for each in written), removed=0)


def _newest(snapshots: Sequence[EngagementSnapshot]) -> list[EngagementSnapshot]:
    """Of each video's revision the snapshot that would win anyway: one statement cannot write a row twice."""
    best: dict[Key, EngagementSnapshot] = {}
    for each in snapshots:
        key = (each.video_id, each.revision)
        held = best.get(key)
        if held is None or (held.plays, held.seq) < (each.plays, each.seq):
            best[key] = each
    return [best[key] for key in sorted(best)]


_PROFILE = """
INSERT INTO author_profiles (author_id, seq, as_of, main_vertical, interests, verified, certification, followers)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (author_id, seq) DO NOTHING
"""
_PRUNE = """
DELETE FROM author_profiles p USING unnest(%s::text[]) AS k(author_id)
 WHERE p.author_id = k.author_id
   AND p.seq < (SELECT min(seq) FROM (SELECT seq FROM author_profiles n WHERE n.author_id = k.author_id
                                       ORDER BY seq DESC LIMIT %s) AS newest)
"""


def _store_profiles(cursor: Cursor, profiles: Sequence[AuthorProfile]) -> None:
    authors = sorted({profile.author_id for profile in profiles})
    lock_authors(cursor, authors, to_write=True)
    cursor.executemany(
        _PROFILE,
        [
            (
                each.author_id,
                each.seq,
                each.updated_at,
                each.main_vertical,
                Jsonb([interest.model_dump() for interest in each.interests]),
                each.verified,
                each.certification,
                each.followers,
            )
            for each in sorted(profiles, key=lambda profile: (profile.author_id, profile.seq))
        ],
    )
    cursor.execute(_PRUNE, [authors, PROFILES_KEPT])


_CONCERNED = """
SELECT h.video_id
  FROM unnest(%s::text[], %s::timestamptz[]) AS k(author_id, as_of)
 CROSS JOIN LATERAL (SELECT h.video_id FROM author_history h
                      WHERE h.author_id = k.author_id AND h.published_at >= k.as_of - %s
                      ORDER BY h.published_at DESC LIMIT %s) AS h
"""


def _concerned(connection: Connection, profiles: Sequence[AuthorProfile]) -> set[str]:
    """The labelled videos that these profiles count for."""
    if not profiles:
        return set()
    authors, moments = [each.author_id for each in profiles], [each.updated_at for each in profiles]
    rows = connection.execute(_CONCERNED, [authors, moments, PROFILE_WINDOW, CONCERNED])
    return {video_id for (video_id,) in rows}


# A conflict locks even where its WHERE leaves the row as it is, and waits for whoever is inserting the same video.
_LOCK = """
INSERT INTO videos AS v (video_id, revision, author_id, media_uri, published_at, title, payload)
SELECT video_id, -1, '', '', 'epoch', '', '{}' FROM unnest(%b::text[]) AS k(video_id) ORDER BY video_id COLLATE "C"
ON CONFLICT (video_id) DO UPDATE SET revision = v.revision WHERE false
"""


def _lock(cursor: Cursor, video_ids: Sequence[str]) -> None:
    if video_ids:
        cursor.execute(_LOCK, [pg.text_column([pg.text(video_id) for video_id in video_ids])])


_SNAPSHOT = """
INSERT INTO engagement_snapshots AS e (video_id, revision, seq, plays, snapshot, received_at)
SELECT k.video_id, k.revision, k.seq, k.plays, k.snapshot, %s
  FROM unnest(%b::text[], %b::int4[], %b::int8[], %b::int8[], %b::json[]) AS k(video_id, revision, seq, plays, snapshot)
  JOIN videos v ON v.video_id = k.video_id AND v.removed_at IS NULL
ON CONFLICT (video_id, revision) DO UPDATE
   SET seq = excluded.seq, plays = excluded.plays, snapshot = excluded.snapshot, received_at = excluded.received_at
 WHERE (excluded.plays, excluded.seq) > (e.plays, e.seq)
RETURNING video_id, revision
"""


def _store_snapshots(
    cursor: Cursor, snapshots: Sequence[EngagementSnapshot], now: datetime
) -> Mapping[Key, EngagementSnapshot]:
    """Those that are the newest now."""
    if not snapshots:
        return {}
    cursor.execute(
        _SNAPSHOT,
        [
            now,
            pg.text_column([pg.text(each.video_id) for each in snapshots]),
            pg.int4_column([pg.int4(each.revision) for each in snapshots]),
            pg.int8_column([pg.int8(each.seq) for each in snapshots]),
            pg.int8_column([pg.int8(each.plays) for each in snapshots]),
            pg.json_column([pg.data(encode_value(each)) for each in snapshots]),
        ],
    )
    given = {(each.video_id, each.revision): each for each in snapshots}
    return {key: given[key] for key in cursor}


def of_now(cursor: Cursor, model: LiveModel) -> LiveModel:
    """The model under its newest promotion: a rollback takes effect here without a restart."""
    row = cursor.execute("SELECT max(epoch) FROM promotions WHERE model_id = %s", [model.model_id]).fetchone()
    return model if row is None or row[0] is None else replace(model, epoch=row[0])


_PRIORITY = """
UPDATE review_tasks t SET priority = k.priority FROM unnest(%b::text[], %b::float8[]) AS k(video_id, priority)
 WHERE t.video_id = k.video_id AND t.state = 'open' AND t.priority <> k.priority
"""
_QUESTIONED = "UPDATE current_labels SET questioned_at = %s WHERE video_id = ANY(%s)"


def _update(cursor: Cursor, found: Reassessed, now: datetime) -> None:
    if found.priorities:
        numbers = [pg.float8(value) for value in found.priorities.values()]
        cursor.execute(_PRIORITY, [pg.text_column([*map(pg.text, found.priorities)]), pg.float8_column(numbers)])
    if found.questioned:
        cursor.execute(_QUESTIONED, [now, found.questioned])
