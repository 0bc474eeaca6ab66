"""Offsets that Faust passed over: holes of the log, or records that it lost.

A log has holes where transactions ended. But Faust's queues are cleared and filled again around every rebalance, and it
commits past a single missing offset (faust-streaming#606); so what it passes over is looked up with another client.
"""

from __future__ import annotations

import time
from contextlib import closing

from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.errors import ExitCode, UserError
from stream.kafka import connect, consumer_config
from stream.settings import Settings
from stream.signals.client import app_id

LOOK_WITHIN_S = 30.0


class Holes:
    """Looks each partition's first hole up: where there is one, there are many."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._config = consumer_config(settings, app_id(settings)) | {"isolation.level": "read_uncommitted"}
        self._topic = topic
        self._known: set[int] = set()

    def check(self, partition: int, expected: int, found: int) -> None:
        """Raises UserError where a record lies at expected..found-1: nothing after it may be acknowledged. Blocks."""
        if partition in self._known:
            return
        with closing(connect(Consumer, self._config)) as client:
            client.assign([TopicPartition(self._topic, partition, expected)])
            deadline = time.monotonic() + LOOK_WITHIN_S
            while (message := client.poll(1.0)) is None:
                if time.monotonic() > deadline:
                    raise UserError(f"{self._topic}[{partition}] could not be read", "", ExitCode.UNREACHABLE)
        if (error := message.error()) is not None:
            raise KafkaException(error)
        if (offset := message.offset()) is not None and offset < found:
            raise UserError(
                f"Faust passed over the actions {expected} to {found - 1} of {self._topic}[{partition}]",
                "nothing is lost: start the job again, it goes on before them",
                ExitCode.INTERNAL,
            )
        self._known.add(partition)
