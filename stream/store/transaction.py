"""The one Postgres transaction of a batch. The order of effects is the docstring of write()."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg

from schemas.events import VideoPublished
from stream import boundaries
from stream.store import attempts, letters, messages, prior, removal
from stream.store import encoding as pg
from stream.store.assemble import Stored, assemble
from stream.store.effects import Effects
from stream.store.encoding import Field
from stream.store.messages import OUTBOX_COLUMNS, OutboxRow
from stream.store.prior import Known
from stream.store.rows import (
    DECISION_COLUMNS,
    HISTORY_COLUMNS,
    LABEL_COLUMNS,
    PREDICTION_COLUMNS,
    TASK_COLUMNS,
    video_fields,
)
from stream.store.signals import forget_history, lock_authors, read_signals
from stream.store.work import Analysed, Batch, LiveModel, Written

Connection = psycopg.Connection[Any]
Cursor = psycopg.Cursor[Any]


def write(connection: Connection, batch: Batch, model: LiveModel, now: datetime, review_within: timedelta) -> Written:
    """Write what a batch of outcomes means, in one transaction. The connection is in autocommit mode.

    1. videos: insert, or raise to the newest revision, in sorted order. Each row stays locked until the end, so what
       any decider does to these videos happens before this transaction or after it. What is stored of videos seen
       before (label, open task, predictions, decisions) is read only now, under the lock.
    2. predictions: a stored one wins over the analysis at hand; inference is never trusted twice. A removed video
       gets neither prediction nor decision.
    3. decide, from these logits and the newest author and engagement evidence. The authors' locks, taken before all
       others, put what is known of authors before or after this transaction too.
    4. decisions: appended. What this model decided before adds nothing.
    5. labels: a decision comes into force where `supersedes` says so, with a label_revision one higher; what its
       content says joins the history of its author.
    6. review: a task that the new label makes pointless is withdrawn, then what is routed or audited gets its own.
    7. removals: label withdrawn and tombstoned, task withdrawn, what was derived from the media deleted.
    8. dead letters.
    9. outbox: every record that 5 to 8 and the retries announce.
    10. suspects of this batch are cleared: they killed nothing.
    11. commit. Only then may offsets be committed.

    Raises psycopg.Error, and RowFault where a prediction cannot be decided on; nothing is written then.
    """
    records: list[OutboxRow] = []
    with connection.transaction(), connection.cursor() as cursor:
        if model.policy.signals is not None and batch.analysed:
            lock_authors(cursor, (each.video.author_id for each in batch.analysed), to_write=False)
        known = _lock_videos(cursor, batch)
        stored = _read_stored(cursor, batch.analysed, known, model)
        effects = assemble(batch.analysed, stored, model, now, now + review_within)
        append(cursor, effects, now)
        removed = removal.apply(cursor, batch.removals, now, records)
        dead = letters.write(cursor, batch.dead, now, records)
        records += [messages.retry(each) for each in batch.later]
        copy_rows(cursor, "outbox", OUTBOX_COLUMNS, [*effects.outbox, pg.rows(OUTBOX_COLUMNS, records)])
        _clear_suspects(cursor, batch)
        boundaries.reached("before_commit")
    boundaries.reached("after_commit")
    return Written(decisions=effects.taken, dead=Counter(each.code for each in dead), removed=removed)


_LOCK = """
WITH locked AS (
    INSERT INTO videos AS v (video_id, revision, author_id, media_uri, published_at, title, payload, traceparent)
    SELECT * FROM unnest(%b::text[], %b::int4[], %b::text[], %b::text[], %b::timestamptz[], %b::text[], %b::json[],
                         %b::text[])
        AS p(video_id, revision, author_id, media_uri, published_at, title, payload, traceparent)
     ORDER BY video_id COLLATE "C"
    ON CONFLICT (video_id) DO UPDATE
       SET revision = excluded.revision, author_id = excluded.author_id, media_uri = excluded.media_uri,
           published_at = excluded.published_at, title = excluded.title, payload = excluded.payload,
           traceparent = excluded.traceparent, removed_at = NULL
     WHERE excluded.revision > v.revision AND (v.removed_at IS NULL OR excluded.published_at > v.removed_at)
    RETURNING v.xmax = 0 AS inserted
)
SELECT count(*) FROM locked WHERE inserted
"""


def _lock_videos(cursor: Cursor, batch: Batch) -> Mapping[str, Known]:
    """Lock the row of every video of the batch; what is known of them, unless all are new. (A conflict locks even where
    its WHERE leaves the row as it is.)"""
    newest: dict[str, tuple[VideoPublished, str | None]] = {}
    for video, traceparent in _published(batch):
        held = newest.get(video.video_id)
        if held is None or held[0].revision < video.revision:
            newest[video.video_id] = (video, traceparent)
    if not newest:
        return {}
    fields = [video_fields(*newest[video_id]) for video_id in sorted(newest)]
    columns: list[Sequence[Field]] = list(zip(*fields, strict=True))
    cursor.execute(
        _LOCK,
        [
            pg.text_column(columns[0]),
            pg.int4_column(columns[1]),
            pg.text_column(columns[2]),
            pg.text_column(columns[3]),
            pg.timestamptz_column(columns[4]),
            pg.text_column(columns[5]),
            pg.json_column(columns[6]),
            pg.text_column(columns[7]),
        ],
    )
    all_are_new = cursor.fetchone() == (len(newest),)
    return {} if all_are_new else prior.read_known(cursor, newest)


def _published(batch: Batch) -> Iterable[tuple[VideoPublished, str | None]]:
    for each in batch.analysed:
        yield each.video, each.input.traceparent
    for letter in batch.dead:
        if video := letters.published(letter):
            yield video, letter.input.traceparent


def _read_stored(cursor: Cursor, analysed: Sequence[Analysed], known: Mapping[str, Known], model: LiveModel) -> Stored:
    keys = [(each.video.video_id, each.video.revision) for each in analysed if each.video.video_id in known]
    signals = read_signals(cursor, [each.video for each in analysed], model, watched=keys)
    if not keys:
        return Stored(known, {}, frozenset(), signals)
    return Stored(known, prior.read_predictions(cursor, keys, model), prior.read_decided(cursor, keys, model), signals)


def append(cursor: Cursor, effects: Effects, now: datetime) -> None:
    """All that decisions lead to but the outbox, table by table."""
    copy_rows(cursor, "predictions", PREDICTION_COLUMNS, effects.predictions)
    copy_rows(cursor, "decisions", DECISION_COLUMNS, effects.decisions)
    _make_room(cursor, effects, now)
    copy_rows(cursor, "current_labels", LABEL_COLUMNS, effects.labels)
    copy_rows(cursor, "author_history", HISTORY_COLUMNS, effects.history)
    copy_rows(cursor, "review_tasks", TASK_COLUMNS, effects.tasks)


_WITHDRAW_TASKS = """
UPDATE review_tasks SET state = 'withdrawn', closed_at = %s, closed_why = 'superseded'
 WHERE video_id = ANY(%s) AND state = 'open'
"""


def _make_room(cursor: Cursor, effects: Effects, now: datetime) -> None:
    """For the labels and tasks that follow: a video has one label, and at most one open task."""
    if effects.retold:
        forget_history(cursor, effects.retold)
    if effects.relabelled:
        cursor.execute("DELETE FROM current_labels WHERE video_id = ANY(%s)", [effects.relabelled])
    if effects.pointless:
        cursor.execute(_WITHDRAW_TASKS, [now, effects.pointless])


def _clear_suspects(cursor: Cursor, batch: Batch) -> None:
    inputs = [each.input for outcomes in (batch.analysed, batch.dead, batch.later) for each in outcomes]
    if spots := [each.suspect for each in inputs if each.suspect is not None]:
        attempts.clear(cursor, spots)


def copy_rows(cursor: Cursor, table: str, columns: str, blocks: Sequence[bytes]) -> None:
    """Append rows, which come in blocks of pg.rows(). Table and columns are this package's own constants."""
    if any(blocks):
        with cursor.copy(f"COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(pg.copy_block(blocks))
