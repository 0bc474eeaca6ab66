"""What decoding is asked for and what it gives. No codec is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class FramePlan:
    """Which frames a model sees. Part of a bundle and of its encoder_id.

    uniform: `count` frames at the centres of `count` equal segments of the video's duration. With `clip`, that many
    consecutive ones form a clip, which the vision graph takes as a whole. Raises ValueError where clips do not add up.
    """

    count: int
    size: int  # side of the square, pixels
    kind: Literal["uniform"] = "uniform"
    fit: Literal["stretch", "centre_crop"] = "stretch"
    clip: int | None = None

    def __post_init__(self) -> None:
        if self.clip is not None and (self.clip < 1 or self.count % self.clip):
            raise ValueError(f"{self.count} frames are no whole number of clips of {self.clip}")

    @property
    def units(self) -> int:
        """What the vision graph takes of a video: so many frames, or clips."""
        return self.count // (self.clip or 1)

    @property
    def unit_shape(self) -> tuple[int, ...]:
        """The shape of one of them: (3, size, size), or (clip, 3, size, size)."""
        picture = (3, self.size, self.size)
        return picture if self.clip is None else (self.clip, *picture)


@dataclass(frozen=True, slots=True)
class AudioPlan:
    """The log-mel front end. Part of a bundle and of its encoder_id."""

    sample_rate: int  # Hz, mono
    window: int  # samples
    hop: int  # samples
    mels: int
    seconds: float  # at most this much of the beginning is heard


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """Caps applied before any raster is allocated."""

    max_bytes: int = 512 * 1024 * 1024
    max_pixels: int = 3840 * 2160
    max_duration_s: float = 3600.0
    max_frames: int = 216_000
    max_fps: float = 240.0


@dataclass(frozen=True, slots=True)
class Clip:
    """A decoded video: just what the plans asked for.

    frames: uint8 [T, S, S, 3] RGB; timestamps: float64 [T] seconds, non-decreasing; audio: float32 [samples] mono at
    AudioPlan.sample_rate in [-1, 1], or None where the file has no audio stream. A video with fewer pictures than the
    plan asks for repeats pictures, so T is always FramePlan.count.
    """

    frames: NDArray[np.uint8]
    timestamps: NDArray[np.float64]
    audio: NDArray[np.float32] | None
    duration_s: float
    width: int
    height: int
    codec: str


class MediaError(Exception):
    """This file can never be decoded: poison. `code` is a stable word for metrics and dead letters."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
