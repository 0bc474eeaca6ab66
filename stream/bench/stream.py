"""`reelsort bench stream`: the classify job beside two floors, in one run on a real Kafka and a real Postgres.

The job reads a topic and does all it does in production (parse, look up, count attempts, decide, six tables, outbox,
offsets), with a stub in the place of the model. Both floors read the same topic with confluent-kafka and COPY into one
table without an index, and do nothing else:

floor       stores as many bytes for each record as the job does: its key and value, and filler for what the job derives
read floor  stores key and value alone, as if nothing were derived

Transactions are of one size, and all commit offsets. They alternate, and ratios are taken repeat by repeat, so that a
busy machine slows all of them.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Annotated, Any

import orjson
import psycopg
import typer
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from psycopg import sql
from pydantic import SecretStr
from rich.console import Console

from deploy.local import stack
from schemas.events import VideoPublished
from schemas.topics import TOPICS, VIDEO_PUBLISHED, TopicNames
from schemas.wire import encode_event
from stream.classify.job import SUBSCRIBED, ClassifyJob, collect_rarely
from stream.classify.stub import StubAnalyzer, stub_model
from stream.cli.options import Format, FormatOption
from stream.consumer import records as consumer
from stream.consumer.runtime import ConsumerRuntime
from stream.kafka import consumer_config, create_topics, group_id, producer_config
from stream.settings import ClassifySettings, DatabaseSettings, Settings, load_settings
from stream.store import registry
from stream.store.session import connect
from stream.telemetry.health import Health

NAME = "stream"
PARTITIONS = 6
FILLERS = 1000  # different ones: what the job stores does not lie in the processor's cache either


def register(app: typer.Typer) -> None:
    app.command(NAME)(_bench)


def _bench(
    events: Annotated[int, typer.Option(min=1000, help="Events a repeat.")] = 100_000,
    repeats: Annotated[int, typer.Option(min=1, help="Pairs of floor and job.")] = 3,
    commit_batch: Annotated[int, typer.Option(min=1, help="Records a transaction, of all three.")] = 4000,
    configured: Annotated[
        bool, typer.Option("--configured", help="Use the configured servers, not a local stack of its own.")
    ] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Events a second of the classify job with a stub model, and of the floor: consume and COPY to one table."""
    console = Console(stderr=True, highlight=False)
    with ExitStack() as cleanup:
        settings = load_settings() if configured else cleanup.enter_context(_own_stack())
        result = run(settings, events=events, repeats=repeats, commit_batch=commit_batch, console=console)
    if output is Format.JSON:
        typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2))
        return
    typer.echo(
        f"job         {result['job_events_per_s']:>9,} events/s, {result['stored_bytes_per_event']:,} bytes stored each"
    )
    typer.echo(f"floor       {result['floor_events_per_s']:>9,} events/s, the same bytes")
    typer.echo(
        f"read floor  {result['read_floor_events_per_s']:>9,} events/s, {result['bytes_per_event']:,} bytes each"
    )
    typer.echo(
        f"ratio_to_floor {result['ratio_to_floor']:.3f}, ratio_to_read_floor {result['ratio_to_read_floor']:.3f}"
    )


