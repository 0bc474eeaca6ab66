"""Dead letters after the fact: list them, look at one, send them round again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from schemas.errors import UserError
from schemas.topics import TopicNames
from stream.store import encoding as pg
from stream.store import messages

_Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter, without what it holds."""

    id: int
    video_id: str | None
    revision: int | None
    code: str
    detail: str
    attempts: int
    source: str  # topic[partition]@offset
    died_at: datetime
    redriven_at: datetime | None


@dataclass(frozen=True, slots=True)
class Opened:
    """A letter with the record as it came. purged: the video was removed since, and with it what the letter held."""

    letter: Letter
    key: bytes | None
    value: bytes | None
    headers: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Which:
    """Which letters are meant: all that are open, or those with a code, or those named."""

    code: str | None = None
    ids: Sequence[int] = ()
    redriven_too: bool = False

    def condition(self) -> tuple[str, list[Any]]:
        parts = ["true"]
        parameters: list[Any] = []
        if not self.redriven_too:
            parts.append("redriven_at IS NULL")
        if self.code is not None:
            parts.append("code = %s")
            parameters.append(self.code)
        if self.ids:
            parts.append("id = ANY(%s)")
            parameters.append(list(self.ids))
        return " AND ".join(parts), parameters


_COLUMNS = (
    "id, video_id, revision, code, detail, attempts,"
    " format('%%s[%%s]@%%s', source_topic, source_partition, source_offset), died_at, redriven_at"
)

_SENDABLE = "value IS NOT NULL"  # a removal of the video purges what its letters held


def find(connection: _Connection, which: Which, limit: int) -> list[Letter]:
    """Newest first."""
    condition, parameters = which.condition()
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM dead_letters WHERE {condition} ORDER BY id DESC LIMIT %s",  # noqa: S608 - own constants
        [*parameters, limit],
    )
    return [Letter(*row) for row in rows]


def counts(connection: _Connection, which: Which) -> dict[str, int]:
    """code -> how many, the most frequent first."""
    condition, parameters = which.condition()
    rows = connection.execute(
        f"SELECT code, count(*) FROM dead_letters WHERE {condition} GROUP BY code ORDER BY 2 DESC, 1",  # noqa: S608
        parameters,
    )
    return dict(rows.fetchall())


def open_letter(connection: _Connection, letter_id: int) -> Opened:
    """Raises UserError where there is no such letter."""
    row = connection.execute(
        f"SELECT {_COLUMNS}, key, value, headers FROM dead_letters WHERE id = %s",  # noqa: S608 - own constants
        [letter_id],
    ).fetchone()
    if row is None:
        raise UserError(f"there is no dead letter {letter_id}", "`reelsort dlq ls` lists them")
    *letter, key, value, headers = row
    return Opened(Letter(*letter), key, value, headers)


def redrivable(connection: _Connection, which: Which, names: TopicNames) -> dict[str, int]:
    """Standard topic -> how many letters redrive() would send to it."""
    condition, parameters = which.condition()
    rows = connection.execute(
        f"SELECT source_topic, count(*) FROM dead_letters WHERE {condition} AND {_SENDABLE} GROUP BY 1",  # noqa: S608
        parameters,
    )
    topics = Counter[str]()
    for topic, count in rows:
        topics[messages.redriven_to(names.standard_or_none(topic))] += count
    return dict(topics)


@dataclass(frozen=True, slots=True)
class Redriven:
    """Letters on their way: their ids, and how many go to which topic (standard name)."""

    ids: list[int]
    topics: dict[str, int]


def redrive(connection: _Connection, which: Which, names: TopicNames) -> Redriven:
    """Send the letters meant round again through the outbox, with a clean count: videos to the retry topic,
    observations to their own.

    One transaction: a letter is marked redriven if and only if its record is on the way; one that is being redriven by
    somebody else right now is left to them. Letters whose video was removed hold nothing any more and stay.
    """
    condition, parameters = which.condition()
    now = datetime.now(UTC)
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE dead_letters SET redriven_at = %s
             WHERE id IN (SELECT id FROM dead_letters WHERE {condition} AND {_SENDABLE} ORDER BY id
                             FOR UPDATE SKIP LOCKED)
            RETURNING id, video_id, source_topic, source_partition, source_offset, key, value, headers
            """,  # noqa: S608 - own constants
            [now, *parameters],
        )
        letters = cursor.fetchall()
        outbox, topics = [], Counter[str]()
        for _, video_id, topic, partition, offset, key, value, headers in letters:
            stated = {
                messages.ORIGIN_TOPIC: topic,
                messages.ORIGIN_PARTITION: str(partition),
                messages.ORIGIN_OFFSET: str(offset),
            }
            name = video_id if video_id is not None else messages.key_of_bytes(key)
            source = names.standard_or_none(topic)
            outbox.append(messages.redriven(source, name, value, headers | stated, now))
            topics[messages.redriven_to(source)] += 1
        if outbox:
            with cursor.copy(f"COPY outbox ({messages.OUTBOX_COLUMNS}) FROM STDIN (FORMAT BINARY)") as copy:
                copy.write(pg.copy_block([pg.rows(messages.OUTBOX_COLUMNS, outbox)]))
    return Redriven([letter_id for letter_id, *_ in letters], dict(topics))
