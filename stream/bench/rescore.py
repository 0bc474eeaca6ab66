"""`reelsort bench rescore`: the rescore job beside a floor, in one run on a real Kafka and a real Postgres.

The job reads snapshots of videos that have labels and does all it does in production: parse, lock, keep the newest
snapshot, read predictions and evidence, decide again, write what moves and announce it, commit offsets. The floor reads
the same topic with confluent-kafka, upserts the same snapshots into a table like engagement_snapshots, and does nothing
else. It comes twice: raw, with what the driver offers for many rows, and tuned, with the job's own statement over
arrays in binary.

Each is one process, with transactions of one size; the job has its own three connections. Labels are the stub model's;
half of the authors have a profile. Every video is heard of in turn, again and again; most snapshots agree with its
label, and one video in twenty finds another audience half-way. They take turns, each on a fresh copy of the same
database, and ratios are taken repeat by repeat. A first round is not counted: it takes the shares of time, which need
clocks.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from confluent_kafka.admin import AdminClient
from psycopg import Connection
from rich.console import Console

from models.decision.decide import decide_many
from models.decision.types import ContentEvidence, Evidence
from schemas.events import AuthorProfile, EngagementSnapshot, VideoPublished
from schemas.topics import ENGAGEMENT_SNAPSHOTS, TOPICS, TopicNames
from schemas.wire import encode_event
from stream.bench.rescore_members import Row, floor, job, upsert_each, upsert_in_bulk
from stream.bench.scratch import ConfiguredOption, scratch_database, send_all, servers
from stream.bench.stream_members import GROUP, is_balanced, seconds_of
from stream.classify.stub import LEVEL1, StubAnalyzer, stub_model
from stream.cli.options import Format, FormatOption
from stream.consumer.records import Record
from stream.kafka import admin_config, create_topics, group_id, producer_config
from stream.rescore.job import SUBSCRIBED, review_rules
from stream.settings import DatabaseSettings, Settings
from stream.store import registry, rescore, transaction
from stream.store.session import connect
from stream.store.work import Analysed, Batch, Input, Observed, Origin

NAME = "rescore"
PARTITIONS = 6
AUTHORS = 500
PUBLISHED = datetime(2026, 4, 1, tzinfo=UTC)
COMMENTS = ("这个做法我试过,真的好吃", "学会了,明天就做", "收藏了")


def register(app: typer.Typer) -> None:
    app.command(NAME)(_bench)


def _bench(
    videos: Annotated[int, typer.Option(min=100, help="Videos with a label.")] = 10_000,
    snapshots: Annotated[int, typer.Option(min=1, help="Snapshots of each.")] = 10,
    repeats: Annotated[int, typer.Option(min=1, help="Turns of floors and job.")] = 3,
    configured: ConfiguredOption = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Snapshots a second of the rescore job, and of the floor: consume and upsert into one table."""
    console = Console(stderr=True, highlight=False)
    with servers(configured) as settings:
        result = run(settings, videos=videos, snapshots=snapshots, repeats=repeats, console=console)
    if output is Format.JSON:
        typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2))
        return
    typer.echo(
        f"job    {result['job_snapshots_per_s']:>9,} snapshots/s, {result['moved_share']:.1%} of them moved a label"
    )
    typer.echo(
        f"floor  {result['floor_snapshots_per_s']:>9,} snapshots/s raw, {result['tuned_snapshots_per_s']:,} tuned"
    )
    typer.echo(f"ratio_to_floor {result['ratio_to_floor']:.3f}, to the tuned one {result['ratio_to_tuned']:.3f}")
    for part, share in result["shares"].items():
        typer.echo(f"  {part:<30}{share:>6.1%}")


def run(settings: Settings, *, videos: int, snapshots: int, repeats: int, console: Console) -> dict[str, Any]:
    """Label and publish once, then measure in pairs. Everything it makes is named bench_* and dropped."""
    kafka = settings.kafka.model_copy(
        update={
            "topics": {topic: f"bench_rescore.{topic}" for topic in TOPICS},
            "partitions": PARTITIONS,
            "group_prefix": "bench_rescore",
        }
    )
    settings = settings.model_copy(update={"kafka": kafka})
    create_topics(settings)
    count = videos * snapshots
    rounds: list[tuple[float, float, float]] = []
    try:
        _publish(settings, videos, snapshots)
        with scratch_database(settings) as labelled, tempfile.TemporaryDirectory() as folder:
            _label(settings, labelled, videos)
            shares = Path(folder) / "shares.json"
            for number in range(repeats + 1):
                raw, tuned = (count / _floor(settings, count, upsert) for upsert in (upsert_each, upsert_in_bulk))
                seconds, moved = _job(settings, labelled, count, number, shares if number == 0 else None)
                made = count / seconds
                console.print(f"round {number}: job {made:,.0f}/s  floor {raw:,.0f}/s raw, {tuned:,.0f}/s tuned")
                if number:
                    rounds.append((made, raw, tuned))
            spent = orjson.loads(shares.read_bytes())
    finally:
        admin = AdminClient(admin_config(settings))
        for deletion in admin.delete_topics(list(kafka.topics.values())).values():
            deletion.result(30)
    ratios = [made / raw for made, raw, _ in rounds]
    return {
        "bench": NAME,
        "videos": videos,
        "snapshots": count,
        "repeats": repeats,
        "commit_batch": settings.rescore.commit_batch,
        "moved_share": round(moved / count, 4),
        "job_snapshots_per_s": round(statistics.median(made for made, _, _ in rounds)),
        "floor_snapshots_per_s": round(statistics.median(raw for _, raw, _ in rounds)),
        "tuned_snapshots_per_s": round(statistics.median(tuned for _, _, tuned in rounds)),
        "ratio_to_floor": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "ratio_to_tuned": round(statistics.median(made / tuned for made, _, tuned in rounds), 3),
        "shares": _shares(spent),
    }


