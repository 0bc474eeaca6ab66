"""Sound: a tone of one of three kinds under noise, mono.

The kinds differ both in pitch and in rhythm. Pitch, tempo and loudness vary within each kind; the noise, whose
loudness sways like speech, is there for every item and is all that is left where the tone is hidden.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.synthetic.design import Tone
from models.synthetic.sampling import Scene

SAMPLE_RATE = 16_000  # Hz

_SOUND_STREAM = 2
_CHORD = (1.0, 1.26, 1.5)  # a major triad


def make_sound(scene: Scene) -> NDArray[np.float32]:
    """[samples] in -1..1 at SAMPLE_RATE, as long as the clip."""
    rng = np.random.default_rng(np.random.SeedSequence(scene.seed[0], spawn_key=(*scene.seed[1:], _SOUND_STREAM)))
    samples = round(scene.duration_s * SAMPLE_RATE)
    time = np.arange(samples, dtype=np.float32) / np.float32(SAMPLE_RATE)
    noise = _noise(rng, time)
    if scene.tone is None:
        return noise
    return (_tone(rng, scene.tone, time) * np.float32(rng.uniform(0.25, 0.5)) + noise).astype(np.float32)


def _tone(rng: np.random.Generator, tone: Tone, time: NDArray[np.float32]) -> NDArray[np.float32]:
    """[samples] in -1..1."""
    tempo, phase = rng.uniform(3.0, 5.0), rng.random()
    beat = time * np.float32(tempo) + np.float32(phase)
    since_beat = (beat - np.floor(beat)) / np.float32(tempo)  # seconds
    match tone:
        case Tone.DRONE:
            return _chord(rng.uniform(180, 260), time)
        case Tone.PULSE:
            return np.asarray(_chord(rng.uniform(600, 800), time) * np.exp(-18 * since_beat), dtype=np.float32)
        case Tone.CHIME:
            steps = np.array(_CHORD, dtype=np.float32)[np.floor(beat).astype(np.int64) % len(_CHORD)]
            pitch = np.float32(rng.uniform(1900, 2500)) * steps
            return np.asarray(
                np.sin(np.float32(2 * np.pi) * pitch * since_beat) * np.exp(-5 * since_beat), dtype=np.float32
            )


def _chord(root: float, time: NDArray[np.float32]) -> NDArray[np.float32]:
    waves = [np.sin(np.float32(2 * np.pi * root * ratio) * time) for ratio in _CHORD]
    return np.asarray(np.sum(waves, axis=0, dtype=np.float32) / np.float32(len(waves)), dtype=np.float32)


def _noise(rng: np.random.Generator, time: NDArray[np.float32]) -> NDArray[np.float32]:
    sway = 0.6 + 0.4 * np.sin(np.float32(2 * np.pi * rng.uniform(1.0, 3.0)) * time)
    return np.asarray(
        rng.standard_normal(len(time), dtype=np.float32) * sway * np.float32(rng.uniform(0.01, 0.04)), dtype=np.float32
    )
