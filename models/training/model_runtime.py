"""A model under training as a Runtime, so that it is scored by the code that scores a bundle."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import torch

from models.architectures.base import Architecture
from models.runtimes.base import FloatArray, FusionInputs, FusionOutputs


class ModelRuntime:
    """torch in fp32, in evaluation mode."""

    name = "torch-fp32"

    def __init__(self, model: Architecture) -> None:
        self._model = model.eval()

    def encode_frames(self, frames: FloatArray) -> FloatArray:
        with torch.inference_mode():
            out: FloatArray = self._model.vision(torch.from_numpy(frames)).numpy()
        return out

    def fuse(self, inputs: FusionInputs) -> FusionOutputs:
        arrays = (np.ascontiguousarray(getattr(inputs, field.name)) for field in fields(inputs))
        with torch.inference_mode():
            answers = self._model.fusion(*(torch.from_numpy(array) for array in arrays))
        return FusionOutputs(*(answer.numpy() for answer in answers))

    def close(self) -> None:
        """Nothing is held."""
