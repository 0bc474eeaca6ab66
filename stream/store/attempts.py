"""How an input that kills the whole process is found.

What is about to be analysed is written down first, a row for each batch and partition (a lot), and the row is deleted
when all of it is finished or let go of in good order. So what the next owner of a partition finds there of anybody else
was, as a rule, in hand when a process died. These inputs are suspects: each runs alone, and only deaths while it was
alone count against it. Its neighbours are never blamed, and an innocent suspect loses nothing but time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from stream.consumer.records import Record

DEATHS_ALLOWED = 3

Place = tuple[str, int]  # topic, partition
Lot = UUID  # made by who writes it down: written twice after a lost answer, it is one


class Spot(NamedTuple):
    """Where a record stands for a consumer group: the same at every delivery."""

    group: str
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Released:
    """What is in hand no more, or never died: whole lots, and suspects that were counted as running alone."""

    lots: Sequence[Lot] = ()
    counted: Sequence[Spot] = ()

    def __bool__(self) -> bool:
        return bool(self.lots or self.counted)


_ADOPT = """
WITH left_behind AS (
    DELETE FROM in_hand h USING unnest(%s::text[], %s::int4[], %s::int8[]) AS ours(topic, partition, first)
     WHERE h.consumer_group = %s AND h.topic = ours.topic AND h.partition = ours.partition
       AND h.lot <> ALL(%s::uuid[])
    RETURNING h.consumer_group, h.topic, h.partition, h.offsets, ours.first
)
INSERT INTO attempts (consumer_group, topic, partition, record_offset)
SELECT consumer_group, topic, partition, record_offset
  FROM left_behind, unnest(offsets) AS record_offset WHERE record_offset >= first
ON CONFLICT DO NOTHING
"""
_FORGET = """
DELETE FROM attempts a USING unnest(%s::text[], %s::int4[], %s::int8[]) AS ours(topic, partition, first)
 WHERE a.consumer_group = %s AND a.topic = ours.topic AND a.partition = ours.partition AND a.record_offset < ours.first
"""
_TAKE = """
INSERT INTO in_hand (consumer_group, lot, topic, partition, offsets)
SELECT %s, lot, topic, partition, offsets::int8[]
  FROM unnest(%s::uuid[], %s::text[], %s::int4[], %s::text[]) AS taken(lot, topic, partition, offsets)
ON CONFLICT DO NOTHING
"""
_SUSPECTS = """
SELECT a.topic, a.partition, a.record_offset, a.alone
  FROM attempts a JOIN unnest(%s::text[], %s::int4[]) AS here(topic, partition)
    ON a.topic = here.topic AND a.partition = here.partition
 WHERE a.consumer_group = %s
"""
_COUNT_ALONE = """
UPDATE attempts SET alone = alone + 1
 WHERE (consumer_group, topic, partition, record_offset) = (%s, %s, %s, %s)
"""
_UNCOUNT = """
UPDATE attempts SET alone = greatest(alone - 1, 0)
 WHERE (consumer_group, topic, partition, record_offset) = (%s, %s, %s, %s)
"""
_CLEAR = "DELETE FROM attempts WHERE (consumer_group, topic, partition, record_offset) = (%s, %s, %s, %s)"


def spot_of(group: str, record: Record) -> Spot:
    return Spot(group, record.topic, record.partition, record.offset)


def begin(
    connection: psycopg.Connection[Any],
    group: str,
    records: Sequence[Record],
    lots: Mapping[Place, Lot],
    *,
    new: Collection[Place],
    own: Collection[Lot],
) -> dict[Spot, int]:
    """Write down what is about to be analysed, before anything is fetched. Returns how often each suspect died alone.

    lots: one for each partition of `records`. new: partitions that are read for the first time since they were
    assigned. own: all lots of this process. May be repeated when the answer was lost.
    """
    offsets: dict[Place, list[int]] = defaultdict(list)
    for record in records:
        offsets[record.topic, record.partition].append(record.offset)
    places = list(offsets)
    topics, partitions = [topic for topic, _ in places], [partition for _, partition in places]
    lists = ["{" + ",".join(map(str, offsets[place])) + "}" for place in places]
    with connection.transaction():
        if adopted := [place for place in places if place in new]:
            # all before the first that needs an analysis is finished, whoever had it in hand
            columns = [[t for t, _ in adopted], [p for _, p in adopted], [min(offsets[place]) for place in adopted]]
            connection.execute(_ADOPT, [*columns, group, list(own)])
            connection.execute(_FORGET, [*columns, group])
        connection.execute(_TAKE, [group, [lots[place] for place in places], topics, partitions, lists])
        found = connection.execute(_SUSPECTS, [topics, partitions, group]).fetchall()
    return {Spot(group, topic, partition, offset): alone for topic, partition, offset, alone in found}


def count_alone(connection: psycopg.Connection[Any], spot: Spot) -> None:
    """Count one attempt alone, right before it."""
    connection.execute(_COUNT_ALONE, spot)


def clear(cursor: psycopg.Cursor[Any], spots: Collection[Spot]) -> None:
    """These killed nothing; in the transaction that stores what became of them."""
    cursor.executemany(_CLEAR, spots)


def release(connection: psycopg.Connection[Any], released: Released) -> None:
    """Finished, or let go of in good order (a drain, a revocation): an attempt alone that was cut short is no death."""
    if released.lots:
        connection.execute("DELETE FROM in_hand WHERE lot = ANY(%s)", [list(released.lots)])
    for spot in released.counted:
        connection.execute(_UNCOUNT, spot)
