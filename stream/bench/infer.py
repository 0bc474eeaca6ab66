"""`reelsort bench infer`: each runtime beside torch fp32, video by video and batched, in one run.

All answer the same videos: the golden probes of the bundle, over and over. They take turns, and each ratio is taken
within a turn, so that a busy machine slows both sides of it. The last contender is what the classify job does: the
runtime that was chosen by timing, behind the scheduler.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from models.bundle import Bundle, default_bundle
from models.preprocess.prepare import ModelInputs
from models.runtimes.base import FusionInputs, Runtime
from models.runtimes.golden import Golden, deviation, load_golden
from models.runtimes.machine import available_cores, processor
from models.runtimes.registry import runtimes
from models.runtimes.select import choose_runtime
from schemas.errors import UserError
from stream.classify.planner import Shapes
from stream.classify.scheduler import Scheduler
from stream.cli.options import Format, FormatOption
from stream.settings import InferenceSettings

NAME = "infer"
BASELINE = "torch-fp32, 1 at a time"
_CLOSE_S = 10.0


def register(app: typer.Typer) -> None:
    app.command(NAME)(_bench)


def _bench(
    bundle: Annotated[Path | None, typer.Option(help="The model bundle's folder.")] = None,
    videos: Annotated[int, typer.Option(min=1, help="Videos a turn.")] = 32,
    repeats: Annotated[int, typer.Option(min=1, help="Turns, after one to warm up.")] = 7,
    batch: Annotated[int, typer.Option(min=2, help="Videos a batch, where batched.")] = 8,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; all cores without.")] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Videos a second of each runtime, and as a multiple of torch fp32 video by video. Needs the extra `train`."""
    loaded = Bundle.load(bundle or default_bundle())
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("turns", total=repeats + 1)
        result = run(
            loaded,
            videos=videos,
            repeats=repeats,
            batch=batch,
            threads=threads or available_cores(),
            on_turn=lambda: progress.advance(bar),
        )
    if output is Format.JSON:
        typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("runtime")
    for column in ("videos/s", "× torch fp32", "least", "most", "Δ probability"):
        table.add_column(column, justify="right")
    for entry in result["contenders"]:
        ratio = entry["ratio_to_torch"]
        table.add_row(
            entry["name"],
            f"{entry['videos_per_s']:.1f}",
            f"{ratio['median']:.2f}",
            f"{ratio['least']:.2f}",
            f"{ratio['most']:.2f}",
            f"{entry['deviation']:.1e}",
        )
    console = Console(highlight=False)
    console.print(table)
    if result["load_before"] > 0.5:
        console.print(
            f"[yellow]the machine was busy (load {result['load_before']:.1f} on {result['cores']} cores): threads that "
            "wait for each other, torch's above all, lose most by it[/yellow]"
        )


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to answer every video of a turn; deviation: of a probability, on the golden probes."""

    name: str
    answer: Callable[[], None]
    deviation: float


def run(
    bundle: Bundle,
    *,
    videos: int,
    repeats: int,
    batch: int,
    threads: int,
    on_turn: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """All contenders in turns. Raises UserError where torch is not installed."""
    if not runtimes()["torch"].precisions():
        raise UserError("the baseline is torch, which is not installed", "pip install 'reelsort[train]'")
    load = os.getloadavg()[0]
    seconds: dict[str, list[float]] = {}
    with ExitStack() as cleanup:
        contenders = list(_contenders(bundle, videos, batch, threads, cleanup))
        for turn in range(repeats + 1):
            for contender in contenders:
                begun = time.perf_counter()
                contender.answer()
                if turn:
                    seconds.setdefault(contender.name, []).append(time.perf_counter() - begun)
            on_turn()
    return {
        "bundle": bundle.manifest.name,
        "encoder_id": bundle.encoder_id,
        "processor": next((line for line in processor().splitlines() if line.startswith("model name")), "").split(": ")[
            -1
        ],
        "cores": available_cores(),
        "threads": threads,
        "load_before": load,
        "versions": {spec.name: spec.version() for spec in runtimes().values()},
        "videos_per_turn": videos,
        "turns": repeats,
        "contenders": [
            {
                "name": contender.name,
                "videos_per_s": videos / statistics.median(seconds[contender.name]),
                "ratio_to_torch": _ratio(seconds[BASELINE], seconds[contender.name]),
                "deviation": contender.deviation,
            }
            for contender in contenders
        ],
    }


def _contenders(bundle: Bundle, videos: int, batch: int, threads: int, cleanup: ExitStack) -> Iterator[Contender]:
    golden = load_golden(bundle)
    clips = [_clip(golden, place % golden.count) for place in range(videos)]
    for spec in sorted(runtimes().values(), key=lambda spec: spec.serves):
        for precision in spec.precisions():
            runtime = cleanup.enter_context(closing(spec.load(bundle, precision, threads)))
            off = deviation(bundle, golden, runtime).probability
            for size, how in ((1, "1 at a time"), (batch, f"{batch} a batch")):
                batches = [clips[start : start + size] for start in range(0, videos, size)]
                yield Contender(f"{runtime.name}, {how}", _one_by_one(runtime, batches), off)
    chosen = choose_runtime(bundle, InferenceSettings(threads=threads))
    runtime = cleanup.enter_context(closing(chosen.runtime))
    answer = cleanup.enter_context(_scheduled(bundle, runtime, chosen.vision_batch, clips))
    off = deviation(bundle, golden, runtime).probability
    yield Contender(f"reelsort: {runtime.name}, {chosen.vision_batch} frames a batch", answer, off)


def _one_by_one(runtime: Runtime, batches: Sequence[Sequence[ModelInputs]]) -> Callable[[], None]:
    stacked = [
        (
            np.concatenate([clip.frames for clip in clips]),
            FusionInputs(
                frames=np.empty(0, np.float32),
                frame_mask=np.stack([clip.frame_mask for clip in clips]),
                audio=np.stack([clip.audio for clip in clips]),
                audio_mask=np.stack([clip.audio_mask for clip in clips]),
                input_ids=np.stack([clip.input_ids for clip in clips]),
                text_mask=np.stack([clip.text_mask for clip in clips]),
            ),
        )
        for clips in batches
    ]

    def answer() -> None:
        for pixels, rest in stacked:
            frames = runtime.encode_frames(pixels).reshape(*rest.frame_mask.shape, -1)
            runtime.fuse(
                FusionInputs(frames, rest.frame_mask, rest.audio, rest.audio_mask, rest.input_ids, rest.text_mask)
            )

    return answer


@contextmanager
def _scheduled(
    bundle: Bundle, runtime: Runtime, vision_batch: int, clips: Sequence[ModelInputs]
) -> Iterator[Callable[[], None]]:
    per_batch = max(1, vision_batch // bundle.manifest.frame_plan.units)
    wait_s = InferenceSettings().max_wait_ms / 1000
    shapes = Shapes(vision_batch, per_batch, bundle.manifest.text.length_buckets, wait_s)
    scheduler = Scheduler(runtime, shapes, capacity=len(clips))

    def answer() -> None:
        for future in [scheduler.submit(clip) for clip in clips]:
            future.result()

    try:
        yield answer
    finally:
        scheduler.close(_CLOSE_S)


def _clip(golden: Golden, place: int) -> ModelInputs:
    inputs = golden.inputs
    frames = inputs.frame_mask.shape[1]
    return ModelInputs(
        frames=golden.pixels[place * frames : (place + 1) * frames],
        frame_mask=inputs.frame_mask[place],
        audio=inputs.audio[place],
        audio_mask=inputs.audio_mask[place],
        input_ids=inputs.input_ids[place],
        text_mask=inputs.text_mask[place],
    )


def _ratio(baseline: Sequence[float], seconds: Sequence[float]) -> dict[str, float]:
    """How many times as fast as the baseline, turn by turn."""
    ratios = [slow / fast for slow, fast in zip(baseline, seconds, strict=True)]
    return {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
