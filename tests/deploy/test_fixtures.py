"""The fixtures themselves: what every other test with a server rests on."""

from __future__ import annotations

import psycopg
import pytest

from schemas.database import is_current
from stream.settings import Settings
from tests.support.kafka import create, end_offsets, produce, read_all

pytestmark = pytest.mark.stack


def test_a_fresh_database_is_migrated_and_empty(dsn: str) -> None:
    assert is_current(dsn)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM videos").fetchone() == (0,)


def test_an_empty_database_has_no_tables(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as connection:
        found = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert found == (0,)


def test_topics_exist_under_this_tests_own_names(settings: Settings, topics: dict[str, str]) -> None:
    assert end_offsets(settings.kafka.bootstrap, topics["video.published.v1"]) == {0: 0, 1: 0, 2: 0}


def test_what_was_produced_is_read_back(kafka: str, topic_names: dict[str, str]) -> None:
    topic = topic_names["video.labels.v1"]
    create(kafka, [topic], partitions=2)
    produce(kafka, topic, [(b"k%d" % number, b"v%d" % number, [("h", b"1")]) for number in range(100)])
    records = read_all(kafka, topic)
    assert {record.value() for record in records} == {b"v%d" % number for number in range(100)}
    assert all(record.headers() == [("h", b"1")] for record in records)
