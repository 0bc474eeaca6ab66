"""Logits of examples through any runtime, with modalities taken away on request."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from models.architectures.base import Architecture
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


class ModelRuntime:
    """A model under training as a Runtime."""

    name = "torch-fp32"

    def __init__(self, model: Architecture) -> None:
        self._model = model.eval()

    def encode_frames(self, frames: FloatArray) -> FloatArray:
        with torch.inference_mode():
            out: FloatArray = self._model.vision(torch.from_numpy(frames)).numpy()
        return out

    def fuse(self, inputs: FusionInputs) -> FusionOutputs:
        arrays = (
            inputs.frames, inputs.frame_mask, inputs.audio, inputs.audio_mask, inputs.input_ids, inputs.text_mask
        )  # fmt: skip
        with torch.inference_mode():
            answers = self._model.fusion(*(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))
        return FusionOutputs(*(answer.numpy() for answer in answers))

    def close(self) -> None:
        """Nothing is held."""


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