def run(settings: Settings, *, events: int, repeats: int, commit_batch: int, console: Console) -> dict[str, Any]:
    """Publish once, then measure in pairs. Everything it makes is named bench_* and dropped."""
    label = f"bench_{uuid.uuid4().hex[:8]}"
    kafka = settings.kafka.model_copy(
        update={"group_prefix": label, "topics": {name: f"{label}.{name}" for name in TOPICS}, "partitions": PARTITIONS}
    )
    classify = ClassifySettings(stub=True, commit_batch=commit_batch, max_in_flight=8 * commit_batch)
    settings = settings.model_copy(update={"kafka": kafka, "classify": classify})
    collect_rarely()  # for both: a consumer that only copies gains by it too
    create_topics(settings)
    value_bytes = _publish(settings, events)
    console.print(f"published {events:,} events of {value_bytes / events:.0f} bytes")
    results = []
    for number in range(repeats):
        job, stored = _job(settings, events, number)
        result = Repeat(
            job=job,
            stored_bytes=stored,
            floor=_floor(settings, events, filler=max(0, stored - value_bytes // events)),
            read_floor=_floor(settings, events, filler=0),
        )
        console.print(
            f"job {job:,.0f}/s  floor {result.floor:,.0f}/s (ratio {result.ratio:.3f})"
            f"  read floor {result.read_floor:,.0f}/s (ratio {result.read_ratio:.3f})"
        )
        results.append(result)
    return {
        "bench": NAME,
        "events": events,
        "repeats": repeats,
        "bytes_per_event": round(value_bytes / events),
        "stored_bytes_per_event": results[0].stored_bytes,
        "commit_batch": commit_batch,
        "max_in_flight": classify.max_in_flight,
        "job_events_per_s": round(statistics.median(each.job for each in results)),
        "floor_events_per_s": round(statistics.median(each.floor for each in results)),
        "read_floor_events_per_s": round(statistics.median(each.read_floor for each in results)),
        "ratio_to_floor": round(statistics.median(each.ratio for each in results), 3),
        "ratio_to_read_floor": round(statistics.median(each.read_ratio for each in results), 3),
        "ratios": [[round(each.ratio, 3), round(each.read_ratio, 3)] for each in results],
    }


@dataclass(frozen=True, slots=True)
class Repeat:
    """Events a second of each, and the bytes that the job stored for one event."""

    job: float
    stored_bytes: int
    floor: float
    read_floor: float

    @property
    def ratio(self) -> float:
        return self.job / self.floor

    @property
    def read_ratio(self) -> float:
        return self.job / self.read_floor


@contextmanager
def _own_stack() -> Iterator[Settings]:
    with tempfile.TemporaryDirectory(prefix="reelsort-bench-") as folder:
        info = stack.up(Path(folder))
        try:
            plain = load_settings()
            kafka = plain.kafka.model_copy(update={"bootstrap": info.bootstrap})
            yield plain.model_copy(update={"kafka": kafka, "database": DatabaseSettings(dsn=SecretStr(info.dsn))})
        finally:
            stack.down(Path(folder))


def _publish(settings: Settings, count: int) -> int:
    """Events as an upload service sends them; returns the bytes of their values."""
    topic = TopicNames(settings.kafka.topics).actual(VIDEO_PUBLISHED)
    client = Producer(producer_config(settings, "bench"))
    total = 0
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(count):
        video = VideoPublished(
            video_id=uuid.UUID(int=number * 0x9E3779B97F4A7C15 % 2**128).hex,  # not in the order of the index
            revision=0,
            author_id=f"author-{number % 5003}",
            media_uri=f"https://media.example.com/v/{number:012d}.mp4",
            published_at=begun + timedelta(milliseconds=number),
            title=f"第{number}期:三分钟学会番茄炒蛋,零失败的家常做法",
            ocr=("番茄炒蛋", "关注我,每天一道家常菜"),
            asr="大家好,今天我们来做一道番茄炒蛋,先把番茄切成小块,鸡蛋打散加一点盐",
            tags=("美食", "家常菜", "教程"),
            language="zh",
            duration_s=15.0 + number % 45,
        )
        event = encode_event(video, ce_id=f"{number}", source="/bench", time=video.published_at)
        total += len(event.value)
        while True:
            try:
                client.produce(topic, event.value, event.key, headers=[*event.headers])
                break
            except BufferError:
                client.poll(0.1)
        client.poll(0)
    client.flush()
    return total


def _floor(settings: Settings, count: int, filler: int) -> float:
    """Consume and COPY key, value and `filler` bytes of each record; events a second."""
    rests = [os.urandom(filler) for _ in range(FILLERS)]
    topic = TopicNames(settings.kafka.topics).actual(VIDEO_PUBLISHED)
    client = Consumer(consumer_config(settings, "bench-floor") | {"group.protocol": "classic"})
    client.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(PARTITIONS)])
    copy_in = "COPY bench_floor (key, value, rest) FROM STDIN (FORMAT BINARY)"
    with _scratch_database(settings) as database, connect(database, "bench-floor") as connection:
        # rows stay whole and uncompressed: moving what is long out of line would slow the floor
        connection.execute(
            "CREATE TABLE bench_floor (key bytea, value bytea, rest bytea) WITH (toast_tuple_target=8160)"
        )
        begun, stored = 0.0, 0
        while stored < count:
            messages = client.consume(settings.classify.commit_batch, 0.2)
            if messages and not begun:
                begun = time.perf_counter()
            with connection.transaction(), connection.cursor() as cursor, cursor.copy(copy_in) as copy:
                copy.set_types(["bytea"] * 3)
                for message, rest in zip(messages, cycle(rests)):
                    copy.write_row((message.key(), message.value(), rest))
            client.commit(asynchronous=True)
            stored += len(messages)
        elapsed = time.perf_counter() - begun
    client.close()
    return count / elapsed


