"""The inputs of a bundle's golden probes: a few real videos, some with a modality taken away."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.training.dataset import Examples

PROBES = 6


@dataclass(frozen=True, slots=True)
class Probes:
    """G videos. pixels: float32 [G, T, 3, S, S]; the rest as in FusionInputs, with B = G."""

    pixels: NDArray[np.float32]
    frame_mask: NDArray[np.bool_]
    audio: NDArray[np.float32]
    audio_mask: NDArray[np.bool_]
    input_ids: NDArray[np.int64]
    text_mask: NDArray[np.bool_]


def choose_probes(examples: Examples) -> Probes:
    """Videos spread over the examples: whole ones first, then one each without frames, without sound, without text."""
    index = np.unique(np.linspace(0, len(examples) - 1, PROBES).astype(np.int64))
    batch = examples.batch(index, to_longest=True)
    missing = len(index) - 3
    place = np.arange(len(index))[:, None]
    return Probes(
        pixels=batch.frames,
        frame_mask=batch.frame_mask & (place != missing),
        audio=batch.audio,
        audio_mask=batch.audio_mask & (place != missing + 1),
        input_ids=batch.input_ids,
        text_mask=batch.text_mask & (place != missing + 2),
    )


def save_probes(probes: Probes, path: Path) -> None:
    """As npz; the same probes give the same bytes."""
    np.savez_compressed(
        path, allow_pickle=False, **{field.name: getattr(probes, field.name) for field in fields(probes)}
    )


def load_probes(path: Path) -> Probes:
    """What save_probes() wrote."""
    with np.load(path, allow_pickle=False) as file:
        return Probes(**{field.name: file[field.name] for field in fields(Probes)})
