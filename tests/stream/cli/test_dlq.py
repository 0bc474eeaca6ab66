"""Dead letters go back to the topic whose reader can do something with them, and die there as the same letter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from schemas.errors import ExitCode
from schemas.topics import AUTHOR_PROFILES, ENGAGEMENT_SNAPSHOTS, VIDEO_RETRY, TopicNames
from stream.classify.stub import stub_model
from stream.cli.main import run
from stream.consumer.records import Record
from stream.rescore.job import read
from stream.settings import DatabaseSettings
from stream.store import registry, rescore
from stream.store.rescore import ReviewRules
from stream.store.session import connect

pytestmark = pytest.mark.stack

RULES = ReviewRules(timedelta(hours=24), timedelta(hours=72))
Headers = tuple[tuple[str, bytes | None], ...]


@pytest.fixture
def connection(
    monkeypatch: pytest.MonkeyPatch, dsn: str, topic_names: dict[str, str]
) -> Iterator[psycopg.Connection[Any]]:
    monkeypatch.delenv("REELSORT_CONFIG", raising=False)
    monkeypatch.setenv("REELSORT_KAFKA__TOPICS", json.dumps(topic_names))
    monkeypatch.setenv("REELSORT_DATABASE__DSN", dsn)
    with connect(DatabaseSettings(dsn=dsn), "test") as opened:
        yield opened


def refused(
    connection: psycopg.Connection[Any], names: TopicNames, topic: str, key: bytes, offset: int, headers: Headers = ()
) -> None:
    """What the rescore job does with a record that is no event."""
    record = Record(names.actual(topic), 1, offset, 1, 0, key, b'{"seq": "no number"}', headers)
    model = registry.enter(connection, stub_model(), {})
    rescore.write(connection, [read(record, names)], model, datetime.now(UTC), RULES)


def test_observations_go_back_to_their_own_topic_and_videos_to_the_retry_topic(
    connection: psycopg.Connection[Any], topic_names: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    names = TopicNames(topic_names)
    refused(connection, names, AUTHOR_PROFILES, "作者".encode(), 7)
    refused(connection, names, ENGAGEMENT_SNAPSHOTS, b"v1", 8)
    connection.execute(
        "INSERT INTO dead_letters (video_id, code, detail, source_topic, source_partition, source_offset, value,"
        " headers)"
        " VALUES ('v2', 'x', '', %s, 0, 9, '{}', '{}'), ('v3', 'x', '', 'a.topic.of.before', 0, 9, '{}', '{}')",
        [names.actual("video.published.v1")],
    )
    connection.execute("DELETE FROM outbox")  # what was announced of the letters

    assert run(["dlq", "redrive"]) == ExitCode.OK
    said = capsys.readouterr().out
    assert "4 dead letters would be sent" in said
    assert f"1 to {topic_names[AUTHOR_PROFILES]}" in said
    assert run(["dlq", "redrive", "--write", "--format", "json"]) == ExitCode.OK
    report = json.loads(capsys.readouterr().out)
    assert report["topics"] == {AUTHOR_PROFILES: 1, ENGAGEMENT_SNAPSHOTS: 1, VIDEO_RETRY: 2}
    sent = connection.execute(
        "SELECT topic, key, headers ->> 'reelsort_tries' FROM outbox ORDER BY topic, key"
    ).fetchall()
    assert sent == [
        (AUTHOR_PROFILES, "作者", "1"),
        (ENGAGEMENT_SNAPSHOTS, "v1", "1"),
        (VIDEO_RETRY, "v2", "1"),
        (VIDEO_RETRY, "v3", "1"),
    ]


def test_an_observation_that_dies_again_is_the_same_letter(
    connection: psycopg.Connection[Any], topic_names: dict[str, str]
) -> None:
    names = TopicNames(topic_names)
    refused(connection, names, ENGAGEMENT_SNAPSHOTS, b"v1", 8)
    connection.execute("DELETE FROM outbox")
    assert run(["dlq", "redrive", "--write"]) == ExitCode.OK
    assert connection.execute("SELECT count(*) FROM dead_letters WHERE redriven_at IS NULL").fetchone() == (0,)
    (headers,) = connection.execute("SELECT headers FROM outbox").fetchone() or ()
    carried = tuple((name, str(text).encode()) for name, text in headers.items())
    refused(connection, names, ENGAGEMENT_SNAPSHOTS, b"v1", 4000, carried)
    letters = connection.execute("SELECT source_offset, redriven_at FROM dead_letters").fetchall()
    assert letters == [(8, None)]
