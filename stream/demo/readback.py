"""Reads what is stored and what was announced: the demo's evidence, taken from table and topic."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import psycopg
from confluent_kafka import Consumer, Message, TopicPartition

from schemas.errors import ExitCode, UserError
from stream.demo.report import Announced, Stored
from stream.kafka import consumer_config
from stream.settings import Settings

_STORED = """
SELECT v.video_id,
       (SELECT count(*) FROM predictions p WHERE p.video_id = v.video_id),
       (SELECT count(*) FROM decisions d WHERE d.video_id = v.video_id AND d.trigger = 'publish'),
       (SELECT count(*) FROM current_labels c WHERE c.video_id = v.video_id AND c.status <> 'failed'),
       (SELECT c.label_revision FROM current_labels c WHERE c.video_id = v.video_id),
       d.route, coalesce(d.audit, false), d.level1, d.level2,
       (SELECT count(*) FROM dead_letters l WHERE l.video_id = v.video_id)
FROM unnest(%s::text[]) AS v(video_id)
LEFT JOIN LATERAL (
    SELECT route, audit, level1, level2 FROM decisions d
    WHERE d.video_id = v.video_id AND d.trigger = 'publish' ORDER BY d.label_revision DESC NULLS LAST LIMIT 1
) d ON true
"""


class TopicReader:
    """Reads all partitions of one topic from the beginning, committed records alone, in no group."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._consumer = Consumer(
            consumer_config(settings, group="demo-readback")
            | {"group.protocol": "classic", "auto.offset.reset": "earliest", "enable.partition.eof": False}
        )
        self._topic = topic
        partitions = self._consumer.list_topics(topic, timeout=10).topics[topic].partitions
        self._partitions = [TopicPartition(topic, partition, 0) for partition in partitions]
        self._consumer.assign(self._partitions)

    def poll(self, timeout: float) -> list[Message]:
        messages = self._consumer.consume(500, timeout)
        return [message for message in messages if message.error() is None]

    def at_end(self) -> bool:
        """Whether everything committed so far was read."""
        positions = self._consumer.position(self._partitions)
        for position in positions:
            _, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, position.partition), timeout=10)
            if high > 0 and position.offset < high:
                return False
        return True

    def read_to_end(self, timeout: float) -> Iterator[Message]:
        deadline = time.monotonic() + timeout
        while not self.at_end():
            if time.monotonic() > deadline:
                raise UserError(
                    f"the topic {self._topic} could not be read to its end in {timeout:.0f} s",
                    "look at the broker's log; a transaction may be left open",
                    ExitCode.UNREACHABLE,
                )
            yield from self.poll(0.2)

    def close(self) -> None:
        self._consumer.close()


def key_of(message: Message) -> str:
    key = message.key()
    assert isinstance(key, bytes)
    return key.decode()


def announced(message: Message) -> Announced:
    """The identity of a record; a tombstone has no label_revision."""
    identity = dict(message.headers() or ()).get("ce_id") or b""
    value = message.value()
    body: dict[str, Any] = orjson.loads(value) if value else {}
    return Announced(
        video_id=key_of(message),
        ce_id=identity.decode() if isinstance(identity, bytes) else identity,
        timestamp_ms=message.timestamp()[1],
        label_revision=body.get("label_revision"),
    )


def stored(connection: psycopg.Connection[Any], video_ids: Sequence[str]) -> list[Stored]:
    return [Stored(*row) for row in connection.execute(_STORED, [list(video_ids)]).fetchall()]


def dead_letters(connection: psycopg.Connection[Any]) -> list[tuple[str | None, str, str]]:
    """(video_id, code, detail) of each."""
    return connection.execute("SELECT video_id, code, detail FROM dead_letters ORDER BY id").fetchall()


def outbox_is_empty(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute("SELECT NOT EXISTS (SELECT FROM outbox)").fetchone()
    assert row is not None
    return bool(row[0])
