"""What reviewers do, each in one transaction. The order of effects can be read in apply_review() and undo_review()."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple
from uuid import UUID, uuid4

import psycopg

from models.decision.types import Reason, Route
from schemas.errors import UserError
from schemas.events import ReviewDecided
from schemas.taxonomy import Taxonomy
from stream.store.encoding import rows as pg_rows
from stream.store.labelled import read_labelled
from stream.store.messages import OUTBOX_COLUMNS, OutboxRow, announced
from stream.store.reassess import restated
from stream.store.rescore import of_now
from stream.store.rows import HumanWord, StoredVideo
from stream.store.ruling import Authority, Ruling, put_in_force, remember
from stream.store.signals import evidence_now
from stream.store.transaction import append, copy_rows
from stream.store.work import LiveModel

Connection = psycopg.Connection[Any]
Cursor = psycopg.Cursor[Any]

Verdict = Literal["confirm", "correct", "escalate", "skip"]


@dataclass(frozen=True, slots=True)
class Review:
    """What a reviewer says to a task. level1, level2: of a correction; level1 alone where no level 2 can be told."""

    task_id: UUID
    video_id: str
    reviewer: str
    verdict: Verdict
    level1: str | None = None
    level2: str | None = None
    seconds_spent: float | None = None
    note: str = ""


class Settled(NamedTuple):
    """The label after a review; None where it stays as it was."""

    level1: str | None
    level2: str | None
    label_revision: int | None


class TaskClosed(UserError):
    """There is no such task, or it was decided or withdrawn meanwhile."""


class _Task(NamedTuple):
    """An open task and the label of its video, both locked."""

    video: StoredVideo
    traceparent: str | None
    reasons: tuple[str, ...]
    authority: Authority
    level1: str
    level2: str
    label_revision: int
    human: HumanWord | None


def apply_review(connection: Connection, review: Review, taxonomy: Taxonomy, now: datetime) -> Settled:
    """Take a reviewer's word. The connection is in autocommit mode.

    1. the video is locked, as by everyone who decides; the task must still be open, the reviewer be enrolled.
    2. the review is written down, and announced as ReviewDecided.
    3. confirm, correct: a decision of source human, in force with a label_revision one higher, announced; it joins the
       author's history in full; the task is closed. escalate: the task waits for somebody more experienced. skip: it
       stays as it is.

    Raises UserError where the reviewer is not enrolled, the task is not open any more, or the answer is none of the
    taxonomy's; nothing is written then.
    """
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("SELECT FROM videos WHERE video_id = %s FOR UPDATE", [review.video_id])
        require_reviewer(cursor, review.reviewer)
        task = _open_task(cursor, review)
        answer = _answer(review, task, taxonomy)
        review_id = uuid4()
        _write_down(cursor, review, review_id, task.video.revision, answer, now)
        event = ReviewDecided(
            task_id=review.task_id,
            video_id=review.video_id,
            level1=answer and answer[0],
            level2=answer and answer[1],
            reviewer=review.reviewer,
            verdict=review.verdict,
            seconds_spent=review.seconds_spent,
            note=review.note,
        )
        records = [announced(event, review.video_id, review_id, task.traceparent, now)]
        if answer is not None:
            level1 = tuple(category.id for category in taxonomy.level1)
            # what was known; what a model made of it moved no reviewer
            evidence = evidence_now(cursor, task.video, taxonomy.id, level1)
            ruling = _ruling(task, answer, review.verdict, evidence, now)
            records.append(put_in_force(cursor, ruling, now))
            remember(cursor, ruling, level1)
            cursor.execute(_DECIDE_TASK, [now, review.video_id, review.task_id])
        elif review.verdict == "escalate":
            cursor.execute(_ESCALATE_TASK, [review.video_id, review.task_id])
        _announce(cursor, records)
    return Settled(*answer, task.label_revision + 1) if answer else Settled(None, None, None)


def undo_review(
    connection: Connection, video_id: str, reviewer: str, model: LiveModel, now: datetime, within: timedelta
) -> Settled:
    """Take back a reviewer's own last word on a video: the model's newest decision is restated, with a higher
    label_revision, and where that routes to people, a new task opens. What people said of an earlier revision counts
    again: a restated decision that contradicts it goes to people. The connection is in autocommit mode.

    Raises UserError where there is nothing of this reviewer's to take back, or no stored prediction to restate.
    """
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("SELECT FROM videos WHERE video_id = %s FOR UPDATE", [video_id])
        require_reviewer(cursor, reviewer)
        undone = cursor.execute(_LAST_WORD, [video_id]).fetchone()
        if undone is None:
            raise UserError(f"no reviewer's label of {video_id} is in force", "`reelsort explain` shows what is")
        review_id, task_id, revision, author = undone
        if author != reviewer:
            raise UserError(f"the label of {video_id} is {author}'s, not {reviewer}'s", "only they can take it back")
        current = of_now(cursor, model)
        labelled = read_labelled(cursor, [video_id], set(), current)
        if not labelled:
            raise UserError(
                f"there is no stored prediction of {video_id} by this model to go back to",
                "name the bundle that decided it (REELSORT_INFERENCE__BUNDLE)",
            )
        cursor.execute(_UNDO, [video_id, uuid4(), task_id, revision, reviewer, review_id, now])
        before = cursor.execute(_WORD_BEFORE, [video_id, revision]).fetchone()
        earlier = None if before is None else HumanWord(*before)
        effects, settled = restated(labelled[0], earlier, current, now, now + within)
        append(cursor, effects, now)
        copy_rows(cursor, "outbox", OUTBOX_COLUMNS, effects.outbox)
    return Settled(*settled)


def enrol(connection: Connection, reviewer: str) -> None:
    """Let somebody review; again, where they were dismissed. Raises UserError for a name that cannot be stored."""
    if not reviewer.strip() or "\x00" in reviewer or len(reviewer) > 256:
        raise UserError("that is no name for a reviewer", "give 1 to 256 characters")
    connection.execute(
        "INSERT INTO reviewers (reviewer) VALUES (%s) ON CONFLICT (reviewer) DO UPDATE SET active = true", [reviewer]
    )


def dismiss(connection: Connection, reviewer: str) -> None:
    """Let somebody review no more; what they said stands. Raises UserError for who is no reviewer."""
    dismissed = connection.execute("UPDATE reviewers SET active = false WHERE reviewer = %s AND active", [reviewer])
    if not dismissed.rowcount:
        raise UserError(f"{reviewer} is no reviewer here", "mind the spelling")


def require_reviewer(cursor: Cursor, reviewer: str) -> None:
    """Raises UserError unless this is somebody who may review."""
    row = cursor.execute("SELECT active FROM reviewers WHERE reviewer = %s", [reviewer]).fetchone()
    if row != (True,):
        raise UserError(f"{reviewer} is no reviewer here", f"`reelsort review enrol {reviewer}` makes them one")


_OPEN_TASK = """
SELECT t.state, t.closed_why, t.reasons, v.revision, v.author_id, v.published_at, v.traceparent,
       d.model_id, d.encoder_id, d.policy_id, d.taxonomy_id, c.promotion_epoch, d.level1, d.level2, c.label_revision,
       c.human_revision, c.human_level1, c.human_level2, c.human_at, c.questioned_at
  FROM review_tasks t
  JOIN videos v USING (video_id)
  JOIN current_labels c USING (video_id)
  JOIN decisions d ON d.video_id = t.video_id AND d.decision_id = t.decision_id
 WHERE t.video_id = %s AND t.task_id = %s
