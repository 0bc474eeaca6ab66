"""The one Postgres transaction of a batch. The order of effects is the docstring of write()."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg

from models.decision.decide import decide_many
from models.decision.supersede import Standing, supersedes
from models.decision.types import ContentEvidence, Evidence, Route
from schemas import ids
from schemas.events import Trigger, VideoPublished
from stream import boundaries
from stream.store import encoding as pg
from stream.store import letters, messages, prior, removal
from stream.store.encoding import Field
from stream.store.messages import Announcer, OutboxRow
from stream.store.prior import Key, Known
from stream.store.rows import (
    DECISION_COLUMNS,
    LABEL_COLUMNS,
    PREDICTION_COLUMNS,
    TASK_COLUMNS,
    Decided,
    RowBuilder,
    priority_of,
    top_k_json,
    video_fields,
)
from stream.store.work import Analysed, Batch, LiveModel, Written

Connection = psycopg.Connection[Any]
Cursor = psycopg.Cursor[Any]


class RowFault(Exception):
    """One row of the batch cannot be written, for a reason that is ours to name. `code` is a stable word."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


def write(connection: Connection, batch: Batch, model: LiveModel, now: datetime, review_within: timedelta) -> Written:
    """Write what a batch of outcomes means, in one transaction. The connection is in autocommit mode.

    1. videos: insert, or raise to the newest revision, in sorted order. Each row stays locked until the end, so what
       any decider does to these videos happens before this transaction or after it. What is stored of videos seen
       before (label, open task, predictions, decisions) is read only now, under the lock.
    2. predictions: a stored one wins over the analysis at hand; inference is never trusted twice. A removed video
       gets neither prediction nor decision.
    3. decide, from these logits and the newest author and engagement evidence.
    4. decisions: appended. What this model decided before adds nothing.
    5. labels: a decision comes into force where `supersedes` says so, with a label_revision one higher.
    6. review: a task that the new label makes pointless is withdrawn, then what is routed or audited gets its own.
    7. removals: label withdrawn and tombstoned, task withdrawn, what was derived from the media deleted.
    8. dead letters.
    9. outbox: every record that 5 to 8 and the retries announce.
    10. attempts: cleared; none of these inputs killed the process.
    11. commit. Only then may offsets be committed.

    Raises psycopg.Error, and RowFault where a prediction cannot be decided on; nothing is written then.
    """
    outbox: list[OutboxRow] = []
    with connection.transaction(), connection.cursor() as cursor:
        known = _lock_videos(cursor, batch)
        decided = _decide(cursor, batch.analysed, known, model, now)
        in_force = _replace_labels(cursor, decided, known, model, now, outbox)
        _replace_tasks(cursor, in_force, known, model, now, now + review_within, outbox)
        removed = removal.apply(cursor, batch.removals, now, outbox)
        dead = letters.write(cursor, batch.dead, now, outbox)
        outbox += [messages.retry(each) for each in batch.later]
        _copy(cursor, "outbox", messages.OUTBOX_COLUMNS, outbox)
        _clear_attempts(cursor, batch)
        boundaries.reached("before_commit")
    boundaries.reached("after_commit")
    return Written(
        decisions=Counter((each.decision.route, next(iter(each.decision.reasons), "")) for each in decided),
        dead=Counter(each.code for each in dead),
        removed=removed,
    )


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


def _decide(
    cursor: Cursor, analysed: Sequence[Analysed], known: Mapping[str, Known], model: LiveModel, now: datetime
) -> list[Decided]:
    """Store predictions and decide. Which decisions are in force is settled here, by their label_revision."""
    old_keys = [(each.video.video_id, each.video.revision) for each in analysed if each.video.video_id in known]
    stored = prior.read_predictions(cursor, old_keys, model) if old_keys else {}
    finished: set[Key] = prior.read_decided(cursor, old_keys, model) if old_keys else set()
    rows = RowBuilder(model, now)
    predictions, evidences, chosen = [], [], []
    for each in analysed:
        video = each.video
        key = (video.video_id, video.revision)
        held = known.get(video.video_id)
        if key in finished or (held is not None and held.removed):
            continue
        finished.add(key)
        content = stored.get(key)
        if content is None:
            if each.analysis is None:
                raise RowFault("prediction_missing", "the stored prediction this decision rests on is gone")
            content = ContentEvidence(each.analysis.level1_logits, each.analysis.level2_logits)
            predictions.append((video, each.analysis))
        chosen.append(each)
        evidences.append(Evidence(video.video_id, video.revision, content))
    try:
        decisions = decide_many(evidences, model.policy)
    except ValueError as error:
        raise RowFault("bad_logits", str(error)) from error
    winners = _winners(chosen, known, model)
    decided = [
        Decided(
            video=each.video,
            key=pg.text(each.video.video_id),
            decision=decision,
            decision_id=ids.decision_bytes(each.video.video_id, each.video.revision, model.model_id, "", _PUBLISH),
            label_revision=winners.get((each.video.video_id, each.video.revision)),
            traceparent=each.input.traceparent,
            top_k=top_k_json(decision, model),
        )
        for each, decision in zip(chosen, decisions, strict=True)
    ]
    _copy(cursor, "predictions", PREDICTION_COLUMNS, rows.predictions(predictions))
    _copy(cursor, "decisions", DECISION_COLUMNS, [rows.decision(each) for each in decided])
    return decided


