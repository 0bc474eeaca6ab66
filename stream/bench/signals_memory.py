"""The job's resident memory while videos come, are seen for a while and expire: samples, a verdict and a plot.

Event time is compressed: the stream spans SPAN, and of all its videos only those inside a moving window are seen at any
moment. The job runs in a process of its own, which samples itself.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import orjson
import psutil
from rich.console import Console

from schemas.errors import UserError
from stream.bench.signals_load import BEGUN, own_topics, publish
from stream.bench.signals_members import job
from stream.bench.stream_members import Tally, seconds_of
from stream.settings import Settings
from stream.telemetry import metrics

SPAN = timedelta(days=60)
ACTIVE_SHARE = 0.1  # of all videos are seen at any moment
EXPIRE_AFTER_H = 24.0
SAMPLE_EVERY_S = 1.0
MIB = 1024 * 1024
Sample = dict[str, float]


def run(settings: Settings, actions: int, videos: int, console: Console) -> dict[str, Any]:
    """Publish while the job counts; its samples, and how much memory grew from the second quarter to the last."""
    settings = own_topics(settings)
    signals = settings.signals.model_copy(update={"expire_after_h": EXPIRE_AFTER_H, "sweep_s": SAMPLE_EVERY_S})
    settings = settings.model_copy(update={"signals": signals})
    publisher = threading.Thread(target=publish, args=(settings, plays(actions, videos)), daemon=True)
    with tempfile.TemporaryDirectory(prefix="reelsort-bench-") as folder:
        file = Path(folder) / "samples.json"
        publisher.start()
        console.print(f"{actions:,} actions on {videos:,} videos, {videos * ACTIVE_SHARE:,.0f} of them at a time")
        seconds = seconds_of(sampled_job, [(settings, str(file))], actions, lambda _: True)
        if not file.exists():
            raise UserError("the job ended without samples")
        samples: list[Sample] = orjson.loads(file.read_bytes())
    publisher.join()
    second, last = (
        statistics.median(each["rss_mib"] for each in samples if low < each["actions"] / actions <= high)
        for low, high in ((0.25, 0.5), (0.75, 1.0))
    )
    return {
        "bench": "signals-memory",
        "actions": actions,
        "videos": videos,
        "active_videos": round(videos * ACTIVE_SHARE),
        "expire_after_h": EXPIRE_AFTER_H,
        "event_time_h": SPAN / timedelta(hours=1),
        "seconds": round(seconds, 1),
        "rss_mib_second_quarter": round(second, 1),
        "rss_mib_last_quarter": round(last, 1),
        "growth": round(last / second - 1, 4),
        "most_videos_in_table": round(max(each["videos"] for each in samples)),
        "samples": samples,
    }


def sampled_job(tally: Tally, settings: Settings, file: str) -> None:
    """The job; its samples are written to `file` at the end."""
    samples: list[Sample] = []
    begun = time.monotonic()
    process = psutil.Process()

    def sample() -> None:
        while not tally.finished.wait(SAMPLE_EVERY_S):
            samples.append(
                {
                    "seconds": round(time.monotonic() - begun, 1),
                    "actions": tally.durable.value,
                    "videos": metrics.SIGNALS_VIDEOS._value.get(),
                    "rss_mib": round(process.memory_info().rss / MIB, 1),
                }
            )

    sampler = threading.Thread(target=sample)
    sampler.start()
    job(tally, settings, f"{file}.cpu")
    sampler.join()
    Path(file).write_bytes(orjson.dumps(samples))


def summary(result: dict[str, Any]) -> str:
    return (
        f"{result['actions']:,} actions on {result['videos']:,} videos in {result['seconds']:,.0f} s: "
        f"resident {result['rss_mib_second_quarter']:.0f} MiB in the second quarter, "
        f"{result['rss_mib_last_quarter']:.0f} MiB in the last ({result['growth']:+.1%}), "
        f"at most {result['most_videos_in_table']:,} videos in the table"
    )


WIDTH, HEIGHT, MARGIN = 720, 300, 50


def svg(result: dict[str, Any]) -> str:
    """Resident memory and videos in the table, over actions counted."""
    samples: list[Sample] = result["samples"]
    most_mib = 1.25 * max(each["rss_mib"] for each in samples)
    most_videos = 1.25 * max(1.0, *(each["videos"] for each in samples))

    def line(name: str, most: float, colour: str) -> str:
        points = " ".join(
            f"{MARGIN + each['actions'] / result['actions'] * (WIDTH - 2 * MARGIN):.1f},"
            f"{HEIGHT - MARGIN - each[name] / most * (HEIGHT - 2 * MARGIN):.1f}"
            for each in samples
        )
        return f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>'

    bottom, right = HEIGHT - MARGIN, WIDTH - MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
            'font-size="12">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            f'<path d="M{MARGIN} {MARGIN}V{bottom}H{right}V{MARGIN}" fill="none" stroke="#888"/>',
            line("rss_mib", most_mib, "#0b63c5"),
            line("videos", most_videos, "#c5630b"),
            f'<text x="{MARGIN}" y="{MARGIN - 26}" fill="#0b63c5">resident memory, 0 to {most_mib:,.0f} MiB</text>',
            f'<text x="{right}" y="{MARGIN - 26}" fill="#c5630b" text-anchor="end">videos in the table, 0 to '
            f"{most_videos:,.0f}</text>",
            f'<text x="{MARGIN}" y="{bottom + 20}">0</text>',
            f'<text x="{right}" y="{bottom + 20}" text-anchor="end">{result["actions"]:,} actions on '
            f"{result['videos']:,} videos, event time {result['event_time_h'] / 24:.0f} days, expiry after "
            f"{result['expire_after_h']:.0f} h</text>",
            "</svg>\n",
        ]
    )


def plays(actions: int, videos: int) -> Iterator[tuple[str, datetime]]:
    """(video_id, when): each video is seen for ACTIVE_SHARE of the span."""
    rng = Random(7)  # noqa: S311 - the same actions in every run
    active = max(1, round(videos * ACTIVE_SHARE))
    for number in range(actions):
        newest = number * videos // actions
        video = max(0, newest - rng.randrange(active))
        yield f"v{video:07d}", BEGUN + SPAN * (number / actions)
