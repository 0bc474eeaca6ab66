"""A stack of its own for the fault tests, and on it a clean field (database, topics, groups) for each scenario."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import psutil
import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition

from deploy.local import stack
from schemas.database import upgrade
from schemas.events import VideoPublished
from schemas.topics import TOPICS, VIDEO_LABELS, VIDEO_PUBLISHED, TopicNames
from schemas.wire import encode_event
from stream.demo.readback import TopicReader
from stream.kafka import consumer_config, create_topics, group_id, producer_config
from stream.settings import Settings, load_settings
from tests.faults.ledger import Input, Seen, Source
from tests.faults.processes import Worker

SESSION_TIMEOUT_S = 6.0
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Lab:
    """Owns one local stack; scenarios may stop and start its servers."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self.info = stack.up(folder)
        self._fields = 0

    def close(self) -> None:
        stack.down(self.folder)

    def stop_server(self, name: stack.ServerName) -> None:
        stack.down(self.folder, servers=(name,))

    def kill_server(self, name: stack.ServerName) -> None:
        """SIGKILL, and wait until it is gone."""
        info = stack.status(self.folder)
        assert info is not None
        process = psutil.Process(info.kafka.pid if name == "kafka" else info.postgres.pid)
        process.kill()
        process.wait(30)

    def start_servers(self) -> None:
        stack.up(self.folder)

    @contextmanager
    def field(self, name: str, **settings: str) -> Iterator[Field]:
        """An empty database, topics and groups named after the scenario. `settings` are REELSORT_ variables."""
        self._fields += 1
        label = f"{name}_{self._fields}"
        with psycopg.connect(self.info.dsn, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{label}"')
        dsn = f"{self.info.dsn.rsplit('/', 1)[0]}/{label}"
        upgrade(dsn)
        environment = {
            "REELSORT_KAFKA__BOOTSTRAP": self.info.bootstrap,
            "REELSORT_KAFKA__GROUP_PREFIX": label,
            "REELSORT_KAFKA__TOPICS": json.dumps({topic: f"{label}.{topic}" for topic in TOPICS}),
            "REELSORT_KAFKA__SESSION_TIMEOUT_MS": str(int(SESSION_TIMEOUT_S * 1000)),
            "REELSORT_DATABASE__DSN": dsn,
            "REELSORT_CLASSIFY__STUB": "true",
        } | {f"REELSORT_{key.upper()}": value for key, value in settings.items()}
        logs = self.folder / "fault-logs" / label
        logs.mkdir(parents=True)
        field = Field(environment, dsn, logs)
        try:
            yield field
        finally:
            field.close()


class Field:
    """What a scenario works with: it publishes, starts workers, waits for rest and reads everything back."""

    def __init__(self, environment: Mapping[str, str], dsn: str, logs: Path) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("REELSORT_")}
        self.environment = inherited | environment
        self.dsn = dsn
        self.logs = logs
        self.settings = _settings_from(environment)
        self.names = TopicNames(self.settings.kafka.topics)
        self.workers: list[Worker] = []
        self.published: list[Input] = []
        create_topics(self.settings)

    def close(self) -> None:
        for worker in self.workers:
            worker.resume()
            worker.kill()

    def start(self, job: str, kill_at: str | None = None, nth: int = 1, **settings: str) -> Worker:
        environment = self.environment | {f"REELSORT_{key.upper()}": value for key, value in settings.items()}
        worker = Worker(job, environment, self.logs / f"{job}.log", kill_at, nth)
        self.workers.append(worker)
        return worker

    def publish(self, count: int, times: int = 1, uri: Callable[[int], str] = "file:///{}.mp4".format) -> list[Input]:
        """`count` new videos, each event sent `times` times (interleaved)."""
        first = len(self.published)
        inputs = [(f"v{number:06d}", 0) for number in range(first, first + count)]
        events = [
            VideoPublished(
                video_id=video_id,
                revision=revision,
                author_id=f"a{number % 97}",
                media_uri=uri(number),
                published_at=EPOCH + timedelta(seconds=number),
                title=f"第{number}个视频",
            )
            for number, (video_id, revision) in enumerate(inputs, first)
        ]
        self.published += inputs
        self.send_events(events * times)
        return inputs

    def send_events(self, events: Sequence[VideoPublished]) -> None:
        encoded = [
            encode_event(event, ce_id=f"{event.video_id}-{event.revision}", source="faults", time=event.published_at)
            for event in events
        ]
        self.send_raw([(item.key, item.value, item.headers) for item in encoded])

    def send_raw(self, records: Sequence[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]]) -> None:
        producer = Producer(producer_config(self.settings, "faults"))
        for key, value, headers in records:
            producer.produce(self.names.actual(VIDEO_PUBLISHED), value, key, headers=headers)
            producer.poll(0)
        assert producer.flush(30) == 0

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            return connection.execute(statement, parameters).fetchall()

    def handled(self) -> int:
        """Inputs that ended as a decision or a dead letter."""
        (row,) = self.query(
            "SELECT (SELECT count(*) FROM decisions WHERE trigger = 'publish') + (SELECT count(*) FROM dead_letters)"
        )
        return int(row[0])

    def await_progress(self, beyond: int, timeout: float = 60) -> None:
        """Until more than `beyond` inputs are handled."""
        wait_for(lambda: self.handled() > beyond, timeout, lambda: f"{self.handled()} handled")

    def settled(self, inputs: int) -> bool:
        """Everything handled, announced and committed."""
        if self.handled() < inputs or self.query("SELECT 1 FROM outbox LIMIT 1"):
            return False
        return self.uncommitted() == 0

    def await_settled(self, inputs: int, timeout: float) -> float:
        """Seconds until rest; raises TimeoutError with what is missing."""
        return wait_for(lambda: self.settled(inputs), timeout, lambda: f"{self.handled()} of {inputs} handled")

    def committed(self) -> dict[int, int]:
        """partition of video.published.v1 -> the group's committed offset, 0 where there is none."""
        topic = self.names.actual(VIDEO_PUBLISHED)
        with closing(Consumer(self._reader_config(group_id(self.settings, "classify")))) as consumer:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            found = consumer.committed([TopicPartition(topic, number) for number in partitions], timeout=10)
            return {each.partition: max(0, each.offset) for each in found}

    def uncommitted(self) -> int:
        topic = self.names.actual(VIDEO_PUBLISHED)
        committed = self.committed()
        with closing(Consumer(self._reader_config("faults-watermarks"))) as consumer:
            highs = {
                number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)[1]
                for number in committed
            }
        return sum(highs[number] - offset for number, offset in committed.items())

    def _reader_config(self, group: str) -> dict[str, Any]:
        return consumer_config(self.settings, group) | {"group.protocol": "classic", "auto.offset.reset": "earliest"}

    def read_back(self) -> Seen:
        """Everything a verdict needs, from tables and topics."""
        labels: dict[str, set[str]] = {}
        for message in self.read_topic(VIDEO_LABELS):
            body = orjson.loads(message.value()) if message.value() else {}
            identity = dict(message.headers() or ()).get("ce_id", b"").decode()
            labels.setdefault(message.key().decode(), set()).add(f"{body.get('label_revision')}/{identity}")
        dead = self.query("SELECT video_id, revision FROM dead_letters")
        return Seen(
            source=[
                Source(message.partition(), message.offset(), _input_of(message.value()))
                for message in self.read_topic(VIDEO_PUBLISHED)
            ],
            decisions=self.query("SELECT video_id, revision FROM decisions WHERE trigger = 'publish'"),
            dead_letters=[(video, revision) for video, revision in dead if video is not None],
            dead_letters_unparsed=sum(video is None for video, _ in dead),
            labels=labels,
            label_revisions=dict(self.query("SELECT video_id, label_revision FROM current_labels")),
            committed=self.committed(),
            in_outbox=self.query("SELECT count(*) FROM outbox")[0][0],
        )

    def read_topic(self, standard: str) -> list[Any]:
        with closing(TopicReader(self.settings, self.names.actual(standard))) as reader:
            return list(reader.read_to_end(60))


def wait_for(condition: Callable[[], bool], timeout: float, state: Callable[[], str]) -> float:
    """Poll until `condition` holds; seconds it took. Raises TimeoutError that says how far it got."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > timeout:
            raise TimeoutError(f"not at rest after {timeout:.0f} s: {state()}")
        time.sleep(0.1)
    return time.monotonic() - begun


def _settings_from(environment: Mapping[str, str]) -> Settings:
    """Settings as a worker with this environment sees them."""
    before = dict(os.environ)
    try:
        os.environ.update(environment)
        os.environ.pop("REELSORT_CONFIG", None)
        return load_settings()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _input_of(value: bytes | None) -> Input | None:
    try:
        body = orjson.loads(value or b"")
        return str(body["video_id"]), int(body.get("revision", 0))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
