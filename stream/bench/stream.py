"""`reelsort bench stream`: the classify job beside two floors, in one run on a real Kafka and a real Postgres.

The job reads a topic and does all it does in production (parse, look up, write down, decide, six tables, outbox,
offsets), with a stub in the place of the model. Both floors read the same topic with confluent-kafka and COPY into one
table without an index, and do nothing else:

floor       stores as many bytes for each record as the job does: its key and value, and filler for what the job derives
read floor  stores key and value alone, as if nothing were derived

All have as many consumers, each a process with its share of the partitions: as many as there are cores, unless told
otherwise. Transactions are of one size, and all commit offsets. They alternate, and ratios are taken repeat by repeat,
so that a busy machine slows all of them. A first round is not counted: in it Postgres makes its WAL files.
"""

from __future__ import annotations

import os
import statistics
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import orjson
import typer
from confluent_kafka.admin import AdminClient
from psycopg import sql
from rich.console import Console

from schemas.events import VideoPublished
from schemas.topics import TOPICS, VIDEO_PUBLISHED, TopicNames
from schemas.wire import EncodedEvent, encode_event
from stream.bench.scratch import ConfiguredOption, scratch_database, send_all, servers
from stream.bench.stream_members import GROUP, floor, is_balanced, job, seconds_of
from stream.classify.job import SUBSCRIBED
from stream.classify.stub import stub_model
from stream.cli.options import Format, FormatOption
from stream.kafka import admin_config, create_topics, group_id, producer_config
from stream.settings import ClassifySettings, Settings
from stream.store import registry
from stream.store.session import connect

NAME = "stream"
PARTITIONS = 6


def register(app: typer.Typer) -> None:
    app.command(NAME)(_bench)


def _bench(
    events: Annotated[int, typer.Option(min=1000, help="Events a repeat.")] = 100_000,
    repeats: Annotated[int, typer.Option(min=1, help="Pairs of floor and job.")] = 3,
    members: Annotated[
        int | None, typer.Option(min=1, max=PARTITIONS, help="Consumers, of all three (default: one a core).")
    ] = None,
    commit_batch: Annotated[int, typer.Option(min=1, help="Records a transaction, of all three.")] = 1000,
    configured: ConfiguredOption = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Events a second of the classify job with a stub model, and of the floor: consume and COPY to one table."""
    console = Console(stderr=True, highlight=False)
    with servers(configured) as settings:
        result = run(
            settings,
            events=events,
            repeats=repeats,
            members=members or min(PARTITIONS, len(os.sched_getaffinity(0))),
            commit_batch=commit_batch,
            console=console,
        )
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


def run(
    settings: Settings, *, events: int, repeats: int, members: int, commit_batch: int, console: Console
) -> dict[str, Any]:
    """Publish once, then measure in pairs. Everything it makes is named bench_* and dropped."""
    label = f"bench_{uuid.uuid4().hex[:8]}"
    kafka = settings.kafka.model_copy(
        update={"group_prefix": label, "topics": {name: f"{label}.{name}" for name in TOPICS}, "partitions": PARTITIONS}
    )
    classify = ClassifySettings(stub=True, commit_batch=commit_batch, max_in_flight=8 * commit_batch)
    settings = settings.model_copy(update={"kafka": kafka, "classify": classify})
    create_topics(settings)
    value_bytes = _publish(settings, events)
    console.print(f"published {events:,} events of {value_bytes / events:.0f} bytes")
    results = []
    for number in range(repeats + 1):
        decided, stored = _job(settings, events, members, number)
        result = Repeat(
            job=decided,
            stored_bytes=stored,
            floor=_floor(settings, events, members, filler=max(0, stored - value_bytes // events)),
            read_floor=_floor(settings, events, members, filler=0),
        )
        console.print(
            f"round {number}: job {decided:,.0f}/s  floor {result.floor:,.0f}/s (ratio {result.ratio:.3f})"
            f"  read floor {result.read_floor:,.0f}/s (ratio {result.read_ratio:.3f})"
        )
        if number:
            results.append(result)
    return {
        "bench": NAME,
        "events": events,
        "repeats": repeats,
        "bytes_per_event": round(value_bytes / events),
        "stored_bytes_per_event": results[0].stored_bytes,
        "members": members,
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


def _publish(settings: Settings, count: int) -> int:
    """Events as an upload service sends them; returns the bytes of their values."""
    topic = TopicNames(settings.kafka.topics).actual(VIDEO_PUBLISHED)
    return send_all(producer_config(settings, "bench"), topic, _events(count))


def _events(count: int) -> Iterator[EncodedEvent]:
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
        yield encode_event(video, ce_id=f"{number}", source="/bench", time=video.published_at)


def _floor(settings: Settings, count: int, members: int, filler: int) -> float:
    """Events a second of as many consumers as the job has, each with its share of the partitions."""
    topic = TopicNames(settings.kafka.topics).actual(VIDEO_PUBLISHED)
    with scratch_database(settings) as database:
        with connect(database, "bench-floor") as connection:
            # rows stay whole and uncompressed: moving what is long out of line would slow the floor
            connection.execute(
                "CREATE TABLE bench_floor (key bytea, value bytea, rest bytea) WITH (toast_tuple_target=8160)"
            )
        shares = [list(range(number, PARTITIONS, members)) for number in range(members)]
        seconds = seconds_of(
            floor,
            [(settings, database, topic, share, filler) for share in shares],
            count,
            lambda tally: tally.ready.value == members,
        )
    return count / seconds


_SIZE = sql.SQL("SELECT sum(pg_column_size(t.*)) FROM {} AS t")
_TABLES = ("videos", "predictions", "decisions", "current_labels", "review_tasks", "outbox")


def _job(settings: Settings, count: int, members: int, number: int) -> tuple[float, int]:
    """The classify job until the last record is durable: events a second, and bytes stored for each."""
    with scratch_database(settings) as database:
        settings = settings.model_copy(
            update={
                "database": database,
                "kafka": settings.kafka.model_copy(update={"group_prefix": f"{settings.kafka.group_prefix}_{number}"}),
            }
        )
        with connect(database, "bench-start") as connection:
            model = registry.enter(connection, stub_model(), {"stub": True})
        admin = AdminClient(admin_config(settings))
        seconds = seconds_of(
            job,
            [(settings, model)] * members,
            count,
            lambda _: is_balanced(admin, group_id(settings, GROUP), members, PARTITIONS * len(SUBSCRIBED)),
        )
        with connect(database, "bench-check") as connection:
            row = connection.execute("SELECT count(*) FROM decisions").fetchone()
            assert row == (count,), "the job did not decide every event"
            sizes = [connection.execute(_SIZE.format(sql.Identifier(table))).fetchone() for table in _TABLES]
    stored = sum(int(size[0] or 0) for size in sizes if size is not None)
    return count / seconds, stored // count
