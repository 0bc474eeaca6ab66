"""How far behind a member is: in records, and in the age of the oldest one in hand."""

from __future__ import annotations

import time

from stream.consumer.records import Record, TopicPartition
from stream.telemetry import metrics


class Lag:
    """Sets the lag gauges of the partitions held, and removes them when a partition goes."""

    def __init__(self) -> None:
        self._starts: dict[TopicPartition, int] = {}

    def start(self, partition: TopicPartition, offset: int) -> None:
        """offset: where reading starts; negative means the beginning."""
        self._starts[partition] = max(0, offset)

    def end(self, partition: TopicPartition) -> None:
        if self._starts.pop(partition, None) is not None:
            for gauge in (metrics.LAG_MESSAGES, metrics.LAG_SECONDS):
                gauge.remove(partition.topic, str(partition.partition))

    def report(self, partition: TopicPartition, end: int, oldest: Record | None, committable: int | None) -> None:
        """end: the high watermark of the last fetch (a paused partition's may be old); negative: none so far."""
        if end < 0:
            return
        durable = committable if committable is not None else self._starts[partition]
        age = max(0.0, time.time() - oldest.timestamp_ms / 1000) if oldest is not None else 0.0
        labels = partition.topic, str(partition.partition)
        metrics.LAG_MESSAGES.labels(*labels).set(max(0, end - durable))
        metrics.LAG_SECONDS.labels(*labels).set(age)
