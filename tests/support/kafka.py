"""Producing to and reading from the session's Kafka, with librdkafka alone: none of the code under test."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from tests.support.waiting import wait_until

__all__ = [
    "await_leaders",
    "committed",
    "create",
    "delete",
    "delete_records",
    "end_offsets",
    "produce",
    "read_all",
    "wait_until",
]

_NOT_YET_LED = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)
Headers = Sequence[tuple[str, bytes]]
Record = tuple[bytes | None, bytes | None] | tuple[bytes | None, bytes | None, Headers]


def create(
    bootstrap: str, names: Iterable[str], *, partitions: int = 3, config: Mapping[str, str] | None = None
) -> None:
    """Create topics and return when the broker has them."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    new = [NewTopic(name, partitions, 1, config=dict(config or {})) for name in names]
    for outcome in admin.create_topics(new, operation_timeout=30).values():
        outcome.result()
    await_leaders(bootstrap, [topic.topic for topic in new])


def delete(bootstrap: str, names: Iterable[str]) -> None:
    """Delete topics; those that are gone already are no error."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for outcome in admin.delete_topics(list(names), operation_timeout=30).values():
        try:
            outcome.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise


def delete_records(bootstrap: str, topic: str) -> None:
    """All the topic holds now, as if it had expired."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    ends = [TopicPartition(topic, partition, offset) for partition, offset in end_offsets(bootstrap, topic).items()]
    for outcome in admin.delete_records(ends).values():
        outcome.result()


def produce(
    bootstrap: str, topic: str, records: Iterable[Record], *, partition: int | None = None, compression: str = "none"
) -> None:
    """Send (key, value[, headers]) records and return when all are acknowledged."""
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "linger.ms": 2,
            "compression.type": compression,
        }
    )
    for key, value, *headers in records:
        place = {} if partition is None else {"partition": partition}
        producer.produce(
            topic, value, key, headers=list(headers[0]) if headers else None, on_delivery=delivered, **place
        )
        producer.poll(0)
    assert producer.flush(30) == 0, "not every record was acknowledged within 30 s"
    assert not failed, failed[0].str()


def read_all(bootstrap: str, topic: str, timeout_s: float = 30.0, *, read_committed: bool = True) -> list[Message]:
    """Every record the topic holds now, partition by partition, in offset order. Joins no group.

    With `read_committed`, records of open or aborted transactions are left out.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "read-all",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed" if read_committed else "read_uncommitted",
        }
    )
    try:
        partitions = _partitions(consumer, topic)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        records: list[Message] = []
        open_partitions = set(partitions)
        deadline = time.monotonic() + timeout_s
        while open_partitions:
            assert time.monotonic() < deadline, f"{topic}: partitions {open_partitions} did not end in {timeout_s} s"
            for message in consumer.consume(1000, 0.2):
                if message.error() is None:
                    records.append(message)
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    open_partitions.discard(message.partition())
                else:
                    raise KafkaException(message.error())
        return sorted(records, key=lambda message: (message.partition(), message.offset()))
    finally:
        consumer.close()


def committed(bootstrap: str, group: str, topic: str) -> dict[int, int]:
    """The group's committed offset of each partition that has one."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    try:
        asked = [TopicPartition(topic, partition) for partition in _partitions(consumer, topic)]
        return {found.partition: found.offset for found in consumer.committed(asked, 30) if found.offset >= 0}
    finally:
        consumer.close()


def end_offsets(bootstrap: str, topic: str) -> dict[int, int]:
    """The high watermark of each partition."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    return {place.partition: offset for place, offset in _end_offsets(admin, [topic]).items()}


def await_leaders(bootstrap: str, names: Iterable[str]) -> None:
    """Return when every partition answers: a topic is created a moment before its broker knows and leads it."""
    admin, topics = AdminClient({"bootstrap.servers": bootstrap}), list(names)

    def answered() -> bool:
        try:
            return topics == list(dict.fromkeys(place.topic for place in _end_offsets(admin, topics)))
        except KafkaException as error:
            if error.args[0].code() not in _NOT_YET_LED:
                raise
            return False

    wait_until(answered, what=f"leaders of {topics}")


def _end_offsets(admin: AdminClient, topics: Sequence[str]) -> dict[TopicPartition, int]:
    """Of the topics that the broker knows by now."""
    known = admin.list_topics(timeout=30).topics
    asked = {
        TopicPartition(topic, partition): OffsetSpec.latest()
        for topic in topics
        if topic in known
        for partition in known[topic].partitions
    }
    return {place: answer.result().offset for place, answer in admin.list_offsets(asked, request_timeout=30).items()}


def _partitions(consumer: Consumer, topic: str) -> list[int]:
    found = consumer.list_topics(topic, timeout=30).topics[topic]
    if found.error is not None:
        raise KafkaException(found.error)
    return sorted(found.partitions)
