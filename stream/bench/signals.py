"""`reelsort bench signals`: one worker of the signals job beside a naive one, in one run on a real Kafka.

Both count the same actions into the same table with the same rules. The naive worker handles an event at a time, as
Faust's own examples do: a write to the table for each. The job groups what has come while it wrote, and writes once a
video. The floor only reads: what Faust takes to hand an event over. They alternate, and ratios are taken round by
round. The first round is not counted.

With `--memory` the job alone runs, on a time-compressed stream whose videos come, are seen for a while and expire; its
resident memory is sampled.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from deploy.local import stack
from stream.bench import signals_memory
from stream.bench.signals_load import BEGUN, own_topics, publish
from stream.bench.signals_members import floor, job, naive
from stream.bench.stream_members import Tally, seconds_of
from stream.cli.options import Format, FormatOption
from stream.settings import Settings, load_settings

NAME = "signals"
Work = Callable[[Tally, Settings], None]


def register(app: typer.Typer) -> None:
    app.command(NAME)(_bench)


def _bench(
    actions: Annotated[
        int | None, typer.Option(min=1000, help="Actions a round (default 60,000; with --memory 2,000,000).")
    ] = None,
    videos: Annotated[
        int | None, typer.Option(min=10, help="Videos they are about (default 2,000; with --memory 100,000).")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Rounds that are counted.")] = 3,
    memory: Annotated[bool, typer.Option("--memory", help="Sample the job's memory while videos come and go.")] = False,
    plot: Annotated[Path | None, typer.Option(help="With --memory: write a plot to this SVG file.")] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Actions a second of one signals worker, and of a naive one; or its memory over time."""
    console = Console(stderr=True, highlight=False)
    with _own_stack() as settings:
        if memory:
            result = signals_memory.run(settings, actions or 2_000_000, videos or 100_000, console)
        else:
            result = run(settings, actions or 60_000, videos or 2_000, repeats, console)
    if memory and plot is not None:
        plot.write_text(signals_memory.svg(result), encoding="utf-8")
    if output is Format.JSON:
        typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2))
    elif memory:
        typer.echo(signals_memory.summary(result))
    else:
        typer.echo(f"job    {result['job_actions_per_s']:>8,} actions/s")
        typer.echo(f"naive  {result['naive_actions_per_s']:>8,} actions/s: a table write for each")
        typer.echo(f"floor  {result['floor_actions_per_s']:>8,} actions/s: Faust alone, nothing is done")
        typer.echo(f"ratio_to_naive {result['ratio_to_naive']:.2f}, ratio_to_floor {result['ratio_to_floor']:.2f}")
        typer.echo(f"bound by: {result['bound_by']}")


def run(settings: Settings, actions: int, videos: int, repeats: int, console: Console) -> dict[str, Any]:
    """Publish once, then every worker reads it all in each round."""
    settings = own_topics(settings)
    rng = Random(7)  # noqa: S311 - the same actions in every run
    # a few videos have most of the actions, as Zipf's law has it
    weights = [1 / rank for rank in range(1, videos + 1)]
    publish(settings, [(f"v{video:06d}", BEGUN + timedelta(seconds=number)) for number, video in enumerate(
        rng.choices(range(videos), weights, k=actions)
    )])  # fmt: skip
    console.print(f"published {actions:,} actions on {videos:,} videos")
    rates: dict[str, list[float]] = {"job": [], "naive": [], "floor": []}
    works: dict[str, Work] = {"job": job, "naive": naive, "floor": floor}
    for number in range(repeats + 1):
        found = {name: actions / _seconds(settings, work, actions, f"{name}{number}") for name, work in works.items()}
        console.print(f"round {number}: " + "  ".join(f"{name} {rate:,.0f}/s" for name, rate in found.items()))
        if number:
            for name, rate in found.items():
                rates[name].append(rate)
    ratios = [ours / theirs for ours, theirs in zip(rates["job"], rates["naive"], strict=True)]
    to_floor = statistics.median(ours / bare for ours, bare in zip(rates["job"], rates["floor"], strict=True))
    return {
        "bench": NAME,
        "actions": actions,
        "videos": videos,
        "repeats": repeats,
        "job_actions_per_s": round(statistics.median(rates["job"])),
        "naive_actions_per_s": round(statistics.median(rates["naive"])),
        "floor_actions_per_s": round(statistics.median(rates["floor"])),
        "ratio_to_naive": round(statistics.median(ratios), 3),
        "ratio_to_floor": round(to_floor, 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "bound_by": f"Faust's hand-over of single events takes {to_floor:.0%} of the job's time, on one core; the rest "
        "is parsing, counting and one write a video",
    }


def _seconds(settings: Settings, work: Work, actions: int, label: str) -> float:
    kafka = settings.kafka.model_copy(update={"group_prefix": f"{settings.kafka.group_prefix}_{label}"})
    return seconds_of(work, [(settings.model_copy(update={"kafka": kafka}),)], actions, lambda _: True)


@contextmanager
def _own_stack() -> Iterator[Settings]:
    with tempfile.TemporaryDirectory(prefix="reelsort-bench-") as folder:
        info = stack.up(Path(folder))
        try:
            plain = load_settings()
            yield plain.model_copy(
                update={"kafka": plain.kafka.model_copy(update={"bootstrap": info.bootstrap, "options": {}})}
            )
        finally:
            stack.down(Path(folder))