"""


def _open_task(cursor: Cursor, review: Review) -> _Task:
    row = cursor.execute(_OPEN_TASK, [review.video_id, review.task_id]).fetchone()
    if row is None:
        raise TaskClosed(
            f"there is no task {review.task_id} of video {review.video_id}", "`reelsort review ls` lists them"
        )
    state, why, reasons, revision, author_id, published_at, traceparent, *rest = row
    if state != "open":
        raise TaskClosed(
            f"the task was {state} meanwhile{f': {why}' if why else ''}", "nothing was written; take another one"
        )
    model_id, encoder_id, policy_id, taxonomy_id, epoch, level1, level2, label_revision, *said = rest
    return _Task(
        video=StoredVideo(review.video_id, revision, author_id, published_at),
        traceparent=traceparent,
        reasons=tuple(reasons),
        authority=Authority(model_id, encoder_id, policy_id, taxonomy_id, epoch),
        level1=level1,
        level2=level2,
        label_revision=label_revision,
        human=None if said[0] is None else HumanWord(*said),
    )


def _answer(review: Review, task: _Task, taxonomy: Taxonomy) -> tuple[str, str | None] | None:
    """The categories a review settles on; None where it settles nothing. Raises UserError for what is none."""
    if taxonomy.id != task.authority.taxonomy_id:
        raise UserError(
            f"the task is about taxonomy {task.authority.taxonomy_id}, the bundle's is {taxonomy.id}",
            "name the bundle that decided it (REELSORT_INFERENCE__BUNDLE)",
        )
    match review.verdict:
        case "confirm":
            if Reason.AUDIT_SAMPLE in task.reasons:
                raise UserError("an audit sample shows no answer to confirm", "name the category you see")
            return task.level1, task.level2
        case "correct":
            return _categories(review, taxonomy)
        case _:
            return None


def _categories(review: Review, taxonomy: Taxonomy) -> tuple[str, str | None]:
    if review.level2 is not None:
        if review.level2 not in taxonomy.level2_index:
            raise UserError(f"there is no level-2 category {review.level2}", "`reelsort review categories` lists them")
        parent = taxonomy.parent_of(review.level2)
        if review.level1 not in (None, parent):
            raise UserError(f"{review.level2} is in {parent}, not in {review.level1}", "name one of the two")
        return parent, review.level2
    if review.level1 not in {category.id for category in taxonomy.level1}:
        raise UserError(
            "a correction names a category" if review.level1 is None else f"there is no category {review.level1}",
            "`reelsort review categories` lists them",
        )
    assert review.level1 is not None
    return review.level1, None


def _ruling(
    task: _Task, answer: tuple[str, str | None], verdict: str, evidence: dict[str, Any], now: datetime
) -> Ruling:
    level1, level2 = answer
    before = task.human
    # said again of the same revision, it was questioned already
    same = before is not None and before[:3] == (task.video.revision, level1, level2)
    questioned_at = before.questioned_at if before and same else None
    return Ruling(
        video=task.video,
        traceparent=task.traceparent,
        authority=task.authority,
        source="human",
        route=Route.ACCEPT_LEVEL1 if level2 is None else Route.ACCEPT,
        level1=level1,
        level2=level2,
        confidence=None,
        threshold=None,
        reasons=(verdict,),
        top_k=[],
        evidence=evidence,
        label_revision=task.label_revision + 1,
        human=HumanWord(task.video.revision, level1, level2, now, questioned_at),
    )


_REVIEW = """
INSERT INTO review_decisions (video_id, review_id, task_id, revision, reviewer, verdict, level1, level2, seconds_spent,
                              note, decided_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_UNDO = """
INSERT INTO review_decisions (video_id, review_id, task_id, revision, reviewer, verdict, note, undoes, decided_at)
VALUES (%s, %s, %s, %s, %s, 'undo', '', %s, %s)
"""
_LAST_WORD = """
SELECT r.review_id, r.task_id, r.revision, r.reviewer
  FROM review_decisions r
  JOIN current_labels c ON c.video_id = r.video_id AND c.source = 'human' AND c.human_at = r.decided_at
 WHERE r.video_id = %s AND r.verdict IN ('confirm', 'correct')
"""
# Of an earlier revision alone: in the place of a word on this one stands the model's.
_WORD_BEFORE = """
SELECT r.revision, r.level1, r.level2, r.decided_at
  FROM review_decisions r
 WHERE r.video_id = %s AND r.revision < %s AND r.verdict IN ('confirm', 'correct')
   AND NOT EXISTS (SELECT FROM review_decisions u WHERE u.video_id = r.video_id AND u.undoes = r.review_id)
 ORDER BY r.decided_at DESC LIMIT 1
"""
_DECIDE_TASK = """
UPDATE review_tasks SET state = 'decided', closed_at = %s, closed_why = NULL WHERE video_id = %s AND task_id = %s
"""
_ESCALATE_TASK = "UPDATE review_tasks SET escalated = true WHERE video_id = %s AND task_id = %s"


def _write_down(
    cursor: Cursor, review: Review, review_id: UUID, revision: int, answer: tuple[str, str | None] | None, now: datetime
) -> None:
    level1, level2 = answer or (None, None)
    cursor.execute(
        _REVIEW,
        [
            review.video_id,
            review_id,
            review.task_id,
            revision,
            review.reviewer,
            review.verdict,
            level1,
            level2,
            review.seconds_spent,
            review.note,
            now,
        ],
    )


def _announce(cursor: Cursor, records: Sequence[OutboxRow]) -> None:
    copy_rows(cursor, "outbox", OUTBOX_COLUMNS, [pg_rows(OUTBOX_COLUMNS, records)])
