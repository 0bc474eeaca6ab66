"""What a training batch goes without, and how its pictures move. Nothing mirrors or reverses: direction is a label."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.preprocess.text import SpecialIds
from models.training.dataset import Batch


def shifted(frames: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.uint8]:
    """frames [B, T, S, S, 3] moved by offsets [B, 2] pixels (down, right); edges are repeated."""
    side = frames.shape[2]
    place = np.arange(side)
    rows, columns = (np.clip(place - offsets[:, axis, None], 0, side - 1) for axis in (0, 1))
    batch = np.arange(len(frames))[:, None, None, None]
    time = np.arange(frames.shape[1])[None, :, None, None]
    moved: NDArray[np.uint8] = frames[batch, time, rows[:, None, :, None], columns[:, None, None, :]]
    return moved


def without_modalities(batch: Batch, share: float, random: np.random.Generator) -> Batch:
    """Each modality of each video goes missing with probability `share`; a video never loses all that it has."""
    has = np.stack([mask.any(axis=1) for mask in (batch.frame_mask, batch.audio_mask, batch.text_mask)], axis=1)
    kept = random.random(has.shape) >= share
    kept |= ~(kept & has).any(axis=1, keepdims=True)
    return replace(
        batch,
        frame_mask=batch.frame_mask & kept[:, 0, None],
        audio_mask=batch.audio_mask & kept[:, 1, None],
        text_mask=batch.text_mask & kept[:, 2, None],
    )


def without_tokens(batch: Batch, share: float, special: SpecialIds, random: np.random.Generator) -> Batch:
    """Each character becomes unknown with probability `share`; special tokens stay."""
    ordinary = ~np.isin(batch.input_ids, (special.pad, special.start, special.end))
    drop = (random.random(batch.input_ids.shape) < share) & ordinary
    return replace(batch, input_ids=np.where(drop, special.unknown, batch.input_ids))
