"""Pixels as the vision tower reads them."""

from __future__ import annotations

import numpy as np

from models.preprocess.pixels import normalise


def test_each_channel_is_scaled_by_its_own_mean_and_deviation() -> None:
    frames = np.random.default_rng(1).integers(0, 256, (2, 4, 4, 3), np.uint8)
    mean, std = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
    planes = normalise(frames, mean, std)
    assert planes.shape == (2, 3, 4, 4)
    assert planes.dtype == np.float32
    for t, y, x, c in np.ndindex(frames.shape):
        expected = (int(frames[t, y, x, c]) / 255 - mean[c]) / std[c]
        assert abs(planes[t, c, y, x] - expected) < 1e-5
