"""New evidence on a real Postgres: whatever order, repetition or delay it comes in, the end is the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from models.decision.evidence import author_evidence, engagement_evidence
from models.decision.types import Route
from schemas.events import AuthorProfile, EngagementSnapshot, VideoPublished
from stream.classify.stub import LEVEL1, StubAnalyzer, stub_model
from stream.consumer.records import Record
from stream.settings import DatabaseSettings
from stream.store import encoding as pg
from stream.store import registry, rescore
from stream.store.labelled import _LABELLED
from stream.store.rescore import ReviewRules
from stream.store.session import Session, connect
from stream.store.signals import PROFILE_WINDOW, evidence_now
from stream.store.transaction import write
from stream.store.work import Analysed, Batch, Input, LiveModel, Observed, Origin, Outcome
from tests.support.expected import alone, final

pytestmark = pytest.mark.stack

NOON = datetime(2026, 4, 1, 12, tzinfo=UTC)
RULES = ReviewRules(within=timedelta(hours=24), cooldown=timedelta(hours=72))
Connection = psycopg.Connection[Any]


@pytest.fixture
def connection(dsn: str) -> Iterator[Connection]:
    with connect(DatabaseSettings(dsn=SecretStr(dsn)), "test") as opened:
        yield opened


@pytest.fixture
def model(connection: Connection) -> LiveModel:
    return registry.enter(connection, stub_model(), {})


def source(event: Any) -> Input:
    return Input(Record("t", 0, 0, 1, 0, None, None, ()), Origin("t", 0, 0), event, 1, None)


def video(video_id: str, revision: int = 0, author: str = "a") -> VideoPublished:
    return VideoPublished(
        video_id=video_id, revision=revision, author_id=author, media_uri="m", published_at=NOON, title="t"
    )


def snapshot(video_id: str, plays: int, towards: int, seq: int | None = None, revision: int = 0) -> EngagementSnapshot:
    return EngagementSnapshot(
        video_id=video_id,
        revision=revision,
        seq=plays if seq is None else seq,
        plays=plays,
        completion_rate=0.9,
        audience={LEVEL1[towards]: 1.0},
        window_end=NOON,
    )


def profile(author: str, seq: int, towards: int, as_of: datetime = NOON) -> AuthorProfile:
    return AuthorProfile(author_id=author, seq=seq, main_vertical=LEVEL1[towards], verified=True, updated_at=as_of)


def publish(connection: Connection, model: LiveModel, *videos: VideoPublished) -> None:
    analysed = [Analysed(source(each), each, StubAnalyzer()._analyse(each)) for each in videos]
    write(connection, Batch.of(analysed), model, datetime.now(UTC), RULES.within)


def observe(
    connection: Connection, model: LiveModel, *events: AuthorProfile | EngagementSnapshot, now: datetime | None = None
) -> None:
    outcomes: list[Outcome] = [Observed(source(each).record, each) for each in events]
    rescore.write(connection, outcomes, model, now or datetime.now(UTC), RULES)


def one(connection: Connection, query: str, *parameters: Any) -> tuple[Any, ...]:
    row = connection.execute(query, parameters).fetchone()
    assert row is not None
    return row


def label(connection: Connection, video_id: str) -> tuple[Any, ...]:
    """What is published, and what people are asked."""
    return one(
        connection,
        "SELECT c.status, c.level1, c.level2, d.route, d.level2, c.revision,"
        " (SELECT count(*) FROM review_tasks t WHERE t.video_id = c.video_id AND t.state = 'open')"
        "  FROM current_labels c JOIN decisions d USING (video_id, decision_id) WHERE c.video_id = %s",
        video_id,
    )


def counts(connection: Connection, video_id: str) -> tuple[Any, ...]:
    """Decisions, outbox rows, label_revision."""
    return one(
        connection,
        "SELECT (SELECT count(*) FROM decisions WHERE video_id = %(v)s),"
        " (SELECT count(*) FROM outbox WHERE key = %(v)s),"
        " (SELECT label_revision FROM current_labels WHERE video_id = %(v)s)".replace("%(v)s", f"'{video_id}'"),
    )


def known(connection: Connection, model: LiveModel, each: VideoPublished) -> dict[str, Any]:
    with connection.cursor() as cursor:
        return evidence_now(cursor, each, model.taxonomy_id, model.level1)


def moved_by(towards: int, start: int = 0) -> VideoPublished:
    """A video that content labels otherwise and a large audience moves to `towards`."""
    for number in range(start, start + 500):
        each = video(f"moved-{towards}-{number}")
        seen = engagement_evidence(snapshot(each.video_id, 5000, towards), LEVEL1)
        before, after = alone(each), alone(each, engagement=seen)
        routes = {before.route, after.route}
        if after.moved and after.route is Route.ACCEPT and Route.REVIEW not in routes and not before.audit:
            return each
    raise AssertionError("no such video")


def test_a_label_moves_with_engagement_is_announced_once_and_says_what_moved_it(
    connection: Connection, model: LiveModel
) -> None:
    each = moved_by(2)
    publish(connection, model, each)
    before = counts(connection, each.video_id)
    observe(connection, model, snapshot(each.video_id, 5000, 2))
    assert label(connection, each.video_id)[:2] == ("labelled", LEVEL1[2])
    decisions, _, revision = counts(connection, each.video_id)
    assert (decisions, revision) == (before[0] + 1, before[2] + 1)
    trigger, epoch, evidence = one(
        connection,
        "SELECT trigger, promotion_epoch, evidence FROM decisions WHERE video_id = %s AND label_revision = 2",
        each.video_id,
    )
    assert (trigger, epoch) == ("engagement", model.epoch)
    assert evidence["moved"]
    assert evidence["contributions"]["audience"] > model.policy.signals.margin  # type: ignore[union-attr]
    assert evidence["content"]["level1"] == LEVEL1[alone(each).level1]
    assert evidence["engagement"]["plays"] == 5000


def test_unchanged_snapshots_write_no_decision_and_no_event(connection: Connection, model: LiveModel) -> None:
    each = moved_by(1)
    publish(connection, model, each)
    observe(connection, model, snapshot(each.video_id, 5000, 1))
    before, version = counts(connection, each.video_id), one(connection, "SELECT xmin FROM current_labels")
    for hour in range(48):
        observe(connection, model, snapshot(each.video_id, 5000 + hour, 1))
    assert counts(connection, each.video_id) == before
    assert one(connection, "SELECT xmin FROM current_labels") == version, "not even written as it was"
    assert known(connection, model, each)["engagement"]["plays"] == 5047


def test_a_cold_video_is_decided_exactly_as_by_content_alone(connection: Connection, model: LiveModel) -> None:
    each = video("cold")
    publish(connection, model, each)
    observe(connection, model, EngagementSnapshot(video_id="cold", seq=1, window_end=NOON))
    stored = one(connection, "SELECT route, confidence, evidence FROM decisions WHERE video_id = 'cold'")
    expected = alone(each)
    assert stored == (expected.route.value, expected.confidence, {"author": None, "engagement": None})


EMPTIED = (
    "videos",
    "predictions",
    "decisions",
    "current_labels",
    "review_tasks",
    "outbox",
    "author_history",
    "author_profiles",
    "engagement_snapshots",
)


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_order_repetition_or_delay_of_signals_ends_in_the_same_decision(
    data: st.DataObject, connection: Connection, model: LiveModel
) -> None:
    for table in EMPTIED:  # an example that fails shall fail again
        connection.execute(f"DELETE FROM {table}")
    number = data.draw(st.integers(0, 1000))
    each = video(f"v{number}", author=f"a{number}")
    minutes = st.integers(-10, 10).map(lambda value: timedelta(minutes=value))
    profiles = [
        profile(each.author_id, seq, data.draw(st.integers(0, 3)), NOON + data.draw(minutes))
        for seq in range(data.draw(st.integers(0, 3)))
    ]
    snapshots = [
        snapshot(each.video_id, data.draw(st.sampled_from([10, 50, 400])), data.draw(st.integers(0, 3)), seq)
        for seq in range(data.draw(st.integers(0, 3)))
    ]
    arrivals: list[VideoPublished | AuthorProfile | EngagementSnapshot] = [each, *profiles, *snapshots]
    arrivals = list(data.draw(st.permutations(arrivals + data.draw(st.lists(st.sampled_from(arrivals), max_size=2)))))
    while arrivals:
        size = data.draw(st.integers(1, len(arrivals)))
        batch, arrivals = arrivals[:size], arrivals[size:]
        clock = datetime.now(UTC) + data.draw(minutes)
        if videos := [event for event in batch if isinstance(event, VideoPublished)]:
            publish(connection, model, *videos)
        if observed := [event for event in batch if not isinstance(event, VideoPublished)]:
            observe(connection, model, *observed, now=clock)
    expected = final(each, profiles, snapshots)
    _, level1, level2, route, best, _, tasks = label(connection, each.video_id)
    assert route == expected.route.value
    assert level1 == (None if expected.route is Route.REVIEW else model.level1[expected.level1])
    assert level2 == (model.level2[expected.level2] if expected.route is Route.ACCEPT else None)
    if expected.route is Route.REVIEW:  # what people are shown
        assert best == model.level2[expected.level2]
    assert tasks == (expected.route is Route.REVIEW or expected.audit)


def test_a_snapshot_that_commits_while_its_video_is_in_flight_is_used(dsn: str, model: LiveModel) -> None:
    """Both interleavings: rescore waits for the video that is being inserted, and the other way round."""
    database = DatabaseSettings(dsn=SecretStr(dsn))
    each = moved_by(3)
    with connect(database, "classify") as classify, connect(database, "rescore") as other:
        done = threading.Event()

        def late() -> None:
            observe(other, model, snapshot(each.video_id, 5000, 3))
            done.set()

        with classify.transaction():
            publish(classify, model, each)  # inserted and decided, not committed
            thread = threading.Thread(target=late)
            thread.start()
            wait_for_a_lock(dsn)
            assert not done.is_set()
        thread.join(30)
        assert label(classify, each.video_id)[1] == LEVEL1[3]

        early = moved_by(3, start=1000)
        with other.transaction():
            observe(other, model, snapshot(early.video_id, 5000, 3))
            thread = threading.Thread(target=publish, args=(classify, model, early))
            thread.start()
            wait_for_a_lock(dsn)
        thread.join(30)
        assert label(other, early.video_id)[1] == LEVEL1[3]
        assert counts(other, early.video_id)[2] == 1  # decided once, with the snapshot


def test_a_profile_that_commits_while_a_video_is_in_flight_is_used(dsn: str, model: LiveModel) -> None:
    database = DatabaseSettings(dsn=SecretStr(dsn))
    towards, each = next(
        (towards, each)
        for number in range(500)
        for each in [video(f"p{number}", author=f"author{number}")]
        for towards in range(4)
        if alone(each).route is Route.REVIEW
        and alone(each, author=author_evidence(profile("x", 1, towards), None, LEVEL1)).route is Route.ACCEPT
    )
    with connect(database, "classify") as classify, connect(database, "rescore") as other:
        with classify.transaction():
            publish(classify, model, each)
            thread = threading.Thread(target=observe, args=(other, model, profile(each.author_id, 1, towards)))
            thread.start()
            wait_for_a_lock(dsn)
        thread.join(30)
        assert label(classify, each.video_id)[0] == "labelled"
        assert one(classify, "SELECT trigger FROM decisions WHERE label_revision = 2") == ("author",)


def wait_for_a_lock(dsn: str) -> None:
    """Until some session waits for another one's lock."""
    with psycopg.connect(dsn, autocommit=True) as watcher:
        for _ in range(2000):
            row = watcher.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
            if row and row[0]:
                return
            threading.Event().wait(0.005)
    raise AssertionError("nobody waited")


