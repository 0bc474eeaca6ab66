"""Consumers of the rescore benchmark, each in a process of its own, and where the job's time goes."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
from psycopg import Connection

from schemas.topics import TopicNames
from stream.bench.stream_members import GROUP, Counted, Tally, batches
from stream.consumer.runtime import ConsumerRuntime
from stream.kafka import group_id
from stream.rescore import job as rescore_job
from stream.settings import DatabaseSettings, Settings
from stream.store import encoding as pg
from stream.store import rescore
from stream.store.session import connect
from stream.store.work import LiveModel
from stream.telemetry.health import Health

_EACH = """
INSERT INTO bench_floor AS e (video_id, revision, seq, plays, snapshot, received_at)
VALUES (%s, %s, %s, %s, %s, now())
ON CONFLICT (video_id, revision) DO UPDATE
   SET seq = excluded.seq, plays = excluded.plays, snapshot = excluded.snapshot, received_at = excluded.received_at
 WHERE (excluded.plays, excluded.seq) > (e.plays, e.seq)
"""
_BULK = """
INSERT INTO bench_floor AS e (video_id, revision, seq, plays, snapshot, received_at)
SELECT video_id, revision, seq, plays, snapshot, now()
  FROM unnest(%b::text[], %b::int4[], %b::int8[], %b::int8[], %b::json[]) AS k(video_id, revision, seq, plays, snapshot)
ON CONFLICT (video_id, revision) DO UPDATE
   SET seq = excluded.seq, plays = excluded.plays, snapshot = excluded.snapshot, received_at = excluded.received_at
 WHERE (excluded.plays, excluded.seq) > (e.plays, e.seq)
"""

Row = tuple[str, int, int, int, bytes]  # video_id, revision, seq, plays, the snapshot itself


def upsert_each(connection: Connection[Any], rows: Sequence[Row]) -> None:
    """As the driver offers it: one statement, many parameters, pipelined."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(_EACH, [(*row, value.decode()) for *row, value in rows])


def upsert_in_bulk(connection: Connection[Any], rows: Sequence[Row]) -> None:
    """As the job does it: one statement over arrays in binary."""
    video_ids, revisions, seqs, plays, values = zip(*rows, strict=True)
    columns = [
        pg.text_column([*map(pg.text, video_ids)]),
        pg.int4_column([*map(pg.int4, revisions)]),
        pg.int8_column([*map(pg.int8, seqs)]),
        pg.int8_column([*map(pg.int8, plays)]),
        pg.json_column([*map(pg.data, values)]),
    ]
    with connection.transaction():
        connection.execute(_BULK, columns)


def floor(
    tally: Tally,
    settings: Settings,
    database: DatabaseSettings,
    topic: str,
    partitions: Sequence[int],
    upsert: Callable[[Connection[Any], Sequence[Row]], None],
) -> None:
    """Consume, and upsert what each record says into one table, and do nothing else."""
    with connect(database, "bench-floor") as connection:
        for messages in batches(tally, settings, topic, partitions, settings.rescore.commit_batch):
            newest: dict[tuple[str, int], Row] = {}  # of one video the last one: a statement cannot write a row twice
            for message in messages:
                value = message.value() or b""
                event = orjson.loads(value)
                key = event["video_id"], event["revision"]
                newest[key] = (*key, event["seq"], event["plays"], value)
            upsert(connection, [newest[key] for key in sorted(newest)])


def job(tally: Tally, settings: Settings, model: LiveModel, shares: Path | None) -> None:
    """The rescore job as `reelsort serve` runs it. shares: where the seconds of each part go, which are then taken."""
    stop = threading.Event()
    spent = _timed() if shares else {}
    ConsumerRuntime(
        settings,
        group_id(settings, GROUP),
        [TopicNames(settings.kafka.topics).actual(topic) for topic in rescore_job.SUBSCRIBED],
        Counted(rescore_job.RescoreJob(settings, model), tally, stop),
        max_in_flight=settings.rescore.max_in_flight,
        drain_s=settings.rescore.drain_s,
        health=Health(600.0),
    ).run(stop)
    if shares:
        shares.write_bytes(orjson.dumps(spent))


_PARTS: Sequence[tuple[Any, str, str]] = (
    (rescore_job, "read", "parse"),
    (rescore, "_lock", "lock videos"),
    (rescore, "_store_snapshots", "store snapshots"),
    (rescore, "read_labelled", "read labels and evidence"),
    (rescore, "reassess", "decide again"),
    (rescore, "append", "write what moved"),
    (rescore, "_update", "write priorities of tasks"),
    (rescore, "write", "transaction"),
)


def _timed() -> dict[str, float]:
    """Replaces each part, in this process, by itself and a clock; seconds by name, filled as time goes by."""
    spent: dict[str, float] = defaultdict(float)

    def clocked(part: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            begun = time.perf_counter()
            try:
                return part(*arguments)
            finally:
                spent[name] += time.perf_counter() - begun

        return call

    for module, attribute, name in _PARTS:
        setattr(module, attribute, clocked(getattr(module, attribute), name))
    return spent
