"""Decoded pictures to the tensor a vision tower reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def normalise(frames: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """uint8 [T, S, S, 3] -> float32 [T, 3, S, S]: (pixel / 255 - mean) / std for each RGB channel."""
    deviation = np.asarray(std, np.float32).reshape(3, 1, 1)
    scale = 1.0 / (255.0 * deviation)
    shift = np.asarray(mean, np.float32).reshape(3, 1, 1) / deviation
    planes = np.ascontiguousarray(frames.transpose(0, 3, 1, 2)).astype(np.float32)
    planes *= scale
    planes -= shift
    return planes
