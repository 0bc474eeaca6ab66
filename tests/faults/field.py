"""What a scenario works with: it publishes, starts workers, waits for rest and reads everything back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import orjson
import psycopg
from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)

from schemas.events import AuthorProfile, EngagementAction, EngagementSnapshot, Event, VideoPublished
from schemas.topics import (
    AUTHOR_PROFILES,
    ENGAGEMENT_ACTIONS,
    ENGAGEMENT_SNAPSHOTS,
    TOPICS,
    VIDEO_LABELS,
    VIDEO_PUBLISHED,
    TopicNames,
)
from schemas.wire import BadEvent, decode_event, encode_event
from stream.kafka import admin_config, committed_offsets, create_topics, group_id
from stream.settings import Settings, load_settings
from tests.faults.ledger import Input, Seen, Source
from tests.faults.processes import Nursery, Worker
from tests.faults.reading import read_to_end
from tests.faults.worker import Order

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
ADMIN_TIMEOUT_S = 30.0

_TOPIC_OF: Mapping[type[Event], str] = {
    VideoPublished: VIDEO_PUBLISHED,
    AuthorProfile: AUTHOR_PROFILES,
    EngagementAction: ENGAGEMENT_ACTIONS,
    EngagementSnapshot: ENGAGEMENT_SNAPSHOTS,
}

RawRecord = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]  # key, value, headers


class Field:
    """One scenario's database, topics, groups and workers."""

    def __init__(self, environment: Mapping[str, str], logs: Path, nursery: Nursery, producer: Producer) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("REELSORT_")}
        self.environment = inherited | environment
        self.logs = logs
        self.settings = _settings_from(self.environment)
        self.dsn = self.settings.database.dsn.get_secret_value()
        self.names = TopicNames(self.settings.kafka.topics)
        self.workers: list[Worker] = []
        self.published: list[Input] = []
        self._nursery = nursery
        self._producer = producer
        create_topics(self.settings)

    def close(self) -> None:
        """Nothing of it runs or is in a restarting broker's way any more; its logs stay."""
        for worker in self.workers:
            worker.kill()
        admin = self._admin
        for deletion in admin.delete_topics([self.names.actual(standard) for standard in TOPICS]).values():
            with suppress(KafkaException):  # a scenario may have deleted it, or left the broker down
                deletion.result(ADMIN_TIMEOUT_S)

    def set_session_timeout(self, seconds: float) -> None:
        """Of this field's groups alone. With the consumer protocol it is the broker's to say."""
        values = {"consumer.session.timeout.ms": int(seconds * 1000), "consumer.heartbeat.interval.ms": 500}
        entries = [
            ConfigEntry(name, str(value), incremental_operation=AlterConfigOpType.SET) for name, value in values.items()
        ]
        resources = [
            ConfigResource(ResourceType.GROUP, group_id(self.settings, job), incremental_configs=entries)
            for job in ("classify", "rescore")
        ]
        admin = self._admin
        for change in admin.incremental_alter_configs(resources).values():
            change.result(ADMIN_TIMEOUT_S)

    def delete_topic(self, standard: str) -> None:
        admin = self._admin
        for deletion in admin.delete_topics([self.names.actual(standard)]).values():
            deletion.result(ADMIN_TIMEOUT_S)

    @property
    def _admin(self) -> AdminClient:
        """A new one each time: one that has seen a broker go asks with the old leader epoch for minutes."""
        return AdminClient(admin_config(self.settings))

    # --- workers

    def start(
        self, job: str, kill_at: str | None = None, nth: int = 1, bad_decoders: bool = False, **settings: str
    ) -> Worker:
        name = f"{job}-{len(self.workers)}"
        order = Order(
            job,
            self.environment | {f"REELSORT_{key.upper()}": value for key, value in settings.items()},
            log=str(self.logs / f"{name}.log"),
            tally=str(self.logs / f"{name}.json"),
            kill_at=kill_at,
            nth=nth,
            bad_decoders=bad_decoders,
        )
        worker = Worker(self._nursery, order)
        self.workers.append(worker)
        return worker

    def stop(self, timeout: float = 30.0) -> list[str]:
        """SIGTERM to every worker that runs; what went wrong. One that was killed before is no failure, one that gave
        up by itself is."""
        failures = []
        for worker in self.workers:
            ended = worker.returncode
            if ended is None:
                worker.terminate(timeout)
            if worker.returncode not in ((0,) if ended is None else (0, -signal.SIGKILL)):
                failures.append(f"{worker.job} ended with {worker.returncode}: {worker.log}")
        return failures

    def analyses(self) -> int:
        """How many videos the classify workers that ended cleanly have analysed."""
        return sum(worker.tally.get("infer", 0) for worker in self.workers if worker.job == "classify")

    def logged(self, job: str, *words: str) -> int:
        """Lines of all workers of this job that hold one of these words."""
        lines = (line for worker in self.workers if worker.job == job for line in worker.log.read_text().splitlines())
        return sum(any(word in line for word in words) for line in lines)

    # --- what comes in

    def publish(self, count: int, times: int = 1, uri: Callable[[int], str] = "file:///{}.mp4".format) -> list[Input]:
        """`count` new videos, each event sent `times` times (interleaved)."""
        first = len(self.published)
        events = [self.event(number, uri(number)) for number in range(first, first + count)]
        self.send_events(events * times)
        return self.published[first:]

    def event(self, number: int, uri: str) -> VideoPublished:
        """A new video, noted as published."""
        event = VideoPublished(
            video_id=f"v{number:06d}",
            revision=0,
            author_id=f"a{number % 97}",
            media_uri=uri,
            published_at=EPOCH + timedelta(seconds=number),
            title=f"第{number}个视频",
        )
        self.published.append((event.video_id, event.revision))
        return event

    def send_events(self, events: Sequence[Event]) -> None:
        """In this order, each to its own topic."""
        encoded = [
            encode_event(event, ce_id=uuid5(NAMESPACE_OID, event.model_dump_json()), source="faults", time=EPOCH)
            for event in events
        ]
        self._send(
            [
                (_TOPIC_OF[type(event)], (item.key, item.value, item.headers))
                for event, item in zip(events, encoded, strict=True)
            ]
        )

    def send_raw(self, records: Sequence[RawRecord]) -> None:
        self._send([(VIDEO_PUBLISHED, record) for record in records])

    def _send(self, records: Sequence[tuple[str, RawRecord]]) -> None:
        """Returns once Kafka has all of them."""
        refused: list[str] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                refused.append(error.str())

        for topic, (key, value, headers) in records:
            self._producer.produce(self.names.actual(topic), value, key, headers=headers, on_delivery=delivered)
            self._producer.poll(0)
        assert self._producer.flush(60) == 0
        assert not refused, refused[0]

    # --- what comes out

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
        try:
            return self.uncommitted() == 0
        except KafkaException:  # a broker that has just come back may not answer for its partitions yet
            return False

    def await_settled(self, inputs: int, timeout: float) -> float:
        """Seconds until rest; raises TimeoutError with what is missing."""
        return wait_for(
            lambda: self.settled(inputs),
            timeout,
            lambda: f"{self.handled()} of {inputs} handled, {self.uncommitted()} offsets uncommitted: {self.logs}",
        )

    def committed(self, topic: str = VIDEO_PUBLISHED, job: str = "classify") -> dict[int, int]:
        """partition -> the committed offset of the job's group, 0 where there is none."""
        group = group_id(self.settings, job)
        found = committed_offsets(self.settings, group, self._partitions(topic), ADMIN_TIMEOUT_S)
        return {each.partition: max(0, each.offset) for each in found}

    def uncommitted(self, topic: str = VIDEO_PUBLISHED, job: str = "classify") -> int:
        latest = {partition: OffsetSpec.latest() for partition in self._partitions(topic)}
        admin = self._admin
        ends = admin.list_offsets(latest, request_timeout=ADMIN_TIMEOUT_S)
        return sum(end.result().offset for end in ends.values()) - sum(self.committed(topic, job).values())

    def _partitions(self, topic: str) -> list[TopicPartition]:
        actual = self.names.actual(topic)
        return [TopicPartition(actual, number) for number in range(self.settings.kafka.partitions)]

    def length(self, topic: str) -> int:
        """Records of a topic by its actual name. Raises KafkaException where it does not exist."""
        numbers = range(self.settings.kafka.partitions)
        latest = {TopicPartition(topic, number): OffsetSpec.latest() for number in numbers}
        admin = self._admin
        ends = admin.list_offsets(latest, request_timeout=ADMIN_TIMEOUT_S)
        return sum(end.result().offset for end in ends.values())

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
                Source(message.partition(), message.offset(), _input_of(message))
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

    def read_topic(self, standard: str) -> list[Message]:
        return read_to_end(self.settings, self._admin, self.names.actual(standard))


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
        os.environ.clear()
        os.environ.update(environment)
        return load_settings()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _input_of(message: Message) -> Input | None:
    try:
        event = decode_event(VIDEO_PUBLISHED, message.key(), message.value(), message.headers() or ())
    except BadEvent:
        return None
    assert isinstance(event, VideoPublished)
    return event.video_id, event.revision