def _shares(spent: dict[str, float]) -> dict[str, float]:
    """Of the time of the thread that writes. The transaction holds all other parts but parsing."""
    total = spent.pop("transaction") + spent["parse"]
    spent["commit and the rest"] = total - sum(spent.values())
    return {part: round(seconds / total, 3) for part, seconds in spent.items()}


def _videos(count: int) -> list[VideoPublished]:
    return [
        VideoPublished(
            video_id=f"{number * 0x9E3779B1 % 2**32:08x}",  # not in the order of the index
            author_id=f"author-{number % AUTHORS}",
            media_uri=f"https://media.example.com/v/{number}.mp4",
            published_at=PUBLISHED + timedelta(seconds=number),
            title=f"第{number}期:三分钟学会番茄炒蛋",
        )
        for number in range(count)
    ]


def _label(settings: Settings, database: DatabaseSettings, count: int) -> None:
    """All videos decided by the stub, and profiles of half of the authors."""
    analyzer, rules, now = StubAnalyzer(), review_rules(settings), datetime.now(UTC)
    videos = _videos(count)
    with connect(database, "bench-label") as connection:
        model = registry.enter(connection, stub_model(), {"stub": True})
        for start in range(0, count, 1000):
            analysed = [Analysed(_input(each), each, analyzer._analyse(each)) for each in videos[start : start + 1000]]
            transaction.write(connection, Batch.of(analysed), model, now, rules.within)
        profiles = [
            AuthorProfile(author_id=f"author-{n}", seq=1, main_vertical=LEVEL1[n % len(LEVEL1)], updated_at=PUBLISHED)
            for n in range(0, AUTHORS, 2)
        ]
        rescore.write(connection, [Observed(_input(each).record, each) for each in profiles], model, now, rules)
        connection.execute("VACUUM ANALYZE")


def _input(event: VideoPublished | AuthorProfile) -> Input:
    return Input(Record("bench", 0, 0, 1, 0, None, None, ()), Origin("bench", 0, 0), event, 1, None)


def _snapshots(count: int, times: int) -> Iterator[EngagementSnapshot]:
    """Of every video in turn: plays double, the audience is that of its label, or from half-way on of another one."""
    analyzer, videos = StubAnalyzer(), _videos(count)
    answers = [analyzer._analyse(each) for each in videos]
    said = decide_many(
        [
            Evidence(each.video_id, 0, ContentEvidence(answer.level1_logits, answer.level2_logits))
            for each, answer in zip(videos, answers, strict=True)
        ],
        stub_model().policy,
    )
    for seq in range(times):
        for number, (video, decision) in enumerate(zip(videos, said, strict=True)):
            turned = number % 20 == 0 and seq >= times // 2
            first = decision.level1 + turned
            yield EngagementSnapshot(
                video_id=video.video_id,
                seq=seq,
                plays=100 * 2**seq,
                likes=7 * 2**seq,
                comments=len(COMMENTS),
                shares=seq,
                completion_rate=0.6,
                mean_watch_s=9.5,
                audience={LEVEL1[(first + place) % 4]: share for place, share in enumerate((0.7, 0.2, 0.1))},
                top_comments=COMMENTS,
                window_end=video.published_at + timedelta(hours=seq + 1),
            )


def _publish(settings: Settings, count: int, times: int) -> None:
    topic = TopicNames(settings.kafka.topics).actual(ENGAGEMENT_SNAPSHOTS)
    events = (
        encode_event(snapshot, ce_id=f"{number}", source="/bench", time=snapshot.window_end)
        for number, snapshot in enumerate(_snapshots(count, times))
    )
    send_all(producer_config(settings, "bench"), topic, events)


def _floor(settings: Settings, count: int, upsert: Callable[[Connection[Any], Sequence[Row]], None]) -> float:
    """Seconds of the floor that writes so."""
    topic = TopicNames(settings.kafka.topics).actual(ENGAGEMENT_SNAPSHOTS)
    with scratch_database(settings) as database:
        with connect(database, "bench-floor") as connection:
            connection.execute(
                "CREATE TABLE bench_floor (LIKE engagement_snapshots INCLUDING ALL) WITH (fillfactor=80)"
            )
        return seconds_of(
            floor,
            [(settings, database, topic, list(range(PARTITIONS)), upsert)],
            count,
            lambda tally: tally.ready.value == 1,
        )


def _job(
    settings: Settings, labelled: DatabaseSettings, count: int, number: int, shares: Path | None
) -> tuple[float, int]:
    """Seconds of the job until the last snapshot is durable, and how many labels moved."""
    kafka = settings.kafka.model_copy(update={"group_prefix": f"{settings.kafka.group_prefix}_{number}"})
    with scratch_database(settings, labelled) as database:
        settings = settings.model_copy(update={"database": database, "kafka": kafka})
        with connect(database, "bench-start") as connection:
            model = registry.enter(connection, stub_model(), {"stub": True})
        admin = AdminClient(admin_config(settings))
        seconds = seconds_of(
            job,
            [(settings, model, shares)],
            count,
            lambda _: is_balanced(admin, group_id(settings, GROUP), 1, PARTITIONS * len(SUBSCRIBED)),
        )
        with connect(database, "bench-check") as connection:
            row = connection.execute("SELECT count(*) FROM decisions WHERE trigger = 'engagement'").fetchone()
    assert row is not None
    return seconds, row[0]
