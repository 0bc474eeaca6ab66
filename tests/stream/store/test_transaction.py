"""The transaction of a batch on a real Postgres: whatever order and batches things come in, the end is the same."""

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

from schemas.events import VideoPublished, VideoRemoved
from stream.classify.stub import StubAnalyzer, stub_model
from stream.consumer.records import Record
from stream.settings import DatabaseSettings
from stream.store import registry
from stream.store.session import connect
from stream.store.transaction import write
from stream.store.work import Analysed, Batch, Input, LiveModel, Origin, Outcome, Removal

pytestmark = pytest.mark.stack

START = datetime(2026, 4, 1, tzinfo=UTC)
Connection = psycopg.Connection[Any]


@pytest.fixture
def connection(dsn: str) -> Iterator[Connection]:
    with connect(DatabaseSettings(dsn=SecretStr(dsn)), "test") as opened:
        yield opened


@pytest.fixture
def model(connection: Connection) -> LiveModel:
    return registry.enter(connection, stub_model(), {})


def at(hours: int) -> datetime:
    return START + timedelta(hours=hours)


def published(video_id: str, revision: int, hours: int) -> Outcome:
    video = VideoPublished(
        video_id=video_id, revision=revision, author_id="a", media_uri="m", published_at=at(hours), title="t"
    )
    source = Input(_record(), Origin("t", 0, 0), video, 1, None)
    return Analysed(source, video, StubAnalyzer()._analyse(video))


def removed(video_id: str, hours: int) -> Outcome:
    event = VideoRemoved(video_id=video_id, removed_at=at(hours))
    return Removal(Input(_record(), Origin("t", 0, 0), event, 1, None), event)


def _record() -> Record:
    return Record("t", 0, 0, 1, 0, None, None, ())


def store(connection: Connection, model: LiveModel, *outcomes: Outcome) -> None:
    write(connection, Batch.of(outcomes), model, datetime.now(UTC), timedelta(hours=1))


def visible(connection: Connection, video_id: str) -> tuple[Any, ...] | None:
    """What a reader sees: nothing of a removed video, else its newest revision and the label in force."""
    return connection.execute(
        """
        SELECT v.revision, c.revision, c.status, c.level1, c.level2, c.confidence,
               (SELECT count(*) FROM review_tasks t WHERE t.video_id = v.video_id AND t.state = 'open'),
               (SELECT min(t.revision) FROM review_tasks t WHERE t.video_id = v.video_id AND t.state = 'open')
          FROM videos v JOIN current_labels c USING (video_id)
         WHERE v.video_id = %s AND v.removed_at IS NULL AND c.status <> 'withdrawn'
        """,
        [video_id],
    ).fetchone()


# name -> (what happens, when it happened)
HAPPENINGS = {"r0": 0, "r1": 2, "removed": 3, "r2": 4, "removed again": 5, "r3": 6}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_revisions_and_removals_end_alike_in_whatever_order_they_come(
    data: st.DataObject, connection: Connection, model: LiveModel
) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(HAPPENINGS)), min_size=1, max_size=6, unique=True))
    repeated = data.draw(st.permutations(names + data.draw(st.lists(st.sampled_from(names), max_size=3))))
    video_id = f"v{len(connection.execute('SELECT video_id FROM videos').fetchall())}"
    outcomes = [
        published(video_id, int(name[1]), HAPPENINGS[name])
        if name.startswith("r") and name[1:].isdigit()
        else removed(video_id, HAPPENINGS[name])
        for name in repeated
    ]
    while outcomes:
        size = data.draw(st.integers(1, len(outcomes)))
        store(connection, model, *outcomes[:size])
        outcomes = outcomes[size:]
    newest = max((name for name in names if name[1:].isdigit()), default=None)
    gone = newest is None or any(HAPPENINGS[name] >= HAPPENINGS[newest] for name in names if "removed" in name)
    seen = visible(connection, video_id)
    if gone:
        assert seen is None
        assert connection.execute(
            "SELECT count(*) FROM predictions p JOIN videos v USING (video_id) WHERE v.video_id = %s", [video_id]
        ).fetchone() == (0,)
        return
    assert newest is not None
    assert seen is not None
    assert (seen[0], seen[1]) == (int(newest[1]), int(newest[1]))
    assert seen[6] <= 1
    assert seen[7] in (None, int(newest[1]))


def test_a_label_revision_never_falls_and_is_announced_once(connection: Connection, model: LiveModel) -> None:
    for revision in (0, 2, 1, 3, 3, 0):
        store(connection, model, published("v", revision, revision))
    store(connection, model, removed("v", 9))
    store(connection, model, published("v", 4, 10))
    announced = connection.execute(
        "SELECT coalesce((convert_from(value, 'UTF8')::jsonb ->> 'label_revision')::int,"
        " (headers ->> 'reelsort_label_revision')::int) FROM outbox WHERE topic = 'video.labels.v1' ORDER BY id"
    ).fetchall()
    assert announced == [(1,), (2,), (3,), (4,), (5,)]
    assert connection.execute("SELECT revision, label_revision FROM current_labels").fetchall() == [(4, 5)]


def test_a_human_label_stands_against_a_model_of_its_revision_and_yields_to_a_new_one(
    connection: Connection, model: LiveModel
) -> None:
    store(connection, model, published("v", 0, 0))
    connection.execute("UPDATE current_labels SET source = 'human', level1 = 'stub_a', status = 'labelled_level1'")
    other = replace(model, model_id="other")
    store(connection, other, published("v", 0, 0))
    assert connection.execute("SELECT source, label_revision FROM current_labels").fetchall() == [("human", 1)]
    decisions = connection.execute("SELECT model_id, label_revision FROM decisions ORDER BY label_revision").fetchall()
    assert decisions == [(model.model_id, 1), ("other", None)]
    store(connection, model, published("v", 1, 1))
    assert connection.execute("SELECT source, label_revision FROM current_labels").fetchall() == [("model", 2)]


def test_a_higher_epoch_takes_the_place_of_a_lower_one_and_not_the_other_way(
    connection: Connection, model: LiveModel
) -> None:
    newer = replace(model, model_id="newer", epoch=model.epoch + 1)
    store(connection, newer, published("v", 0, 0))
    store(connection, model, published("v", 0, 0))
    assert connection.execute("SELECT model_id, label_revision FROM current_labels").fetchall() == [("newer", 1)]
    store(connection, model, published("w", 0, 0))
    store(connection, newer, published("w", 0, 0))
    assert connection.execute(
        "SELECT model_id, label_revision FROM current_labels WHERE video_id = 'w'"
    ).fetchall() == [("newer", 2)]


def test_two_workers_on_the_same_videos_decide_them_once(connection: Connection, model: LiveModel, dsn: str) -> None:
    """One waits for the other's locks, then sees what it did."""
    outcomes = [published(f"v{number}", 0, 0) for number in range(50)]
    failures: list[BaseException] = []

    def work(batch: list[Outcome]) -> None:
        try:
            with connect(DatabaseSettings(dsn=SecretStr(dsn)), "test") as own:
                store(own, model, *batch)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work, args=(outcomes if number % 2 else outcomes[::-1],)) for number in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert failures == []
    for table in ("videos", "predictions", "decisions", "current_labels"):
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (50,)
    assert connection.execute("SELECT count(*) FROM outbox WHERE topic = 'video.labels.v1'").fetchone() == (50,)
