"""Tiny real clips, written by real encoders."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

CODEC_OPTIONS: dict[str, dict[str, str]] = {
    "libx264": {"preset": "ultrafast", "crf": "20"},
    "libx265": {"preset": "ultrafast", "crf": "24", "x265-params": "log-level=none:pools=1:frame-threads=1"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "32"},
    "libsvtav1": {"preset": "12", "crf": "40", "svtav1-params": "lp=1"},
}
TICKS_PER_SECOND = 1000


def picture(index: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Picture number `index`, [H, W, 3]: moving gradients, a moving square, a blue level that tells pictures apart."""
    width, height = size
    x = np.arange(width)[None, :]
    y = np.arange(height)[:, None]
    image = np.empty((height, width, 3), np.uint8)
    image[..., 0] = (x * 2 + index * 7) % 256
    image[..., 1] = (y * 3 + index * 5) % 256
    image[..., 2] = (index * 31) % 256
    side = max(4, min(size) // 4)
    left, top = (index * 5) % max(1, width - side), (index * 3) % max(1, height - side)
    image[top : top + side, left : left + side] = (255, 255 - index % 200, 40)
    return image


def tone(seconds: float, sample_rate: int, hertz: float = 440.0) -> NDArray[np.float32]:
    """A sine of amplitude 0.5, [samples]."""
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * sample_rate)) / sample_rate)).astype(np.float32)


def write_clip(
    path: Path,
    *,
    seconds: float = 2.0,
    fps: int = 10,
    size: tuple[int, int] = (96, 64),
    codec: str = "libx264",
    audio: bool = True,
    bframes: int = 0,
    gop: int | None = None,
    stamps_ms: Sequence[int] | None = None,
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    container_format: str | None = None,
) -> Path:
    """Encode `seconds` x `fps` pictures (or one per stamp of `stamps_ms`: variable rate) and a 440 Hz tone.

    Returns `path`. The container follows the suffix; the tone is AAC, in webm Opus; `gop` is the largest distance of
    keyframes.
    """
    stamps = list(stamps_ms) if stamps_ms is not None else [round(i * 1000 / fps) for i in range(round(seconds * fps))]
    settings = {**CODEC_OPTIONS.get(codec, {}), **(options or {})}
    if codec == "libx264":
        settings |= {"bf": str(bframes), "threads": "1"}
        settings.setdefault("x264-params", f"bframes={bframes}:b-adapt=0:scenecut=0")
    with av.open(str(path), "w", format=container_format, options=container_options or {}) as container:
        video = container.add_stream(codec, rate=fps, options=settings)
        video.width, video.height = size
        video.pix_fmt = pixel_format
        video.codec_context.time_base = Fraction(1, TICKS_PER_SECOND)
        if gop is not None:
            video.codec_context.gop_size = gop
        sound = None
        if audio:
            webm = path.suffix == ".webm"
            sound = container.add_stream("libopus" if webm else "aac", rate=48_000 if webm else 44_100, layout="mono")
        for index, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(picture(index, size), format="rgb24")
            frame = frame.reformat(format=pixel_format, threads=1)
            frame.pts = stamp
            frame.time_base = Fraction(1, TICKS_PER_SECOND)
            for packet in video.encode(frame):
                container.mux(packet)
        for packet in video.encode(None):
            container.mux(packet)
        if sound is not None:
            samples = tone(seconds, sound.rate)
            for start in range(0, len(samples), 1024):
                block = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], format="fltp", layout="mono")
                block.sample_rate = sound.rate
                block.pts = start
                block.time_base = Fraction(1, sound.rate)
                for packet in sound.encode(block):
                    container.mux(packet)
            for packet in sound.encode(None):
                container.mux(packet)
    return path
