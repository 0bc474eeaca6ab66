"""The clips that decoding is timed on: what a phone uploads, in three sizes, with and without B-frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

_MARGIN = 256  # how far the camera may pan


@dataclass(frozen=True, slots=True)
class BenchClip:
    width: int
    height: int
    bframes: int
    seconds: float
    fps: int = 30
    gop: int = 60

    @property
    def name(self) -> str:
        return f"{self.height}p, {self.bframes or 'no'} B-frames"


def standard_clips(seconds: float) -> tuple[BenchClip, ...]:
    sizes = ((854, 480), (1280, 720), (1920, 1080))
    return tuple(BenchClip(width, height, bframes, seconds) for width, height in sizes for bframes in (0, 3))


def write(clip: BenchClip, path: Path) -> Path:
    """Encode the clip as H.264: a camera that pans over a scene with the spectrum of a photograph, and film grain."""
    rng = np.random.default_rng(11)
    scene = _scene(clip.width + _MARGIN, clip.height + _MARGIN, rng)
    grain = rng.normal(0, 3, (4, clip.height, clip.width)).astype(np.float32)
    colour = np.full((clip.height // 2, clip.width), 128, np.uint8)
    colour[:, : clip.width // 2] = 110
    options = {"preset": "veryfast", "crf": "25", "bf": str(clip.bframes), "threads": "2"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=clip.fps, options=options)
        stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "yuv420p"
        stream.codec_context.gop_size = clip.gop
        for index in range(round(clip.seconds * clip.fps)):
            left = round(_MARGIN / 2 * (1 + np.sin(index / 37)))
            top = round(_MARGIN / 2 * (1 + np.cos(index / 53)))
            luma = scene[top : top + clip.height, left : left + clip.width] + grain[index % len(grain)]
            planes = np.concatenate([luma.clip(16, 235).astype(np.uint8), colour])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode(None))
    return path


def _scene(width: int, height: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Luma [height, width] whose energy falls with 1/f, as it does in photographs."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    spectrum = rng.normal(size=frequency.shape) + 1j * rng.normal(size=frequency.shape)
    scene = np.fft.irfft2(spectrum / frequency**1.2, s=(height, width))
    return np.asarray(scene / scene.std() * 40 + 120, np.float32)
