"""What parent and decode child agree on: the job, and where each array of a decoded clip lies in their shared memory.

Imported by the child, so nothing heavy is imported here.
"""

from __future__ import annotations

import json
import mmap
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from models.media.types import AudioPlan, FramePlan, MediaLimits
from models.preprocess.audio import steps

READY = b"ready"  # a child's first message


@dataclass(frozen=True, slots=True)
class ChildSettings:
    """All a decode child needs to know, given once as its argument."""

    frame_plan: FramePlan
    audio_plan: AudioPlan | None
    limits: MediaLimits
    memory_bytes: int
    cpu_seconds: float  # of one clip

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ChildSettings:
        fields = json.loads(text)
        audio_plan = fields.pop("audio_plan")
        return cls(
            frame_plan=FramePlan(**fields.pop("frame_plan")),
            audio_plan=None if audio_plan is None else AudioPlan(**audio_plan),
            limits=MediaLimits(**fields.pop("limits")),
            **fields,
        )


@dataclass(frozen=True)
class ClipArrays:
    """Views of one clip in shared memory; every shape follows from the plans.

    frames: uint8 [T, S, S, 3]; timestamps: float64 [T]; log_mel: float32 [A, F]; audio_mask: bool [A]. A is 0 without
    an audio plan.
    """

    timestamps: NDArray[np.float64]
    log_mel: NDArray[np.float32]
    frames: NDArray[np.uint8]
    audio_mask: NDArray[np.bool_]


def bytes_needed(settings: ChildSettings) -> int:
    """The size of the shared memory."""
    frame_count, side, windows, mels = _dimensions(settings)
    return frame_count * 8 + windows * mels * 4 + frame_count * side * side * 3 + windows


def arrays_in(memory: mmap.mmap, settings: ChildSettings) -> ClipArrays:
    """The arrays of a clip as they lie in `memory`, widest items first, so that each is aligned."""
    frame_count, side, windows, mels = _dimensions(settings)
    offset = 0
    timestamps = np.frombuffer(memory, np.float64, frame_count, offset)
    offset += timestamps.nbytes
    log_mel = np.frombuffer(memory, np.float32, windows * mels, offset)
    offset += log_mel.nbytes
    frames = np.frombuffer(memory, np.uint8, frame_count * side * side * 3, offset)
    offset += frames.nbytes
    audio_mask = np.frombuffer(memory, np.bool_, windows, offset)
    return ClipArrays(
        timestamps, log_mel.reshape(windows, mels), frames.reshape(frame_count, side, side, 3), audio_mask
    )


def _dimensions(settings: ChildSettings) -> tuple[int, int, int, int]:
    audio = settings.audio_plan
    windows, mels = (0, 0) if audio is None else (steps(audio), audio.mels)
    return settings.frame_plan.count, settings.frame_plan.size, windows, mels
