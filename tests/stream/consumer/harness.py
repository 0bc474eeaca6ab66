"""A job whose completions the test decides, and a member of a group running in a thread."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient

from stream.consumer.policy import CommitPolicy, StartPolicy
from stream.consumer.records import Progress, Record, TopicPartition
from stream.consumer.runtime import ConsumerRuntime
from stream.kafka import admin_config, consumer_config, producer_config
from stream.settings import KafkaSettings, Settings
from stream.telemetry.health import Health
from tests.support.kafka import create
from tests.support.waiting import wait_until

Protocol = Literal["consumer", "classic"]
QUICK = CommitPolicy(every_s=0.1, every_records=1000)
PATIENCE_S = 40.0


def eventually(holds: Callable[[], object], what: str) -> None:
    """Wait until `holds()` is true; fail with `what` where it never is."""
    wait_until(holds, PATIENCE_S, what=what)


class Hand:
    """A job that keeps what it is given until the test, or `finish`, says that it is done."""

    def __init__(self, finish: Callable[[Record], bool] = lambda record: True) -> None:
        self.finish = finish  # whether a record is done as soon as it arrives
        self.seen: list[Record] = []
        self.held: dict[tuple[str, int, int, int], Record] = {}
        self.most_held = 0
        self.drained: list[TopicPartition] = []
        self.abandoned: list[TopicPartition] = []
        self.finish_on_drain = True
        self.progress: Progress

    def start(self, progress: Progress) -> None:
        self.progress = progress

    def submit(self, records: Sequence[Record]) -> None:
        for record in records:
            self.seen.append(record)
            self.held[record.topic, record.partition, record.offset, record.epoch] = record
        self.most_held = max(self.most_held, len(self.held))
        self.complete([record for record in records if self.finish(record)])

    def complete(self, records: Sequence[Record]) -> None:
        for record in records:
            del self.held[record.topic, record.partition, record.offset, record.epoch]
        self.progress.done(records)

    def complete_all(self) -> None:
        self.complete(list(self.held.values()))

    def drain(self, partitions: Collection[TopicPartition], deadline: float) -> None:
        self.drained += partitions
        if self.finish_on_drain:
            wanted = {(p.topic, p.partition) for p in partitions}
            self.complete([r for r in self.held.values() if (r.topic, r.partition) in wanted])

    def abandon(self, partitions: Collection[TopicPartition]) -> None:
        self.abandoned += partitions
        gone = {(p.topic, p.partition) for p in partitions}
        self.held = {key: r for key, r in self.held.items() if (r.topic, r.partition) not in gone}

    def stop(self, deadline: float) -> None:
        if self.finish_on_drain:
            self.complete_all()

    def values(self) -> set[bytes]:
        return {record.value for record in self.seen if record.value is not None}


class Member:
    """One member of the group, in a thread of its own."""

    def __init__(self, group: Group, job: Hand, **choices: Any) -> None:
        self.job = job
        self.health = Health(stall_s=60)
        self.error: BaseException | None = None
        choices = {"max_in_flight": 10_000, "drain_s": 5.0, "commit": QUICK, "start": StartPolicy()} | choices
        self._stop = threading.Event()
        runtime = ConsumerRuntime(group.settings, group.name, [group.topic], job, health=self.health, **choices)
        self._thread = threading.Thread(target=self._run, args=(runtime,), daemon=True)
        self._thread.start()

    def _run(self, runtime: ConsumerRuntime) -> None:
        try:
            runtime.run(self._stop)
        except BaseException as error:
            self.error = error

    def joined(self) -> bool:
        return not self.health.not_ready()

    def stop(self) -> None:
        self._stop.set()
        self.join()
        if self.error is not None:
            raise self.error

    def join(self) -> None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the member did not end"


class Group:
    """A fresh topic and a fresh consumer group on the test broker."""

    def __init__(
        self, bootstrap: str, protocol: Protocol, partitions: int = 2, topic: str | None = None, **kafka: Any
    ) -> None:
        """topic: one that exists; default: a new one."""
        self.partitions = partitions
        self.topic = topic or f"t-{uuid.uuid4().hex[:12]}"
        self.name = f"g-{self.topic}"
        self.settings = Settings(
            kafka=KafkaSettings(bootstrap=bootstrap, group_protocol=protocol, session_timeout_ms=3000, **kafka)
        )
        self.admin = AdminClient(admin_config(self.settings))
        if topic is None:
            create(bootstrap, [self.topic], partitions=partitions)
        self._producer = Producer(producer_config(self.settings, "test"))

    def address(self) -> list[str]:
        """What another process needs to join."""
        kafka = self.settings.kafka
        return [kafka.bootstrap, kafka.group_protocol, self.topic]

    def configure(self, **kafka: Any) -> None:
        """Change Kafka settings for the members that start from now on."""
        self.settings = self.settings.model_copy(update={"kafka": self.settings.kafka.model_copy(update=kafka)})

    def publish(self, count: int, prefix: str = "v") -> set[bytes]:
        """`count` distinct records over all partitions."""
        values = {f"{prefix}-{n}".encode() for n in range(count)}
        for n, value in enumerate(sorted(values)):
            self._producer.produce(self.topic, value=value, partition=n % self.partitions)
        assert self._producer.flush(PATIENCE_S) == 0
        return values

    def committed(self) -> list[int]:
        """The committed offset of each partition; -1001 where there is none."""
        reader = Consumer(consumer_config(self.settings, self.name))
        try:
            wanted = [KafkaPartition(self.topic, n) for n in range(self.partitions)]
            return [p.offset for p in reader.committed(wanted, timeout=PATIENCE_S)]
        finally:
            reader.close()

    def all_committed(self, count: int) -> bool:
        return sum(self.committed()) == count

    @contextmanager
    def member(self, job: Hand | None = None, **choices: Any) -> Iterator[Member]:
        """A member that leaves cleanly with the block."""
        member = Member(self, job or Hand(), **choices)
        try:
            yield member
        finally:
            member.stop()
