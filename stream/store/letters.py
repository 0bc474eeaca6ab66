"""Dead letters in the batch's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from schemas.events import AuthorProfile, VideoPublished
from stream.store import messages
from stream.store.messages import OutboxRow
from stream.store.work import Dead

# One input is one letter, wherever it is read again; a redriven letter that dies again is reopened.
_INSERT = """
INSERT INTO dead_letters AS l (video_id, revision, code, detail, attempts, source_topic, source_partition,
                               source_offset, key, value, headers, died_at)
VALUES (%(video_id)s, %(revision)s, %(code)s, %(detail)s, %(attempts)s, %(topic)s, %(partition)s,
        %(offset)s, %(key)s, %(value)s, %(headers)s, %(now)s)
ON CONFLICT (source_topic, source_partition, source_offset) DO UPDATE
   SET code = excluded.code, detail = excluded.detail, attempts = excluded.attempts, died_at = excluded.died_at,
       redriven_at = NULL
 WHERE l.redriven_at IS NOT NULL
RETURNING l.id
"""


def published(dead: Dead) -> VideoPublished | None:
    """The video of a letter whose own row is written: what was published is known even where it was not analysed."""
    event = dead.input.event
    return event if dead.remembers and isinstance(event, VideoPublished) else None


def write(cursor: psycopg.Cursor[Any], dead: Sequence[Dead], now: datetime, outbox: list[OutboxRow]) -> list[Dead]:
    """Insert the letters that are new, and announce them. Returns those."""
    added = []
    for each in dead:
        source, event = each.input, each.input.event
        cursor.execute(
            _INSERT,
            {
                "video_id": None if event is None or isinstance(event, AuthorProfile) else event.video_id,
                "revision": event.revision if isinstance(event, VideoPublished) else None,
                "code": messages.plain_text(each.code),
                "detail": messages.plain_text(each.detail)[: messages.MAX_DETAIL],
                "attempts": each.attempts,
                "topic": source.origin.topic,
                "partition": source.origin.partition,
                "offset": source.origin.offset,
                "key": source.record.key,
                "value": source.record.value,
                "headers": Jsonb(messages.text_headers(source)),
                "now": now,
            },
        )
        if cursor.fetchone() is not None:
            outbox.append(messages.dead_letter(each, now))
            added.append(each)
    return added
