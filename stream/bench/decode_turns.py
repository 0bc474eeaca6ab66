"""The turns of `bench decode`, in a process of their own: `python -m stream.bench.decode_turns FRAMES TURNS CLIP…`.

Prints a line of JSON for each clip: {"pictures": {size: {contender: [{"cpu_s", "wall_s"}, …]}}, "same_pictures":
{contender: bool}, "versions"}.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from models.media.decode import decode_clip
from models.media.pictures import Resizer
from models.media.types import FramePlan

OURS = "reelsort"
TOWER, THUMBNAIL = 224, 16  # sides in pixels: what a vision tower reads, and one where resizing hardly counts


@dataclass(frozen=True, slots=True)
class Pictures:
    """frames: uint8 [T, S, S, 3]; stamps: seconds [T]."""

    frames: NDArray[np.uint8]
    stamps: NDArray[np.float64]


Contender = Callable[[Path, FramePlan], Pictures]


def ours(path: Path, plan: FramePlan) -> Pictures:
    clip = decode_clip(path, plan)
    return Pictures(clip.frames, clip.timestamps)


def sequential(path: Path, plan: FramePlan) -> Pictures:
    """What most code does: read everything, keep the pictures whose moment has come."""
    images: list[NDArray[np.uint8]] = []
    stamps: list[float] = []
    resize = Resizer(plan)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        moments = _moments(float((stream.duration or 0) * (stream.time_base or 0)), plan.count)
        shown: av.VideoFrame | None = None
        for frame in container.decode(stream):
            while shown is not None and len(images) < plan.count and frame.time > moments[len(images)]:
                images.append(resize(shown))
                stamps.append(shown.time)
            shown = frame
        while shown is not None and len(images) < plan.count:
            images.append(resize(shown))
            stamps.append(shown.time)
    return Pictures(np.stack(images), np.array(stamps))


def torchcodec_contenders() -> dict[str, Contender]:
    """torchcodec's ways to pictures at given moments: both seek modes, by time and by number.

    Raises ImportError, RuntimeError or OSError where it, or its FFmpeg, is not there.
    """
    decoders: Any = import_module("torchcodec.decoders")  # by name: it comes with reelsort[dev] alone
    transforms: Any = import_module("torchcodec.transforms")
    import_module("torch").set_num_threads(1)

    def opened(path: Path, plan: FramePlan, mode: str) -> Any:
        resize = transforms.Resize((plan.size, plan.size))
        return decoders.VideoDecoder(
            str(path), num_ffmpeg_threads=1, device="cpu", seek_mode=mode, transforms=[resize], dimension_order="NHWC"
        )

    def by_time(mode: str) -> Contender:
        def contender(path: Path, plan: FramePlan) -> Pictures:
            decoder = opened(path, plan, mode)
            batch = decoder.get_frames_played_at(_moments(decoder.metadata.duration_seconds, plan.count))
            return Pictures(batch.data.numpy(), batch.pts_seconds.numpy())

        return contender

    def by_number(mode: str) -> Contender:
        def contender(path: Path, plan: FramePlan) -> Pictures:
            decoder = opened(path, plan, mode)
            count = decoder.metadata.num_frames
            batch = decoder.get_frames_at([(2 * i + 1) * count // (2 * plan.count) for i in range(plan.count)])
            return Pictures(batch.data.numpy(), batch.pts_seconds.numpy())

        return contender

    return {
        f"torchcodec {mode}, by {how}": way(mode)
        for mode in ("approximate", "exact")
        for how, way in (("time", by_time), ("number", by_number))
    }


def all_contenders() -> tuple[dict[str, Contender], dict[str, str]]:
    """Who takes turns, and the versions of what they stand on."""
    contenders: dict[str, Contender] = {OURS: ours, "PyAV sequential": sequential}
    versions = {"PyAV": version("av"), "libavcodec": ".".join(map(str, av.library_versions["libavcodec"]))}
    try:
        contenders |= torchcodec_contenders()
        versions["torchcodec"] = version("torchcodec")
    except (ImportError, RuntimeError, OSError) as error:
        versions["torchcodec"] = f"not loaded ({str(error).strip().splitlines()[0]})"
    return contenders, versions


def take_turns(path: Path, contenders: dict[str, Contender], frames: int, turns: int) -> dict[str, Any]:
    """Every contender in every turn, each turn beginning with another one; the first turn warms up."""
    names = list(contenders)
    pictures: dict[int, dict[str, list[dict[str, float]]]] = {}
    given: dict[str, Pictures] = {}
    for size in (THUMBNAIL, TOWER):
        plan = FramePlan(frames, size)
        pictures[size] = {name: [] for name in names}
        for turn in range(turns + 1):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                cpu, wall = time.process_time(), time.perf_counter()
                given[name] = contenders[name](path, plan)
                taken = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
                if turn:
                    pictures[size][name].append(taken)
    same = {name: bool(np.allclose(given[name].stamps, given[OURS].stamps, atol=1e-3)) for name in names}
    return {"pictures": pictures, "same_pictures": same}


def _moments(duration: float, count: int) -> list[float]:
    return [duration * (2 * i + 1) / (2 * count) for i in range(count)]


def main(frames: int, turns: int, paths: list[Path]) -> None:
    contenders, versions = all_contenders()
    for path in paths:
        said = take_turns(path, contenders, frames, turns) | {"versions": versions}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), [Path(argument) for argument in sys.argv[3:]])
