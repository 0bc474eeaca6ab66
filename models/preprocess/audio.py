"""Samples to log-mel features, in numpy.

Periodic Hann windows without padding at the ends, power spectrum, triangular filters on the HTK mel scale
(2595 log10(1 + f / 700)) of unit height from 0 Hz to half the sampling rate: what torchaudio's MelSpectrogram computes
with center=False and its defaults, but for the size of the transform. Then (log10(max(power, 1e-10)) + 4) / 4, the
affine map of Whisper without its clipping to the loudest moment, so that a feature depends on its own window alone.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from models.media.types import AudioPlan

NO_AUDIO = (1, 1)  # [A, F] where a model does not listen
_FLOOR = 1e-10


def steps(plan: AudioPlan) -> int:
    """A: how many windows fit into `plan.seconds`."""
    return max(1, 1 + (int(plan.seconds * plan.sample_rate) - plan.window) // plan.hop)


def features_shape(plan: AudioPlan | None) -> tuple[int, int]:
    """[A, F] of a video's features at their longest; NO_AUDIO where a model does not listen."""
    return (steps(plan), plan.mels) if plan else NO_AUDIO


def log_mel(samples: NDArray[np.float32] | None, plan: AudioPlan) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """float32 [samples] -> float32 [A, plan.mels] and bool [A], True where a window begins in sound.

    The shape follows from the plan alone: what is missing is zero and masked, what is beyond A is dropped. None (no
    sound) is an all-False mask.
    """
    count = steps(plan)
    features = np.zeros((count, plan.mels), np.float32)
    mask = np.zeros(count, np.bool_)
    if samples is None or len(samples) == 0:
        return features, mask
    heard = min(count, -(-len(samples) // plan.hop))
    padded = np.zeros((heard - 1) * plan.hop + plan.window, np.float32)
    usable = samples[: len(padded)]
    padded[: len(usable)] = usable
    windows = np.lib.stride_tricks.sliding_window_view(padded, plan.window)[:: plan.hop]
    spectrum = np.fft.rfft(windows * _hann(plan.window), n=_fft_size(plan.window), axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    features[:heard] = (np.log10(np.maximum(power @ _filters(plan), _FLOOR)) + 4.0) / 4.0
    mask[:heard] = True
    return features, mask


def _fft_size(window: int) -> int:
    return 1 << (window - 1).bit_length()


@lru_cache(maxsize=8)
def _hann(window: int) -> NDArray[np.float32]:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)).astype(np.float32)


@lru_cache(maxsize=8)
def _filters(plan: AudioPlan) -> NDArray[np.float32]:
    """[bins, mels]; column m rises from edge m to 1 at edge m + 1 and falls to 0 at edge m + 2."""
    size = _fft_size(plan.window)
    frequencies = np.arange(size // 2 + 1) * plan.sample_rate / size
    top = 2595.0 * np.log10(1.0 + plan.sample_rate / 2 / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(0.0, top, plan.mels + 2) / 2595.0) - 1.0)
    widths = np.diff(edges)
    slopes = edges[None, :] - frequencies[:, None]
    rising, falling = -slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
