"""Log-mel features against the formulas, written out one by one in double precision."""

from __future__ import annotations

import cmath
import math

import numpy as np
import pytest

from models.media.types import AudioPlan
from models.preprocess.audio import log_mel, steps
from tests.support.clips import tone

PLAN = AudioPlan(sample_rate=8000, window=200, hop=80, mels=20, seconds=0.5)


def by_formula(samples: list[float], plan: AudioPlan, step: int, size: int) -> list[float]:
    """One window: Hann, discrete Fourier transform of `size` points, power, HTK triangles, logarithm, affine map."""
    begin = step * plan.hop
    window = [
        samples[begin + n] * (0.5 - 0.5 * math.cos(2 * math.pi * n / plan.window)) if begin + n < len(samples) else 0.0
        for n in range(plan.window)
    ]
    power = [
        abs(sum(x * cmath.exp(-2j * math.pi * k * n / size) for n, x in enumerate(window))) ** 2
        for k in range(size // 2 + 1)
    ]

    def mel(hertz: float) -> float:
        return 2595 * math.log10(1 + hertz / 700)

    def hertz(mel: float) -> float:
        return 700 * (10 ** (mel / 2595) - 1)

    edges = [hertz(mel(plan.sample_rate / 2) * m / (plan.mels + 1)) for m in range(plan.mels + 2)]
    features = []
    for left, centre, right in zip(edges, edges[1:], edges[2:], strict=False):
        energy = 0.0
        for k, p in enumerate(power):
            f = k * plan.sample_rate / size
            if left <= f <= centre:
                energy += p * (f - left) / (centre - left)
            elif centre < f <= right:
                energy += p * (right - f) / (right - centre)
        features.append((math.log10(max(energy, 1e-10)) + 4) / 4)
    return features


def test_features_follow_the_formulas() -> None:
    rng = np.random.default_rng(3)
    samples = (rng.normal(size=4000) * 0.1 + tone(0.5, 8000, 1000.0)).astype(np.float32)
    features, _ = log_mel(samples, PLAN)
    for step in (0, 7, steps(PLAN) - 1):
        np.testing.assert_allclose(features[step], by_formula(samples.tolist(), PLAN, step, 256), atol=1e-4)


def test_the_last_window_of_short_sound_is_padded_with_silence() -> None:
    samples = tone(0.1, 8000)
    features, mask = log_mel(samples, PLAN)
    assert mask.tolist() == [step * PLAN.hop < len(samples) for step in range(steps(PLAN))]
    np.testing.assert_allclose(features[9], by_formula(samples.tolist(), PLAN, 9, 256), atol=1e-4)


def test_a_tone_is_loudest_in_its_own_band() -> None:
    features, _ = log_mel(tone(0.5, 8000, 1000.0), PLAN)
    mel_of_tone = 2595 * math.log10(1 + 1000 / 700) / (2595 * math.log10(1 + 4000 / 700)) * (PLAN.mels + 1)
    assert set(features.argmax(axis=1).tolist()) <= {math.floor(mel_of_tone) - 1, math.ceil(mel_of_tone) - 1}


@pytest.mark.parametrize("count", [1, 79, 200, 3999, 4000, 40_000])
def test_the_shape_follows_from_the_plan_alone(count: int) -> None:
    features, mask = log_mel(np.ones(count, np.float32), PLAN)
    assert features.shape == (steps(PLAN), PLAN.mels)
    assert features.dtype == np.float32
    assert mask.any()
    assert not features[~mask].any()
    assert np.isfinite(features).all()


@pytest.mark.parametrize("samples", [None, np.zeros(0, np.float32)])
def test_no_sound_is_all_masked(samples: np.ndarray | None) -> None:
    features, mask = log_mel(samples, PLAN)
    assert not mask.any()
    assert not features.any()


def test_what_lies_beyond_the_plan_changes_nothing() -> None:
    long = tone(2.0, 8000)
    np.testing.assert_array_equal(log_mel(long, PLAN)[0], log_mel(long[: 4000 + PLAN.window], PLAN)[0])