@pytest.mark.parametrize("at_once", [rescore.AT_ONCE, 7])
def test_a_new_profile_looks_again_at_the_videos_it_counts_for_and_at_no_older_ones(
    connection: Connection, model: LiveModel, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(rescore, "AT_ONCE", at_once)
    videos = [video(f"u{number}") for number in range(60)]
    publish(connection, model, *videos)
    evidence = author_evidence(profile("a", 1, 0), None, LEVEL1)
    before = {each.video_id: label(connection, each.video_id) for each in videos}
    observe(connection, model, profile("a", 1, 0, NOON + PROFILE_WINDOW + timedelta(hours=1)))
    assert {each.video_id: label(connection, each.video_id) for each in videos} == before
    observe(connection, model, profile("a", 0, 0), snapshot("u59", 100, 0), snapshot("unheard", 10, 0))
    assert {each.video_id: label(connection, each.video_id) for each in videos} != before
    assert connection.execute("SELECT video_id FROM engagement_snapshots ORDER BY 1").fetchall() == [
        ("u59",),
        ("unheard",),
    ]
    watched = {"u59": engagement_evidence(snapshot("u59", 100, 0), LEVEL1)}
    for each in videos:
        route = label(connection, each.video_id)[3]
        assert route == alone(each, author=evidence, engagement=watched.get(each.video_id)).route.value


def test_a_videos_own_label_never_reaches_its_own_prior_and_relabelling_counts_once(
    connection: Connection, model: LiveModel
) -> None:
    each = moved_by(2)
    publish(connection, model, each)
    observe(connection, model, snapshot(each.video_id, 5000, 2))  # relabelled
    rows = connection.execute("SELECT video_id, human FROM author_history").fetchall()
    assert rows == [(each.video_id, False)]
    assert known(connection, model, each)["author"] is None
    edited = video(each.video_id, 1).model_copy(update={"published_at": NOON + timedelta(hours=1)})
    publish(connection, model, edited)  # what was said of the first revision is of an earlier moment
    assert known(connection, model, edited)["author"] is None
    assert one(connection, "SELECT count(*) FROM author_history") == (1,)


def test_history_is_the_contents_word_whatever_signals_made_of_it_and_reaches_later_videos_alone(
    connection: Connection, model: LiveModel
) -> None:
    each = moved_by(2)
    publish(connection, model, each)
    before = one(connection, "SELECT level1 FROM author_history")
    observe(connection, model, snapshot(each.video_id, 5000, 2))
    assert one(connection, "SELECT level1 FROM author_history") == before
    earlier, later = (
        video(name).model_copy(update={"published_at": NOON + timedelta(hours=hours)})
        for name, hours in (("earlier", -1), ("later", 1))
    )
    publish(connection, model, earlier, later)
    seen = dict(connection.execute("SELECT video_id, evidence -> 'author' FROM decisions").fetchall())
    assert seen["earlier"] is None
    assert sum(seen["later"]["history"].values()) == pytest.approx(1.0)


def test_the_history_of_an_author_is_rewritten_where_another_model_decides_again_and_there_alone(
    connection: Connection, model: LiveModel
) -> None:
    each = moved_by(2)
    publish(connection, model, each)
    row = "SELECT level1, xmin FROM author_history"
    before = one(connection, row)
    observe(connection, model, snapshot(each.video_id, 5000, 2))
    assert counts(connection, each.video_id)[0] == 2
    assert one(connection, row) == before, "it says of its author what it said"
    warmer = replace(model, model_id="warmer", policy=replace(model.policy, temperature_level2=3.0))
    observe(connection, registry.enter(connection, warmer, {}), snapshot(each.video_id, 5001, 3))
    assert counts(connection, each.video_id)[0] == 3
    assert one(connection, row)[0] != before[0]
    assert one(connection, "SELECT count(*) FROM author_history") == (1,)


def test_a_batch_is_looked_up_by_its_keys_whatever_the_planner_believes_of_the_tables(
    dsn: str, connection: Connection, model: LiveModel
) -> None:
    publish(connection, model, video("first"))
    connection.execute("ANALYZE")  # of tables of one row, which are best read whole
    videos = [video(f"later-{number}", author=f"a{number % 50}") for number in range(1000)]
    publish(connection, model, *videos)
    with Session(DatabaseSettings(dsn=SecretStr(dsn)), "test").connection() as session, session.cursor() as cursor:
        column = pg.text_column([pg.text(each.video_id) for each in videos[::100]])
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {_LABELLED}", [column, model.epoch, model.encoder_id])
        ((explained,),) = cursor.fetchall()
    read = {
        node["Alias"]: node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
        for node in _nodes(explained[0]["Plan"])
        if node.get("Alias") in tuple("vcdpt")
    }
    assert read.keys() == set("vcdpt")
    assert max(read.values()) <= 10, read


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


def test_a_worker_of_a_model_that_was_taken_back_decides_nothing(connection: Connection, model: LiveModel) -> None:
    each = moved_by(0)
    newer = registry.enter(connection, replace(stub_model(), model_id="enc-stub.pol-new", policy_id="pol-new"), {})
    publish(connection, newer, each)
    before = counts(connection, each.video_id)
    observe(connection, model, snapshot(each.video_id, 5000, 0))  # the older one
    assert counts(connection, each.video_id) == before
    connection.execute(
        "INSERT INTO promotions (model_id, kind, actor, reason) VALUES (%s, 'rollback', 'me', 'worse')",
        [model.model_id],
    )
    observe(connection, model, snapshot(each.video_id, 5001, 0))
    winner = one(connection, "SELECT model_id, promotion_epoch, level1 FROM current_labels")
    assert winner == (model.model_id, newer.epoch + 1, LEVEL1[0])
    observe(connection, newer, snapshot(each.video_id, 9000, 1))
    assert one(connection, "SELECT model_id, promotion_epoch, level1 FROM current_labels") == winner


def test_a_worker_of_a_model_that_was_taken_back_leaves_the_labels_from_before_its_time(
    connection: Connection, model: LiveModel
) -> None:
    each = moved_by(0)
    publish(connection, model, each)
    newer = registry.enter(connection, replace(stub_model(), model_id="enc-stub.pol-new", policy_id="pol-new"), {})
    connection.execute(
        "INSERT INTO promotions (model_id, kind, actor, reason) VALUES (%s, 'rollback', 'me', 'worse')",
        [model.model_id],
    )
    before = counts(connection, each.video_id)
    observe(connection, newer, snapshot(each.video_id, 5000, 0))
    assert counts(connection, each.video_id) == before
    observe(connection, model, snapshot(each.video_id, 5001, 0))
    moved = one(connection, "SELECT model_id, level1 FROM current_labels")
    assert moved == (model.model_id, LEVEL1[0])
