"""torch in fp32, from the weights themselves: what every other runtime is compared with. Needs reelsort[train].

torch is imported when the oracle is asked for, so that looking for runtimes does not load it.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np

from models.bundle import Bundle
from models.runtimes.base import FloatArray, FusionInputs, FusionOutputs
from models.runtimes.registry import Precision, RuntimeSpec
from schemas.errors import UserError

if TYPE_CHECKING:
    from models.architectures.base import Architecture


class TorchOracle:
    """The bundle's architecture with the weights of model.safetensors, in evaluation mode."""

    name = "torch-fp32"

    def __init__(self, bundle: Bundle, threads: int) -> None:
        """threads: torch's own setting is process-wide, so this is too. Raises UserError on weights that do not fit."""
        import torch
        from safetensors.torch import load_file

        from models.architectures import build

        torch.set_num_threads(threads)
        path = bundle.folder / "model.safetensors"
        model: Architecture = build(bundle.manifest.architecture, bundle.manifest.architecture_config)
        try:
            model.load_state_dict(load_file(path))
        except (OSError, RuntimeError) as error:
            raise UserError(f"{path} does not hold the weights of its architecture: {error}", "export again") from error
        self._model: Architecture | None = model.eval()

    def encode_frames(self, frames: FloatArray) -> FloatArray:
        import torch

        if self._model is None:
            raise RuntimeError("the runtime is closed")
        with torch.inference_mode():
            return np.asarray(self._model.vision(torch.from_numpy(frames)).numpy(), dtype=np.float32)

    def fuse(self, inputs: FusionInputs) -> FusionOutputs:
        import torch

        if self._model is None:
            raise RuntimeError("the runtime is closed")
        arrays = (
            inputs.frames,
            inputs.frame_mask,
            inputs.audio,
            inputs.audio_mask,
            inputs.input_ids,
            inputs.text_mask,
        )
        with torch.inference_mode():
            outputs = self._model.fusion(*(torch.from_numpy(array) for array in arrays))
        return FusionOutputs(*(output.numpy() for output in outputs))

    def close(self) -> None:
        self._model = None


def _precisions() -> tuple[Precision, ...]:
    return ("fp32",) if _version() else ()


def _load(bundle: Bundle, precision: Precision, threads: int) -> TorchOracle:
    if precision != "fp32":
        raise UserError(f"the oracle does not run {precision}", "it is fp32 by definition")
    return TorchOracle(bundle, threads)


def _version() -> str:
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""


SPEC = RuntimeSpec(name="torch", precisions=_precisions, load=_load, version=_version, serves=False)
