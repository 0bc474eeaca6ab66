"""A topic from its beginning to its present end, as a read_committed reader sees it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from stream.kafka import consumer_config
from stream.settings import Settings

READ_WITHIN_S = 60.0


def read_to_end(settings: Settings, admin: AdminClient, topic: str) -> list[Message]:
    """Every record that is there now and committed. Raises TimeoutError where a transaction is left open."""
    places = [TopicPartition(topic, number, 0) for number in range(settings.kafka.partitions)]
    found: list[Message] = []
    # an end is the high watermark, over open transactions too; a partition is at its end when the reader says so there
    missing = {place: end for place, end in _ends(admin, places).items() if end > 0}
    deadline = time.monotonic() + READ_WITHIN_S
    config = consumer_config(settings, f"{settings.kafka.group_prefix}-readback") | {
        "group.protocol": "classic",
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
        "fetch.wait.max.ms": 50,
        "max.poll.interval.ms": 300_000,
    }
    with closing(Consumer(config)) as consumer:
        consumer.assign(places)
        while missing:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{topic} could not be read to its end: a transaction may be open")
            for message in consumer.consume(1000, 0.05):
                error = message.error()
                if error is None:
                    found.append(message)
                elif error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                elif (message.offset() or 0) >= missing.get(message.partition() or 0, 0):
                    missing.pop(message.partition() or 0, None)
    return found


def _ends(admin: AdminClient, places: Sequence[TopicPartition]) -> dict[int, int]:
    asked = admin.list_offsets({place: OffsetSpec.latest() for place in places}, request_timeout=30)
    return {place.partition: end.result().offset for place, end in asked.items()}
