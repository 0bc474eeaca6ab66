"""`reelsort bench signals`: one worker of the signals job beside a naive one, in one run on a real Kafka.

Both count the same actions into the same table with the same rules. The naive worker handles an event at a time, as
Faust's own examples do: a write to the table for each. The job takes what has come from the stream's channel, and
writes once a video. The floor only reads, as a stream hands events over. They alternate, and ratios are taken round by
round. The first round is not counted. Processor time is what counts where others use the machine.

With `--memory` the job alone runs, on a time-compressed stream whose videos come, are seen for a while and expire; its
resident memory is sampled.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console

from stream.bench import signals_memory
from stream.bench.scratch import own_stack
from stream.bench.signals_load import BEGUN, own_topics, publish
from stream.bench.signals_members import floor, job, naive
from stream.bench.stream_members import Tally, seconds_of
from stream.cli.options import Format, FormatOption
from stream.settings import Settings

NAME = "signals"
Work = Callable[[Tally, Settings, str], None]


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
    with own_stack() as found:
        kafka = found.kafka.model_copy(update={"options": {}})  # meant for another cluster
        settings = found.model_copy(update={"kafka": kafka})
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
        typer.echo(f"floor  {result['floor_actions_per_s']:>8,} actions/s: a stream of Faust's, nothing is done")
        typer.echo(
            f"ratio_to_naive {result['ratio_to_naive']:.2f}, of processor time {result['cpu_ratio_to_naive']:.2f}"
        )
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
    works: dict[str, Work] = {"job": job, "naive": naive, "floor": floor}
    rates: dict[str, list[float]] = {name: [] for name in works}
    costs: dict[str, list[float]] = {name: [] for name in works}
    for number in range(repeats + 1):
        for name, work in works.items():
            rate, cost = measure(settings, work, actions, f"{name}{number}")
            console.print(f"round {number}: {name} {rate:,.0f}/s, {cost * 1e6:,.0f} µs of a core each")
            if number:
                rates[name].append(rate)
                costs[name].append(cost * 1e6)
    ratios = [ours / theirs for ours, theirs in zip(rates["job"], rates["naive"], strict=True)]
    spent = {name: statistics.median(found) for name, found in costs.items()}
    return {
        "bench": NAME,
        "actions": actions,
        "videos": videos,
        "repeats": repeats,
        "job_actions_per_s": round(statistics.median(rates["job"])),
        "naive_actions_per_s": round(statistics.median(rates["naive"])),
        "floor_actions_per_s": round(statistics.median(rates["floor"])),
        "ratio_to_naive": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "cpu_us_per_action": {name: round(found, 1) for name, found in spent.items()},
        "cpu_ratio_to_naive": round(spent["naive"] / spent["job"], 3),
        "bound_by": f"one core: {spent['job']:.0f} µs an action for fetching, parsing, counting and one write a video; "
        f"a stream of Faust's that hands events over one by one, and does nothing, takes {spent['floor']:.0f}",
    }


def measure(settings: Settings, work: Work, actions: int, label: str) -> tuple[float, float]:
    """Actions a second of one worker, and the processor seconds that one action takes it. The first ones count for
    nothing: when their round began is known to nobody."""
    kafka = settings.kafka.model_copy(update={"group_prefix": f"{settings.kafka.group_prefix}_{label}"})
    with tempfile.TemporaryDirectory(prefix="reelsort-bench-") as folder:
        file = Path(folder) / "told"
        arguments = (settings.model_copy(update={"kafka": kafka}), str(file))
        seconds = seconds_of(work, [arguments], actions, lambda _: True)
        first, cpu_seconds = file.read_text(encoding="utf-8").split()
        counted = actions - int(first)
        return counted / seconds, float(cpu_seconds) / counted
