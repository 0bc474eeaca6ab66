"""Which runtime, precision and batch serve a bundle on this machine: the fastest of those that answer rightly.

No library's default is trusted: where AMX is missing OpenVINO's is slower than plain fp32, and on few cores a larger
batch can be a loss. So each is timed for a moment at load, and what won is remembered for this machine.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.bundle import Bundle
from models.runtimes.base import FusionInputs, Runtime
from models.runtimes.golden import PROBABILITY_TOLERANCE, Golden, check_golden, deviation, load_golden
from models.runtimes.machine import available_cores, processor
from models.runtimes.registry import Precision, RuntimeSpec, runtimes
from schemas.errors import ExitCode, UserError

BUDGET_S = 2.5  # of timing; loading comes on top
VIDEOS_PER_BATCH = (1, 2, 4, 8)
# a larger batch makes the first video wait for the last: it has to be worth it
WORTH_A_LARGER_BATCH = 1.03


class Pins(Protocol):
    """What a person may fix; None is left to timing. Settings.inference is one."""

    @property
    def runtime(self) -> str | None: ...
    @property
    def precision(self) -> Precision | None: ...
    @property
    def vision_batch(self) -> int | None: ...
    @property
    def threads(self) -> int | None: ...


class Measurement(BaseModel):
    """One candidate. videos_per_s is None where it was refused, and `refused` says why."""

    model_config = ConfigDict(frozen=True)

    runtime: str
    precision: Precision
    vision_batch: int = Field(ge=1)  # frames
    videos_per_s: float | None = None
    deviation: float | None = None  # of a probability on the golden probes
    refused: str = ""


class Report(BaseModel):
    """How a runtime came to be chosen; what is remembered between starts."""

    model_config = ConfigDict(frozen=True)

    how: Literal["timed", "remembered", "pinned"]
    chosen: Measurement
    measurements: tuple[Measurement, ...] = ()


@dataclass(frozen=True, slots=True)
class ChosenRuntime:
    """A loaded runtime that has answered the golden probes. vision_batch is in frames."""

    runtime: Runtime
    vision_batch: int
    threads: int
    report: Report


def choose_runtime(
    bundle: Bundle,
    pins: Pins,
    *,
    cache: Path | None = None,
    tolerance: float = PROBABILITY_TOLERANCE,
    clock: Callable[[], float] = time.perf_counter,
    budget_s: float = BUDGET_S,
    specs: Sequence[RuntimeSpec] | None = None,
) -> ChosenRuntime:
    """Load the runtime that serves `bundle` best.

    cache: a folder for what is remembered; default: the user's. specs: default: all that serve. Raises UserError where
    what is pinned is not here, or where nothing answers the golden probes within `tolerance` of a probability.
    """
    candidates = _candidates(pins, specs if specs is not None else [s for s in runtimes().values() if s.serves])
    threads = pins.threads or available_cores()
    frames = bundle.manifest.frame_plan.units
    batches = (pins.vision_batch,) if pins.vision_batch else tuple(frames * videos for videos in VIDEOS_PER_BATCH)

    if len(candidates) == len(batches) == 1:
        spec, precision = candidates[0]
        chosen = Measurement(runtime=spec.name, precision=precision, vision_batch=batches[0])
        return _open(bundle, spec, chosen, threads, Report(how="pinned", chosen=chosen), tolerance)

    place = _place(cache, bundle, candidates, batches, threads, tolerance)
    if remembered := _recall(place, candidates, batches):
        spec = next(spec for spec, _ in candidates if spec.name == remembered.chosen.runtime)
        with suppress(UserError):  # no longer right: choose anew
            return _open(bundle, spec, remembered.chosen, threads, remembered, tolerance)

    chosen_runtime, report = _time(bundle, candidates, batches, threads, tolerance, clock, budget_s)
    _remember(place, report)
    return ChosenRuntime(chosen_runtime, report.chosen.vision_batch, threads, report)


Candidate = tuple[RuntimeSpec, Precision]


def _candidates(pins: Pins, specs: Sequence[RuntimeSpec]) -> list[Candidate]:
    offered = [(spec, precision) for spec in specs for precision in spec.precisions()]
    fitting = [
        (spec, precision)
        for spec, precision in offered
        if pins.runtime in (None, spec.name) and pins.precision in (None, precision)
    ]
    if not fitting:
        asked = " ".join(str(pin) for pin in (pins.runtime, pins.precision) if pin)
        here = ", ".join(f"{spec.name} {precision}" for spec, precision in offered)
        raise UserError(
            f"this machine cannot run a bundle with {asked or 'any runtime'}",
            f"set inference.runtime and inference.precision to one of: {here}" if here else "install onnxruntime",
        )
    return fitting


def _open(
    bundle: Bundle, spec: RuntimeSpec, chosen: Measurement, threads: int, report: Report, tolerance: float
) -> ChosenRuntime:
    runtime = spec.load(bundle, chosen.precision, threads)
    try:
        check_golden(bundle, runtime, tolerance)
    except BaseException:
        runtime.close()
        raise
    return ChosenRuntime(runtime, chosen.vision_batch, threads, report)


# --- timing -------------------------------------------------------------------------------------------------------


def _time(
    bundle: Bundle,
    candidates: Sequence[Candidate],
    batches: Sequence[int],
    threads: int,
    tolerance: float,
    clock: Callable[[], float],
    budget_s: float,
) -> tuple[Runtime, Report]:
    """Load all, time those that answer rightly turn by turn, close all but the best."""
    golden = load_golden(bundle)
    loaded: dict[Candidate, tuple[Runtime, float]] = {}
    refused: list[Measurement] = []
    for candidate in candidates:
        spec, precision = candidate
        entry = Measurement(runtime=spec.name, precision=precision, vision_batch=batches[0])
        try:
            runtime = spec.load(bundle, precision, threads)
        except UserError as error:
            refused.append(entry.model_copy(update={"refused": error.message}))
            continue
        off = deviation(bundle, golden, runtime).probability
        if off <= tolerance:
            loaded[candidate] = (runtime, off)
            continue
        runtime.close()
        why = f"moves a probability by {off:.2g}, more than {tolerance:g}"
        refused.append(entry.model_copy(update={"refused": why, "deviation": off if np.isfinite(off) else None}))
    if not loaded:
        raise UserError(
            f"no runtime serves {bundle.folder}: {refused[0].runtime} {refused[0].precision}: {refused[0].refused}",
            "export the bundle again, or upgrade the runtime",
            ExitCode.CHECK_FAILED,
        )
    try:
        seconds = _turns(
            {key: runtime for key, (runtime, _) in loaded.items()}, batches, bundle, golden, clock, budget_s
        )
        timed = [
            Measurement(
                runtime=candidate[0].name,
                precision=candidate[1],
                vision_batch=batch,
                videos_per_s=1.0 / max(spent, 1e-9),
                deviation=loaded[candidate][1],
            )
            for (candidate, batch), spent in seconds.items()
        ]
        best = _best(timed)
    except BaseException:
        for runtime, _ in loaded.values():
            runtime.close()
        raise
    for (spec, precision), (runtime, _) in loaded.items():
        if (spec.name, precision) == (best.runtime, best.precision):
            serving = runtime
        else:
            runtime.close()
    return serving, Report(how="timed", chosen=best, measurements=(*timed, *refused))


def _turns(
    runtimes: dict[Candidate, Runtime],
    batches: Sequence[int],
    bundle: Bundle,
    golden: Golden,
    clock: Callable[[], float],
    budget_s: float,
) -> dict[tuple[Candidate, int], float]:
    """Seconds a video, the least seen. Turn by turn, so that a busy moment of the machine hits all alike.

    The first turn warms up and counts only where the budget ends before the second. Every runtime is timed at the
    smallest batch at least, however slow it is.
    """
    end = clock() + budget_s
    frames = bundle.manifest.frame_plan.units
    best: dict[tuple[Candidate, int], float] = {}
    for turn in itertools.count():
        for batch, (candidate, runtime) in itertools.product(sorted(batches), runtimes.items()):
            if clock() >= end and (turn > 0 or batch > min(batches)):
                return best
            spent = _seconds_per_video(runtime, golden, batch, max(1, batch // frames), frames, clock)
            key = (candidate, batch)
            best[key] = spent if turn <= 1 else min(spent, best[key])
    raise AssertionError("unreachable")


def _seconds_per_video(
    runtime: Runtime, golden: Golden, batch: int, videos: int, frames: int, clock: Callable[[], float]
) -> float:
    pixels = golden.pixels[np.resize(np.arange(len(golden.pixels)), batch)]
    rows = np.resize(np.arange(golden.count), videos)
    inputs = golden.inputs
    fused = FusionInputs(
        frames=inputs.frames[rows],
        frame_mask=inputs.frame_mask[rows],
        audio=inputs.audio[rows],
        audio_mask=inputs.audio_mask[rows],
        input_ids=inputs.input_ids[rows],
        text_mask=inputs.text_mask[rows],
    )
    start = clock()
    runtime.encode_frames(pixels)
    middle = clock()
    runtime.fuse(fused)
    return (middle - start) * frames / batch + (clock() - middle) / videos


def _best(timed: Sequence[Measurement]) -> Measurement:
    """The fastest; a smaller batch where it is about as fast."""

    def rate(entry: Measurement) -> float:
        return entry.videos_per_s or 0.0

    fastest = max(map(rate, timed))
    near = [entry for entry in timed if rate(entry) * WORTH_A_LARGER_BATCH >= fastest]
    return min(near, key=lambda entry: (entry.vision_batch, -rate(entry)))


# --- memory -------------------------------------------------------------------------------------------------------


def _place(
    cache: Path | None,
    bundle: Bundle,
    candidates: Sequence[Candidate],
    batches: Sequence[int],
    threads: int,
    tolerance: float,
) -> Path:
    """The file that remembers this question: another bundle, machine, version or pin is another question."""
    folder = cache or platformdirs.user_cache_path("reelsort", appauthor=False) / "runtimes"
    offered = [(spec.name, precision, spec.version()) for spec, precision in candidates]
    question = repr((bundle.encoder_id, processor(), offered, tuple(batches), threads, tolerance))
    return folder / f"{hashlib.sha256(question.encode()).hexdigest()[:32]}.json"


def _recall(place: Path, candidates: Sequence[Candidate], batches: Sequence[int]) -> Report | None:
    """What was remembered; None where there is nothing, or nothing that makes sense."""
    try:
        report = Report.model_validate_json(place.read_bytes())
    except (OSError, ValidationError):
        return None
    known = {(spec.name, precision) for spec, precision in candidates}
    if (report.chosen.runtime, report.chosen.precision) not in known or report.chosen.vision_batch not in batches:
        return None
    return report.model_copy(update={"how": "remembered"})


def _remember(place: Path, report: Report) -> None:
    partial = place.with_name(f"{place.name}.{os.getpid()}")
    with suppress(OSError):  # a home that cannot be written costs the timing of the next start, no more
        place.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(report.model_dump_json(), encoding="utf-8")
        partial.replace(place)