def _winners(chosen: Sequence[Analysed], known: Mapping[str, Known], model: LiveModel) -> dict[Key, int]:
    """The inputs whose decision comes into force, and their label_revision: at most one of each video."""
    best: dict[str, Standing] = {}
    for each in chosen:
        video_id = each.video.video_id
        current = best.get(video_id) or (known[video_id].label if video_id in known else None)
        candidate = Standing(each.video.revision, model.epoch)
        if supersedes(current, candidate):
            best[video_id] = candidate
    return {
        (video_id, label.revision): (known[video_id].label_revision if video_id in known else 0) + 1
        for video_id, label in best.items()
    }


def _replace_labels(
    cursor: Cursor,
    decided: Sequence[Decided],
    known: Mapping[str, Known],
    model: LiveModel,
    now: datetime,
    outbox: list[OutboxRow],
) -> list[Decided]:
    """Put the decisions that come into force in their labels' places. Returns those."""
    in_force = [each for each in decided if each.label_revision is not None]
    if not in_force:
        return in_force
    if moved := [each.video.video_id for each in in_force if each.video.video_id in known]:
        cursor.execute("DELETE FROM current_labels WHERE video_id = ANY(%s)", [moved])
    rows, announcer = RowBuilder(model, now), Announcer(model, now)
    _copy(cursor, "current_labels", LABEL_COLUMNS, [rows.label(each) for each in in_force])
    outbox += [announcer.label(each) for each in in_force]
    return in_force


_WITHDRAW_TASKS = """
UPDATE review_tasks SET state = 'withdrawn', closed_at = %s, closed_why = 'superseded'
 WHERE video_id = ANY(%s) AND state = 'open'
"""


def _replace_tasks(
    cursor: Cursor,
    in_force: Sequence[Decided],
    known: Mapping[str, Known],
    model: LiveModel,
    now: datetime,
    deadline: datetime,
    outbox: list[OutboxRow],
) -> None:
    """At most one task of a video is open, and it is about the label in force."""
    pointless = []
    for each in in_force:
        held = known.get(each.video.video_id)
        if held is not None and held.open_task is not None:
            pointless.append(each.video.video_id)
            outbox.append(messages.withdrawal(each.video.video_id, held.open_task, "superseded", each.traceparent, now))
    if pointless:
        cursor.execute(_WITHDRAW_TASKS, [now, pointless])
    rows, announcer = RowBuilder(model, now), Announcer(model, now)
    tasks = []
    for each in in_force:
        decision = each.decision
        if decision.route is Route.REVIEW or decision.audit:
            task_id, priority = ids.task_bytes(each.decision_id), priority_of(decision, model)
            tasks.append(rows.task(each, task_id, priority, deadline))
            outbox.append(announcer.review(each, task_id, priority, deadline))
    _copy(cursor, "review_tasks", TASK_COLUMNS, tasks)


_CLEAR_ATTEMPTS = """
DELETE FROM attempts a USING unnest(%b::text[], %b::int4[]) AS done(video_id, revision)
 WHERE a.video_id = done.video_id AND a.revision = done.revision
"""


def _clear_attempts(cursor: Cursor, batch: Batch) -> None:
    videos = [each.video for each in batch.analysed]
    given_up = [each.input.event for each in batch.dead] + [each.input.event for each in batch.later]
    videos += [event for event in given_up if isinstance(event, VideoPublished)]
    if videos:
        cursor.execute(
            _CLEAR_ATTEMPTS,
            [
                pg.text_column([pg.text(video.video_id) for video in videos]),
                pg.int4_column([pg.int4(video.revision) for video in videos]),
            ],
        )


def _copy(cursor: Cursor, table: str, columns: str, rows: Sequence[Sequence[Field]]) -> None:
    """Append rows as one block. Table and columns are this package's own constants."""
    if rows:
        with cursor.copy(f"COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(pg.copy_rows(columns.count(",") + 1, rows))


_PUBLISH = Trigger.PUBLISH.value
