"""Attempts: how an input that kills the whole process is found.

An input is counted before it is decoded and cleared in the transaction that stores its outcome, so whatever is still
counted at a start was in hand when a process died. The second time it runs alone, and only deaths while alone count
against it: its neighbours then are never blamed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from stream.store import encoding as pg
from stream.store.prior import Key

DEATHS_ALLOWED = 3


@dataclass(frozen=True, slots=True)
class Suspect:
    """An input that was in hand when a process died. deaths_alone: how often while nothing else was."""

    key: Key
    deaths_alone: int


_COUNT = """
WITH counted AS (
    INSERT INTO attempts AS a (video_id, revision, attempts)
    SELECT video_id, revision, 1 FROM unnest(%b::text[], %b::int4[]) AS i(video_id, revision)
     ORDER BY video_id COLLATE "C", revision
    ON CONFLICT (video_id, revision) DO UPDATE SET attempts = a.attempts + 1, updated_at = now()
    RETURNING video_id, revision, attempts, alone
)
SELECT video_id, revision, alone FROM counted WHERE attempts > 1
"""
_COUNT_ALONE = "UPDATE attempts SET alone = alone + 1, updated_at = now() WHERE video_id = %s AND revision = %s"
_UNCOUNT = """
WITH undone AS (
    UPDATE attempts a SET attempts = a.attempts - 1
      FROM unnest(%b::text[], %b::int4[]) AS i(video_id, revision)
     WHERE a.video_id = i.video_id AND a.revision = i.revision AND a.attempts > 1
)
DELETE FROM attempts a USING unnest(%b::text[], %b::int4[]) AS i(video_id, revision)
 WHERE a.video_id = i.video_id AND a.revision = i.revision AND a.attempts <= 1
"""


def count(connection: psycopg.Connection[Any], keys: Sequence[Key]) -> list[Suspect]:
    """Count one attempt of each, before anything is fetched. Returns those that were in hand at a death."""
    if not keys:
        return []
    found = connection.execute(_COUNT, _columns(keys)).fetchall()
    return [Suspect((video_id, revision), alone) for video_id, revision, alone in found]


def count_alone(connection: psycopg.Connection[Any], key: Key) -> None:
    """Count one attempt alone, right before it."""
    connection.execute(_COUNT_ALONE, key)


def uncount(connection: psycopg.Connection[Any], keys: Sequence[Key]) -> None:
    """Take back one attempt of each: they were let go of in good order (a drain, a revocation)."""
    if keys:
        columns = _columns(keys)
        connection.execute(_UNCOUNT, columns + columns)


def _columns(keys: Sequence[Key]) -> list[pg.Column]:
    return [
        pg.text_column([pg.text(video_id) for video_id, _ in keys]),
        pg.int4_column([pg.int4(revision) for _, revision in keys]),
    ]
