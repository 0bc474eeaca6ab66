"""Open tasks, in the order in which people should take them. An audit sample is blind: what the model said of it does
not leave this module."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from models.decision.priority import aged
from models.decision.types import Reason
from schemas.errors import UserError
from stream.store.review import TaskClosed
from stream.store.tasks import SECONDS_OF_AGEING

Connection = psycopg.Connection[Any]


class Answer(NamedTuple):
    """What the model said. top_k: (level-2 id, probability), best first."""

    level1: str
    level2: str
    confidence: float | None
    top_k: tuple[tuple[str, float], ...]


class Said(NamedTuple):
    """What a reviewer said of the video before, of whichever revision."""

    revision: int
    level1: str | None
    level2: str | None
    in_force: bool


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task and what a reviewer is shown with it. answer: None for an audit sample; priority: as grown by now."""

    task_id: UUID
    video_id: str
    revision: int
    title: str
    ocr: tuple[str, ...]
    asr: str
    tags: tuple[str, ...]
    author_id: str
    media_uri: str
    published_at: datetime
    requested_at: datetime
    deadline_at: datetime
    reasons: tuple[str, ...]
    priority: float
    escalated: bool
    taxonomy_id: str
    answer: Answer | None
    said: Said | None


class Waiting(NamedTuple):
    """Open tasks: all of them, those escalated, those of another taxonomy than the one asked for."""

    open: int
    escalated: int
    foreign: int


_TASKS = """
SELECT t.task_id, t.video_id, t.revision, v.title, v.payload, v.author_id, v.media_uri, v.published_at,
       t.requested_at, t.deadline_at, t.reasons, t.priority, t.escalated, d.taxonomy_id, d.level1, d.level2,
       d.confidence, d.top_k, c.human_revision, c.human_level1, c.human_level2, c.source = 'human'
  FROM review_tasks t
  JOIN videos v USING (video_id)
  JOIN current_labels c USING (video_id)
  JOIN decisions d ON d.video_id = t.video_id AND d.decision_id = t.decision_id
 WHERE t.state = 'open'
"""
# The order of models.decision.priority.aged().
_BY_ORDER = """
   AND t.escalated = %s AND t.task_id <> ALL(%s) AND (%s::text IS NULL OR d.taxonomy_id = %s)
 ORDER BY t.priority * (1 + extract(epoch FROM %s - t.requested_at) / %s) DESC, t.video_id LIMIT %s
"""


def open_tasks(
    connection: Connection,
    now: datetime,
    limit: int,
    *,
    escalated: bool,
    taxonomy_id: str | None = None,
    without: Collection[UUID] = (),
) -> list[OpenTask]:
    """Those that somebody escalated, or those that nobody did. taxonomy_id: only tasks about its categories."""
    parameters = [escalated, list(without), taxonomy_id, taxonomy_id, now, SECONDS_OF_AGEING, limit]
    return [_task(row, now) for row in connection.execute(_TASKS + _BY_ORDER, parameters)]


def task_of(connection: Connection, video_id: str, now: datetime) -> OpenTask:
    """The open task of a video. Raises TaskClosed where there is none, and UserError for a video never seen."""
    row = connection.execute(_TASKS + " AND t.video_id = %s", [video_id]).fetchone()
    if row is not None:
        return _task(row, now)
    last = connection.execute(_LAST, [video_id]).fetchone()
    if last is None:
        raise UserError(f"there is no video {video_id}", "`reelsort review ls` lists what waits for people")
    state, why = last
    told = "nobody was asked about it" if state is None else f"its last task was {state}{f': {why}' if why else ''}"
    raise TaskClosed(f"video {video_id} has no open task; {told}", "`reelsort explain` tells its history")


_LAST = """
SELECT t.state, t.closed_why
  FROM videos v LEFT JOIN review_tasks t USING (video_id)
 WHERE v.video_id = %s
 ORDER BY t.requested_at DESC NULLS LAST, t.closed_at DESC LIMIT 1
"""
_WAITING = """
SELECT count(*), count(*) FILTER (WHERE t.escalated), count(*) FILTER (WHERE d.taxonomy_id <> %s)
  FROM review_tasks t
  JOIN decisions d ON d.video_id = t.video_id AND d.decision_id = t.decision_id
 WHERE t.state = 'open'
"""


def waiting(connection: Connection, taxonomy_id: str | None = None) -> Waiting:
    row = connection.execute(_WAITING, [taxonomy_id]).fetchone()
    assert row is not None
    return Waiting(*row)


def _task(row: Sequence[Any], now: datetime) -> OpenTask:
    task_id, video_id, revision, title, payload, author_id, media_uri, published_at, *rest = row
    requested_at, deadline_at, reasons, priority, escalated, taxonomy_id, level1, level2, *more = rest
    confidence, top_k, said_revision, said1, said2, in_force = more
    blind = Reason.AUDIT_SAMPLE in reasons
    best = tuple((each["level2"], each["probability"]) for each in top_k)
    return OpenTask(
        task_id=task_id,
        video_id=video_id,
        revision=revision,
        title=title,
        ocr=tuple(payload.get("ocr", ())),
        asr=payload.get("asr", ""),
        tags=tuple(payload.get("tags", ())),
        author_id=author_id,
        media_uri=media_uri,
        published_at=published_at,
        requested_at=requested_at,
        deadline_at=deadline_at,
        reasons=(Reason.AUDIT_SAMPLE.value,) if blind else tuple(reasons),
        priority=aged(priority, now - requested_at),
        escalated=escalated,
        taxonomy_id=taxonomy_id,
        answer=None if blind else Answer(level1, level2, confidence, best),
        said=None if said_revision is None else Said(said_revision, said1, said2, in_force),
    )
