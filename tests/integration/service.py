"""Jobs in threads of the test process, and eyes on what they leave behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from confluent_kafka import Message

from schemas.events import AuthorProfile, EngagementSnapshot, Event, VideoPublished, VideoRemoved
from schemas.topics import AUTHOR_PROFILES, ENGAGEMENT_SNAPSHOTS, VIDEO_PUBLISHED, VIDEO_REMOVED
from schemas.wire import encode_event
from stream.classify import job
from stream.classify.analyse import Analyzer
from stream.classify.job import Parts
from stream.classify.stub import StubAnalyzer, stub_model
from stream.kafka import group_id
from stream.relay import job as relay_job
from stream.rescore import job as rescore_job
from stream.settings import Settings
from stream.telemetry.health import Health
from tests.support.kafka import committed, end_offsets, produce, read_all
from tests.support.waiting import wait_until

START = datetime(2026, 3, 1, tzinfo=UTC)
TOPIC_OF: dict[type[Event], str] = {
    VideoPublished: VIDEO_PUBLISHED,
    VideoRemoved: VIDEO_REMOVED,
    AuthorProfile: AUTHOR_PROFILES,
    EngagementSnapshot: ENGAGEMENT_SNAPSHOTS,
}


def video(number: int, revision: int = 0, **changes: Any) -> VideoPublished:
    fields: dict[str, Any] = {
        "video_id": f"v{number:05d}",
        "revision": revision,
        "author_id": f"a{number % 7}",
        "media_uri": f"file:///v{number}.mp4",
        "published_at": START + timedelta(seconds=number, hours=revision),
        "title": f"第{number}个视频",
        "tags": ("美食", "教程"),
    }
    return VideoPublished(**(fields | changes))


class Service:
    """One field of play: settings, their database, their topics."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.connection = psycopg.connect(settings.database.dsn.get_secret_value(), autocommit=True)

    def send(self, *events: Event) -> None:
        for kind, topic in TOPIC_OF.items():
            encoded = [
                encode_event(event, ce_id="test", source="/tests", time=START, traceparent=TRACEPARENT)
                for event in events
                if isinstance(event, kind)
            ]
            if encoded:
                self.send_raw([(each.key, each.value, each.headers) for each in encoded], topic)

    def send_raw(self, records: Sequence[Any], topic: str = VIDEO_PUBLISHED) -> None:
        produce(self.settings.kafka.bootstrap, self.settings.kafka.topics[topic], records)

    def running(self, analyzer: Analyzer | None = None, **overrides: Any) -> AbstractContextManager[Health]:
        """The classify job over this analyzer (the stub)."""
        classify = self.settings.classify.model_copy(update={"stub": True, "commit_linger_ms": 10.0} | overrides)
        settings = self.settings.model_copy(update={"classify": classify})
        parts = Parts(analyzer or StubAnalyzer(), stub_model(), {})
        return self.serving(lambda stop, health: job.serve(settings, parts, stop, health))

    def rescoring(self, **overrides: Any) -> AbstractContextManager[Health]:
        """The rescore job with the stub's policy."""
        changes = {
            "classify": self.settings.classify.model_copy(update={"stub": True}),
            "rescore": self.settings.rescore.model_copy(update={"commit_linger_ms": 10.0} | overrides),
        }
        settings = self.settings.model_copy(update=changes)
        return self.serving(lambda stop, health: rescore_job.run(settings, stop, health))

    def relaying(self) -> AbstractContextManager[Health]:
        return self.serving(lambda stop, health: relay_job.run(self.settings, stop, health))

    @contextmanager
    def serving(self, work: Callable[[threading.Event, Health], None]) -> Iterator[Health]:
        """A job in a thread until the block ends; what it raised is raised here."""
        stop, health = threading.Event(), Health(60.0)
        failure: list[BaseException] = []

        def serve() -> None:
            try:
                work(stop, health)
            except BaseException as error:
                failure.append(error)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield health
        finally:
            stop.set()
            thread.join(40)
        assert not thread.is_alive()
        if failure:
            raise failure[0]

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement, parameters).fetchall()

    def count(self, table: str, where: str = "true") -> int:
        return int(self.rows(f"SELECT count(*) FROM {table} WHERE {where}")[0][0])

    def wait_for(self, count: int, table: str, where: str = "true", timeout_s: float = 30.0) -> None:
        wait_until(lambda: self.count(table, where) >= count, timeout_s, what=f"{count} rows in {table} where {where}")

    def relay(self, topic: str) -> int:
        """Send what the outbox holds for one topic, due or not, as the relay will. Returns how many."""
        sent = self.rows("DELETE FROM outbox WHERE topic = %s RETURNING key, value, headers", topic)
        self.send_raw(
            [
                (key.encode(), value, [(name, text.encode()) for name, text in headers.items() if text is not None])
                for key, value, headers in sent
            ],
            topic,
        )
        return len(sent)

    def places(self) -> dict[str, tuple[str, int, int]]:
        """video_id -> topic, partition and offset of its record on video.published.v1."""
        topic = self.settings.kafka.topics[VIDEO_PUBLISHED]
        messages = read_all(self.settings.kafka.bootstrap, topic)
        return {(m.key() or b"").decode(): (topic, m.partition() or 0, m.offset() or 0) for m in messages}

    def held_back(self, standard: str = VIDEO_PUBLISHED, reader: str = job.NAME) -> int:
        """Records of a topic whose offsets its reader has not committed."""
        topic, bootstrap = self.settings.kafka.topics[standard], self.settings.kafka.bootstrap
        done = committed(bootstrap, group_id(self.settings, reader), topic)
        return sum(end - max(0, done.get(place, 0)) for place, end in end_offsets(bootstrap, topic).items())

    def outbox(self, topic: str) -> list[tuple[str, bytes | None, dict[str, Any]]]:
        return [
            (key, None if value is None else bytes(value), headers)
            for key, value, headers in self.rows(
                "SELECT key, value, headers FROM outbox WHERE topic = %s ORDER BY id", topic
            )
        ]


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

__all__ = ["START", "TRACEPARENT", "Message", "Service", "video"]
