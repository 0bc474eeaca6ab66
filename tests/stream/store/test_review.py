"""What reviewers say stands, on a real Postgres: against signals, other revisions, other reviewers, second thoughts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from uuid import UUID

import orjson
import psycopg
import pytest

from models.decision.evidence import engagement_evidence
from models.decision.types import Route
from schemas.errors import UserError
from schemas.events import LabelDecided, ReviewDecided, ReviewRequested, VideoPublished
from stream.classify.stub import LEVEL1, stub_taxonomy
from stream.store import review, tasks
from stream.store.review import Review, Settled, Verdict
from stream.store.work import LiveModel
from tests.stream.store.test_rescore import (
    RULES,
    alone,
    connection,
    counts,
    known,
    label,
    model,
    moved_by,
    observe,
    one,
    profile,
    publish,
    snapshot,
    video,
)

__all__ = ["connection", "model"]  # fixtures

pytestmark = pytest.mark.stack

LATER = datetime.now(UTC) + RULES.cooldown + timedelta(hours=1)
Connection = psycopg.Connection[Any]


def reviewed(connection: Connection, video_id: str, verdict: Verdict = "correct", **said: Any) -> Settled:
    (task_id,) = one(connection, "SELECT task_id FROM review_tasks WHERE video_id = %s AND state = 'open'", video_id)
    review.enrol(connection, "li")
    given = Review(task_id=task_id, video_id=video_id, reviewer="li", verdict=verdict, **said)
    return review.apply_review(connection, given, stub_taxonomy(), datetime.now(UTC))


def in_review(start: int = 0) -> VideoPublished:
    return next(v for n in range(start, start + 500) if alone(v := video(f"r{n}")).route is Route.REVIEW)


def events(connection: Connection, video_id: str, topic: str) -> list[dict[str, Any]]:
    rows = connection.execute("SELECT value FROM outbox WHERE key = %s AND topic = %s ORDER BY id", [video_id, topic])
    return [orjson.loads(value) for (value,) in rows]


def test_a_correction_is_in_force_announced_and_remembered_of_the_author_in_full(
    connection: Connection, model: LiveModel
) -> None:
    each = in_review()
    publish(connection, model, each)
    settled = reviewed(connection, each.video_id, level2="stub_b.1", seconds_spent=4.5, note="clear")
    assert settled == ("stub_b", "stub_b.1", 2)
    assert label(connection, each.video_id) == ("labelled", "stub_b", "stub_b.1", "accept", "stub_b.1", 0, 0)
    newest = LabelDecided.model_validate(events(connection, each.video_id, "video.labels.v1")[-1])
    assert (newest.source, newest.trigger, newest.level2, newest.label_revision) == ("human", "review", "stub_b.1", 2)
    (said,) = events(connection, each.video_id, "review.decisions.v1")
    assert ReviewDecided.model_validate(said).seconds_spent == 4.5
    human, shares = one(connection, "SELECT human, level1 FROM author_history")
    assert human
    assert shares == bytes.fromhex("000000000000803f0000000000000000")
    assert one(connection, "SELECT state, closed_why FROM review_tasks") == ("decided", None)


def test_confirming_publishes_the_models_answer_as_a_persons(connection: Connection, model: LiveModel) -> None:
    each = in_review()
    publish(connection, model, each)
    expected = model.level2[alone(each).level2]
    assert reviewed(connection, each.video_id, "confirm").level2 == expected
    assert one(connection, "SELECT source, human_level2 FROM current_labels") == ("human", expected)


@pytest.mark.parametrize("verdict", ["escalate", "skip"])
def test_what_settles_nothing_leaves_the_task_open_and_is_written_down(
    connection: Connection, model: LiveModel, verdict: Verdict
) -> None:
    each = in_review()
    publish(connection, model, each)
    before = counts(connection, each.video_id)
    assert reviewed(connection, each.video_id, verdict) == (None, None, None)
    assert counts(connection, each.video_id)[0] == before[0]
    assert one(connection, "SELECT state, escalated FROM review_tasks") == ("open", verdict == "escalate")
    assert one(connection, "SELECT verdict FROM review_decisions") == (verdict,)
    assert len(events(connection, each.video_id, "review.decisions.v1")) == 1
    assert set(get_args(Verdict)) == set(get_args(ReviewDecided.model_fields["verdict"].annotation))


def test_a_task_is_decided_once_and_the_second_reviewer_is_told(connection: Connection, model: LiveModel) -> None:
    each = in_review()
    publish(connection, model, each)
    (task_id,) = one(connection, "SELECT task_id FROM review_tasks")
    reviewed(connection, each.video_id, level2="stub_b.1")
    before = counts(connection, each.video_id)
    late = Review(task_id=task_id, video_id=each.video_id, reviewer="li", verdict="correct", level2="stub_c.0")
    with pytest.raises(UserError, match="decided meanwhile"):
        review.apply_review(connection, late, stub_taxonomy(), datetime.now(UTC))
    assert counts(connection, each.video_id) == before


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"reviewer": "nobody"}, "no reviewer"),
        ({"task_id": UUID(int=1)}, "no task"),
        ({"level2": "stub_z.9"}, "no level-2 category"),
        ({"level1": "stub_a", "level2": "stub_b.1"}, "is in stub_b"),
        ({"level1": "stub_z", "level2": None}, "no category"),
        ({"level2": None}, "names a category"),
    ],
)
def test_what_cannot_be_is_refused_and_writes_nothing(
    connection: Connection, model: LiveModel, said: dict[str, Any], words: str
) -> None:
    each = in_review()
    publish(connection, model, each)
    (task_id,) = one(connection, "SELECT task_id FROM review_tasks")
    review.enrol(connection, "li")
    before = counts(connection, each.video_id)
    given = {"task_id": task_id, "reviewer": "li", "level2": "stub_b.1"} | said
    with pytest.raises(UserError, match=words):
        review.apply_review(
            connection, Review(video_id=each.video_id, verdict="correct", **given), stub_taxonomy(), datetime.now(UTC)
        )
    assert counts(connection, each.video_id) == before
    assert one(connection, "SELECT count(*) FROM review_decisions") == (0,)


def test_an_audit_sample_has_no_answer_to_confirm(connection: Connection, model: LiveModel) -> None:
    each = next(v for n in range(5000) if alone(v := video(f"s{n}")).audit)
    publish(connection, model, each)
    with pytest.raises(UserError, match="shows no answer"):
        reviewed(connection, each.video_id, "confirm")
    assert reviewed(connection, each.video_id, level2="stub_b.1").level2 == "stub_b.1"


def test_what_a_model_made_of_signals_is_no_part_of_a_reviewers_word(connection: Connection, model: LiveModel) -> None:
    each = next(v for n in range(900) if _weighed_and_doubted(v := video(f"h{n}")))
    publish(connection, model, each)
    observe(connection, model, snapshot(each.video_id, 15, 2))
    reviewed(connection, each.video_id, level2="stub_b.1")
    (saw,) = one(connection, "SELECT evidence FROM decisions WHERE source = 'human'")
    assert set(saw) == {"author", "engagement"}
    assert saw["engagement"]["plays"] == 15
    assert LabelDecided.model_validate(events(connection, each.video_id, "video.labels.v1")[-1]).evidence == {}


def _weighed_and_doubted(each: VideoPublished) -> bool:
    seen = engagement_evidence(snapshot(each.video_id, 15, 2), LEVEL1)
    return Route.REVIEW is alone(each).route is alone(each, engagement=seen).route


def test_signals_never_change_a_human_label_and_question_it_once(connection: Connection, model: LiveModel) -> None:
    each = in_review()
    publish(connection, model, each)
    reviewed(connection, each.video_id, level2="stub_b.1")
    standing = label(connection, each.video_id)
    against = next(t for t in (0, 2, 3) if _towards(each, t))
    observe(connection, model, snapshot(each.video_id, 5000, against))
    assert label(connection, each.video_id) == standing, "not before the cooldown is over"
    observe(connection, model, snapshot(each.video_id, 5001, against), now=LATER)
    assert label(connection, each.video_id) == (*standing[:-1], 1)
    asked = ReviewRequested.model_validate(events(connection, each.video_id, "video.review.v1")[-1])
    assert asked.reasons == ("engagement_conflict",)
    assert asked.level1 == LEVEL1[against]
    review_again = reviewed(connection, each.video_id, level2="stub_b.1")
    assert review_again.level2 == "stub_b.1"
    before = counts(connection, each.video_id)
    for plays in range(6000, 6010):
        observe(connection, model, snapshot(each.video_id, plays, against), now=LATER + 2 * RULES.cooldown)
    assert counts(connection, each.video_id) == before
    assert label(connection, each.video_id) == standing


def _towards(each: VideoPublished, towards: int) -> bool:
    seen = engagement_evidence(snapshot(each.video_id, 5000, towards), LEVEL1)
    decision = alone(each, engagement=seen)
    return decision.route is not Route.REVIEW and decision.level1 == towards


def test_a_new_revision_starts_afresh_and_one_that_contradicts_the_old_label_goes_to_people(
    connection: Connection, model: LiveModel
) -> None:
    each = in_review()
    publish(connection, model, each)
    reviewed(connection, each.video_id, level2="stub_b.1")
    revision = next(
        n for n in range(1, 500) if (d := alone(video(each.video_id, n))).route is Route.ACCEPT and d.level1 != 1
    )
    edited = video(each.video_id, revision)
    publish(connection, model, edited)
    assert label(connection, each.video_id)[0] == "in_review"
    asked = ReviewRequested.model_validate(events(connection, each.video_id, "video.review.v1")[-1])
    assert asked.reasons == ("human_conflict",)
    agreeing_signals = snapshot(each.video_id, 5000, alone(edited).level1, revision=revision)
    observe(connection, model, agreeing_signals)
    assert label(connection, each.video_id)[0] == "in_review", "evidence does not overrule the reviewer either"
    agreed = next(
        n
        for n in range(revision + 1, 900)
        if (d := alone(video(each.video_id, n))).route is Route.ACCEPT_LEVEL1 and d.level1 == 1 and not d.audit
    )
    publish(connection, model, video(each.video_id, agreed))
    assert label(connection, each.video_id)[0] == "labelled_level1"


def test_undo_restates_the_models_newest_decision_with_a_higher_label_revision(
    connection: Connection, model: LiveModel
) -> None:
    each = next(v for n in range(900) if alone(v := video(f"r{n}")).route is Route.REVIEW and _towards(v, 2))
    publish(connection, model, each)
    reviewed(connection, each.video_id, level2="stub_b.1")
    observe(connection, model, snapshot(each.video_id, 5000, 2))
    review.enrol(connection, "wu")
    with pytest.raises(UserError, match="is li's"):
        review.undo_review(connection, each.video_id, "wu", model, datetime.now(UTC), RULES.within)
    settled = review.undo_review(connection, each.video_id, "li", model, datetime.now(UTC), RULES.within)
    assert settled.level1 == LEVEL1[2], "with the evidence that came while the human label stood"
    assert settled.label_revision == 3
    assert one(connection, "SELECT source, human_revision, label_revision FROM current_labels") == ("model", None, 3)
    assert one(connection, "SELECT human FROM author_history") == (False,)
    newest = LabelDecided.model_validate(events(connection, each.video_id, "video.labels.v1")[-1])
    assert (newest.source, newest.trigger, newest.label_revision) == ("model", "review", 3)
    with pytest.raises(UserError, match="no reviewer's label"):
        review.undo_review(connection, each.video_id, "li", model, datetime.now(UTC), RULES.within)


def test_undo_on_an_edited_video_brings_back_what_people_said_of_it_before(
    connection: Connection, model: LiveModel
) -> None:
    each = in_review()
    publish(connection, model, each)
    reviewed(connection, each.video_id, level2="stub_b.1")
    revision = next(
        n for n in range(1, 500) if (d := alone(video(each.video_id, n))).route is Route.ACCEPT and d.level1 != 1
    )
    publish(connection, model, video(each.video_id, revision))
    reviewed(connection, each.video_id, "confirm")
    review.undo_review(connection, each.video_id, "li", model, datetime.now(UTC), RULES.within)
    assert label(connection, each.video_id)[0] == "in_review", "the model contradicts the word that is left"
    asked = ReviewRequested.model_validate(events(connection, each.video_id, "video.review.v1")[-1])
    assert asked.reasons == ("human_conflict",)
    assert one(connection, "SELECT human_revision, human_level2 FROM current_labels") == (0, "stub_b.1")


def test_undo_of_a_label_that_the_model_doubts_opens_a_new_task(connection: Connection, model: LiveModel) -> None:
    each = in_review()
    publish(connection, model, each)
    reviewed(connection, each.video_id, level2="stub_b.1")
    review.undo_review(connection, each.video_id, "li", model, datetime.now(UTC), RULES.within)
    assert label(connection, each.video_id)[0] == "in_review"
    assert one(connection, "SELECT count(*), count(*) FILTER (WHERE state = 'open') FROM review_tasks") == (2, 1)
    assert reviewed(connection, each.video_id, level2="stub_c.2").label_revision == 4


def test_an_overdue_task_is_published_at_level_1_and_the_same_doubt_asks_no_more(
    connection: Connection, model: LiveModel
) -> None:
    each = in_review()
    publish(connection, model, each)
    now = datetime.now(UTC)
    assert not tasks.expire(connection, now=now, within=RULES.within, budget_per_h=None)
    closed = tasks.expire(connection, now=now + RULES.within, within=RULES.within, budget_per_h=None)
    assert closed == {"review_expired": 1}
    best = LEVEL1[alone(each).level1]
    assert label(connection, each.video_id)[:4] == ("labelled_level1", best, None, "accept_level1")
    newest = LabelDecided.model_validate(events(connection, each.video_id, "video.labels.v1")[-1])
    assert newest.reasons[0] == "review_expired"
    assert events(connection, each.video_id, "video.review.v1")[-1]["why"] == "review_expired"
    before = counts(connection, each.video_id)
    observe(connection, model, snapshot(each.video_id, 1, 0))
    assert counts(connection, each.video_id) == before
    moving = next(t for t in range(4) if _towards(each, t))
    observe(connection, model, snapshot(each.video_id, 5000, moving))
    assert label(connection, each.video_id)[1] == LEVEL1[moving]


def test_a_task_whose_answer_changes_keeps_its_deadline_its_age_and_whom_it_was_passed_to(
    connection: Connection, model: LiveModel
) -> None:
    each, towards = next(
        (v, t) for n in range(4000) for v in [video(f"k{n}")] for t in range(4) if _doubted_otherwise(v, t)
    )
    publish(connection, model, each)
    reviewed(connection, each.video_id, "escalate")
    columns = "requested_at, deadline_at, escalated, state"
    before = one(connection, f"SELECT {columns} FROM review_tasks")
    observe(connection, model, snapshot(each.video_id, 15, towards), now=datetime.now(UTC) + timedelta(hours=1))
    assert one(connection, f"SELECT {columns} FROM review_tasks WHERE state = 'open'") == before
    assert one(connection, "SELECT count(*) FROM review_tasks") == (2,)
    asked = ReviewRequested.model_validate(events(connection, each.video_id, "video.review.v1")[-1])
    assert asked.deadline_at == before[1]


def _doubted_otherwise(each: VideoPublished, towards: int) -> bool:
    """People are asked with and without few viewers, about another answer."""
    content, now = (
        alone(each),
        alone(each, engagement=engagement_evidence(snapshot(each.video_id, 15, towards), LEVEL1)),
    )
    return Route.REVIEW is content.route is now.route and content.level2 != now.level2


def test_the_more_people_a_wrong_label_may_meet_the_more_urgent_is_its_task(
    connection: Connection, model: LiveModel
) -> None:
    first, second = in_review(), in_review(500).model_copy(update={"author_id": "known"})
    followed = profile("known", 1, 0).model_copy(update={"main_vertical": None, "followers": 9_999_990})
    observe(connection, model, followed)
    publish(connection, model, first, second)
    priority = "SELECT priority FROM review_tasks WHERE video_id = %s AND state = 'open'"
    doubt = {each.video_id: 0.5 * (1 - alone(each).level2_probability) for each in (first, second)}
    assert one(connection, priority, first.video_id)[0] == pytest.approx(doubt[first.video_id])
    assert one(connection, priority, second.video_id)[0] == pytest.approx(7 * doubt[second.video_id])
    observe(connection, model, snapshot(first.video_id, 990, 0).model_copy(update={"audience": {}}))
    assert one(connection, priority, first.video_id)[0] == pytest.approx(3 * doubt[first.video_id])
    observe(connection, model, followed.model_copy(update={"author_id": "a", "followers": 99_000}))
    assert one(connection, priority, first.video_id)[0] == pytest.approx(5 * doubt[first.video_id])


def test_reports_ask_people_who_were_asked_in_vain_before_and_once(connection: Connection, model: LiveModel) -> None:
    each = in_review()
    publish(connection, model, each)
    now = datetime.now(UTC)
    tasks.expire(connection, now=now + RULES.within, within=RULES.within, budget_per_h=None)
    observe(connection, model, snapshot(each.video_id, 10, 0).model_copy(update={"audience": {}, "reports": 5}))
    assert label(connection, each.video_id)[0] == "in_review"
    asked = ReviewRequested.model_validate(events(connection, each.video_id, "video.review.v1")[-1])
    assert asked.reasons[0] == "reported"
    tasks.expire(connection, now=now + 2 * RULES.within, within=RULES.within, budget_per_h=None)
    before = counts(connection, each.video_id)
    observe(connection, model, snapshot(each.video_id, 11, 0).model_copy(update={"audience": {}, "reports": 6}))
    assert counts(connection, each.video_id) == before


def test_a_doubtful_decision_that_is_published_in_the_end_keeps_the_evidence_it_was_made_of(
    connection: Connection, model: LiveModel
) -> None:
    each = in_review()
    publish(connection, model, each)
    observe(connection, model, snapshot(each.video_id, 1, 0).model_copy(update={"audience": {}}))
    tasks.expire(connection, now=datetime.now(UTC) + RULES.within, within=RULES.within, budget_per_h=None)
    saw = connection.execute(
        "SELECT confidence, evidence -> 'engagement' ->> 'plays' FROM decisions ORDER BY label_revision"
    ).fetchall()
    assert saw == [(saw[0][0], None)] * 2
    assert known(connection, model, each)["engagement"]["plays"] == 1, "what is known stays known"


def test_what_is_over_the_budget_goes_by_priority_and_audits_stay(connection: Connection, model: LiveModel) -> None:
    videos = [video(f"b{n}") for n in range(300)]
    publish(connection, model, *videos)
    audits = {v.video_id for v in videos if alone(v).audit}
    doubtful = {v.video_id: 1 - alone(v).level2_probability for v in videos if alone(v).route is Route.REVIEW}
    closed = tasks.expire(connection, now=datetime.now(UTC), within=timedelta(hours=2), budget_per_h=10)
    left = {name for (name,) in connection.execute("SELECT video_id FROM review_tasks WHERE state = 'open'")}
    assert audits <= left
    assert closed["over_budget"] == len(doubtful) + len(audits) - len(left)
    assert 20 <= len(left) <= 20 + len(audits)
    kept = left - audits
    assert min(doubtful[name] for name in kept) >= max(doubtful[name] for name in doubtful.keys() - kept)


def test_a_label_moved_by_signals_withdraws_the_task_that_asked(connection: Connection, model: LiveModel) -> None:
    each = next(v for n in range(900) if alone(v := video(f"w{n}")).route is Route.REVIEW and _towards(v, 2))
    publish(connection, model, each)
    observe(connection, model, snapshot(each.video_id, 5000, 2))
    assert label(connection, each.video_id)[6] == int(
        alone(each, engagement=engagement_evidence(snapshot(each.video_id, 5000, 2), LEVEL1)).audit
    )
    assert moved_by(2) is not None
    assert one(connection, "SELECT count(*) FROM review_tasks WHERE state = 'withdrawn'") == (1,)
