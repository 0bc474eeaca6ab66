"""Logits of examples through any runtime, with modalities taken away on request."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.runtimes.base import FusionInputs, FusionOutputs, Runtime
from models.training.dataset import Examples

FloatArray = NDArray[np.float32]
Modality = Literal["text", "frames", "audio"]
MODALITIES: tuple[Modality, ...] = ("text", "frames", "audio")


@dataclass(frozen=True, slots=True)
class Logits:
    """level1 [N, C1], level2 [N, C2], in the examples' order."""

    level1: FloatArray
    level2: FloatArray


def predict(
    runtime: Runtime,
    examples: Examples,
    ablations: Sequence[Collection[Modality]] = ((),),
    *,
    batch: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> list[Logits]:
    """What the runtime says of every example, once for each set of missing modalities; frames are encoded once."""
    collected: list[list[FusionOutputs]] = [[] for _ in ablations]
    for start in range(0, len(examples), batch):
        arrays = examples.batch(np.arange(start, min(start + batch, len(examples))))
        count, frames = arrays.frames.shape[:2]
        embeddings = runtime.encode_frames(arrays.frames.reshape(count * frames, *arrays.frames.shape[2:]))
        for outputs, without in zip(collected, ablations, strict=True):
            outputs.append(
                runtime.fuse(
                    FusionInputs(
                        frames=embeddings.reshape(count, frames, -1),
                        frame_mask=arrays.frame_mask & ("frames" not in without),
                        audio=arrays.audio,
                        audio_mask=arrays.audio_mask & ("audio" not in without),
                        input_ids=arrays.input_ids,
                        text_mask=arrays.text_mask & ("text" not in without),
                    )
                )
            )
        if progress:
            progress(start + count, len(examples))
    return [
        Logits(
            level1=np.concatenate([each.level1_logits for each in outputs]),
            level2=np.concatenate([each.level2_logits for each in outputs]),
        )
        for outputs in collected
    ]


def joined_logits(parts: Sequence[Logits]) -> Logits:
    """The logits of all parts, in order."""
    return Logits(
        level1=np.concatenate([part.level1 for part in parts]), level2=np.concatenate([part.level2 for part in parts])
    )
