"""model.safetensors: written whole or not at all, equal weights as equal bytes."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from models.architectures.base import Architecture
from schemas.errors import UserError

MOST_BYTES = 2_000_000_000  # of a graph's weights: an ONNX file is one protobuf message, which ends at 2 GiB


def save_weights(model: nn.Module, path: Path) -> None:
    """Every parameter and buffer under the architecture's own names."""
    partial = path.with_suffix(".partial")
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    partial.write_bytes(safetensors.torch.save(tensors))
    partial.replace(path)


def check_exportable(model: Architecture) -> None:
    """Raise UserError where the weights of a graph are more than an ONNX file holds. They may be on the meta device."""
    for graph, module in (("vision", model.vision), ("fusion", model.fusion)):
        size = sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
        if size > MOST_BYTES:
            raise UserError(
                f"the {graph} graph would have {size / 1e9:.1f} GB of weights; an ONNX file holds {MOST_BYTES / 1e9:g}",
                "choose a smaller preset, or a smaller checkpoint for its towers",
            )


def load_weights(model: nn.Module, path: Path) -> None:
    """Into a model of the same architecture and configuration. Raises UserError where the file is damaged."""
    try:
        model.load_state_dict(safetensors.torch.load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise damaged(path, error, "delete it, and make it again or copy it again") from error


def damaged(path: Path, error: Exception, remedy: str) -> UserError:
    """What to raise for a file that is not what was written, by what its reader says."""
    why = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return UserError(f"{path} is damaged: {why}", remedy)
