"""One interface over every way to run a bundle's two graphs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FusionInputs:
    """A batch for fusion.onnx. Masks are True where something is; a missing modality is an all-False row."""

    frames: FloatArray  # [B, T, D] vision embeddings
    frame_mask: NDArray[np.bool_]  # [B, T]
    audio: FloatArray  # [B, A, F] log-mel
    audio_mask: NDArray[np.bool_]  # [B, A]
    input_ids: NDArray[np.int64]  # [B, L]
    text_mask: NDArray[np.bool_]  # [B, L]


@dataclass(frozen=True, slots=True)
class FusionOutputs:
    """level1_logits [B, C1], level2_logits [B, C2], embedding [B, E]; all float32."""

    level1_logits: FloatArray
    level2_logits: FloatArray
    embedding: FloatArray


class Runtime(Protocol):
    """Runs a bundle. Thread-safe for calls from one thread at a time; instances are not shared across processes."""

    @property
    def name(self) -> str:
        """Runtime and precision, as in 'onnxruntime-fp32'."""
        ...

    def encode_frames(self, frames: FloatArray) -> FloatArray:
        """[N, 3, H, W] normalised pixels, or clips [N, clip, 3, H, W] -> [N, D] embeddings."""
        ...

    def fuse(self, inputs: FusionInputs) -> FusionOutputs: ...

    def close(self) -> None: ...


def feed(inputs: FusionInputs, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """The arrays that a graph takes, by name: one without audio has no such inputs."""
    return {name: getattr(inputs, name) for name in names}
