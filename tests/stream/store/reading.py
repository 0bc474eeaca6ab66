"""Reads binary fields back, by the book: PostgreSQL manual, "COPY: Binary Format"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from struct import unpack_from

import orjson

from stream.store.messages import OUTBOX_COLUMNS


def fields_of(row: Sequence[bytes]) -> list[bytes | None]:
    """The columns of a row; None is null."""
    content, at = b"".join(row), 0
    fields: list[bytes | None] = []
    while at < len(content):
        (size,) = unpack_from(">i", content, at)
        at += 4
        fields.append(None if size < 0 else content[at : at + size])
        at += max(0, size)
    assert at == len(content)
    return fields


@dataclass(frozen=True)
class Sent:
    shard: int
    topic: str
    key: str
    value: bytes | None
    headers: dict[str, str | None]
    available_at: datetime


def outbox_of(row: Sequence[bytes]) -> Sent:
    assert OUTBOX_COLUMNS == "shard, topic, key, value, headers, available_at"
    shard, topic, key, value, headers, available_at = fields_of(row)
    assert shard is not None
    assert topic is not None
    assert key is not None
    assert headers is not None
    assert available_at is not None
    return Sent(
        int.from_bytes(shard),
        topic.decode(),
        key.decode(),
        value,
        orjson.loads(headers),
        datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=int.from_bytes(available_at, signed=True)),
    )
