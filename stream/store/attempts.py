"""How an input that kills the whole process is found.

What is about to be analysed is written down first, a row for each batch and partition (a lot), and the row is deleted
when all of it is finished or let go of in good order. So what the next owner of a partition finds there of anybody else
was in hand when a process died. These inputs are suspects: each runs alone, and only deaths while it was alone count
against it. Its neighbours are never blamed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg

from stream.consumer.records import Record

DEATHS_ALLOWED = 3

Place = tuple[str, int]  # topic, partition
Lot = int


class Spot(NamedTuple):
    """Where a record stands: the same at every delivery."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Begun:
    """What begin() wrote down and found. suspects: how often each died alone, of those that were in hand at a death."""

    lots: Mapping[Place, Lot]
    suspects: Mapping[Spot, int]


_ADOPT = """
WITH left_behind AS (
    DELETE FROM in_hand h USING unnest(%s::text[], %s::int4[], %s::int8[]) AS ours(topic, partition, first)
     WHERE h.topic = ours.topic AND h.partition = ours.partition AND h.lot <> ALL(%s::int8[])
    RETURNING h.topic, h.partition, h.offsets, ours.first
)
INSERT INTO attempts (topic, partition, record_offset)
SELECT topic, partition, record_offset FROM left_behind, unnest(offsets) AS record_offset WHERE record_offset >= first
ON CONFLICT DO NOTHING
"""
_FORGET = """
DELETE FROM attempts a USING unnest(%s::text[], %s::int4[], %s::int8[]) AS ours(topic, partition, first)
 WHERE a.topic = ours.topic AND a.partition = ours.partition AND a.record_offset < ours.first
"""
_TAKE = """
INSERT INTO in_hand (topic, partition, offsets)
SELECT topic, partition, offsets::int8[] FROM unnest(%s::text[], %s::int4[], %s::text[]) AS t(topic, partition, offsets)
RETURNING topic, partition, lot
"""
_SUSPECTS = """
SELECT a.topic, a.partition, a.record_offset, a.alone
  FROM attempts a JOIN unnest(%s::text[], %s::int4[]) AS here(topic, partition)
    ON a.topic = here.topic AND a.partition = here.partition
"""
_COUNT_ALONE = "UPDATE attempts SET alone = alone + 1 WHERE topic = %s AND partition = %s AND record_offset = %s"
_CLEAR = "DELETE FROM attempts WHERE topic = %s AND partition = %s AND record_offset = %s"


def spot_of(record: Record) -> Spot:
    return Spot(record.topic, record.partition, record.offset)


def begin(
    connection: psycopg.Connection[Any], records: Iterable[Record], new: Collection[Place], own: Collection[Lot]
) -> Begun:
    """Write down what is about to be analysed, before anything is fetched.

    new: the partitions that are read for the first time since they were assigned; own: the lots of this process.
    """
    offsets: dict[Place, list[int]] = defaultdict(list)
    for record in records:
        offsets[record.topic, record.partition].append(record.offset)
    topics, partitions = [topic for topic, _ in offsets], [partition for _, partition in offsets]
    lists = ["{" + ",".join(map(str, each)) + "}" for each in offsets.values()]
    with connection.transaction():
        if adopted := [place for place in new if place in offsets]:
            # all before the first that needs an analysis is finished, whoever had it in hand
            columns = [[t for t, _ in adopted], [p for _, p in adopted], [min(offsets[place]) for place in adopted]]
            connection.execute(_ADOPT, [*columns, list(own)])
            connection.execute(_FORGET, columns)
        taken = connection.execute(_TAKE, [topics, partitions, lists]).fetchall()
        found = connection.execute(_SUSPECTS, [topics, partitions]).fetchall()
    return Begun(
        lots={(topic, partition): lot for topic, partition, lot in taken},
        suspects={Spot(topic, partition, offset): alone for topic, partition, offset, alone in found},
    )


def count_alone(connection: psycopg.Connection[Any], spot: Spot) -> None:
    """Count one attempt alone, right before it."""
    connection.execute(_COUNT_ALONE, spot)


def clear(cursor: psycopg.Cursor[Any], spots: Collection[Spot]) -> None:
    """These killed nothing; in the transaction that stores what became of them."""
    cursor.executemany(_CLEAR, spots)


def end(connection: psycopg.Connection[Any], lots: Collection[Lot]) -> None:
    """Nothing of these lots is in hand any more: finished, or let go of in good order (a drain, a revocation)."""
    if lots:
        connection.execute("DELETE FROM in_hand WHERE lot = ANY(%s)", [list(lots)])