_SIZE = sql.SQL("SELECT sum(pg_column_size(t.*)) FROM {} AS t")
_TABLES = ("videos", "predictions", "decisions", "current_labels", "review_tasks", "outbox")


def _job(settings: Settings, count: int, number: int) -> tuple[float, int]:
    """The classify job until the last record is durable: events a second, and bytes stored for each."""
    with _scratch_database(settings) as database:
        settings = settings.model_copy(
            update={
                "database": database,
                "kafka": settings.kafka.model_copy(update={"group_prefix": f"{settings.kafka.group_prefix}_{number}"}),
            }
        )
        with connect(database, "bench-start") as connection:
            model = registry.enter(connection, stub_model(), {"stub": True})
        stop = threading.Event()
        timed = _Timed(ClassifyJob(settings, StubAnalyzer(), model), count, stop)
        names = TopicNames(settings.kafka.topics)
        ConsumerRuntime(
            settings,
            group_id(settings, "bench"),
            [names.actual(topic) for topic in SUBSCRIBED],
            timed,
            max_in_flight=settings.classify.max_in_flight,
            drain_s=settings.classify.drain_s,
            health=Health(600.0),
        ).run(stop)
        with connect(database, "bench-check") as connection:
            row = connection.execute("SELECT count(*) FROM decisions").fetchone()
            assert row == (count,), "the job did not decide every event"
            sizes = [connection.execute(_SIZE.format(sql.Identifier(table))).fetchone() for table in _TABLES]
    stored = sum(int(size[0] or 0) for size in sizes if size is not None)
    return count / timed.elapsed, stored // count


class _Timed:
    """A job that notes when its first record came and when its last one was durable."""

    def __init__(self, job: ClassifyJob, count: int, stop: threading.Event) -> None:
        self._job = job
        self._missing = count
        self._stop = stop
        self._begun = 0.0
        self.elapsed = 0.0

    def start(self, progress: consumer.Progress) -> None:
        self._progress = progress
        self._job.start(self)

    def submit(self, records: Sequence[consumer.Record]) -> None:
        self._begun = self._begun or time.perf_counter()
        self._job.submit(records)

    def drain(self, partitions: Collection[consumer.TopicPartition], deadline: float) -> None:
        self._job.drain(partitions, deadline)

    def abandon(self, partitions: Collection[consumer.TopicPartition]) -> None:
        self._job.abandon(partitions)

    def stop(self, deadline: float) -> None:
        self._job.stop(deadline)

    def done(self, records: Collection[consumer.Record]) -> None:
        self._progress.done(records)
        self._missing -= len(records)
        if not self._missing:
            self.elapsed = time.perf_counter() - self._begun
            self._stop.set()

    def back_off(self, seconds: float, reason: str) -> None:
        self._progress.back_off(seconds, reason)

    def fail(self, error: BaseException) -> None:
        self._progress.fail(error)


@contextmanager
def _scratch_database(settings: Settings) -> Iterator[DatabaseSettings]:
    """A migrated database of its own on the configured server; dropped at the end."""
    dsn = settings.database.dsn.get_secret_value()
    name = f"bench_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        scratch = psycopg.conninfo.make_conninfo(dsn, dbname=name)
        from schemas.database import upgrade  # Alembic takes as long to import as all the rest of the command

        upgrade(scratch)
        yield settings.database.model_copy(update={"dsn": SecretStr(scratch)})
    finally:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
