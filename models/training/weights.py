"""model.safetensors: written whole or not at all, equal weights as equal bytes."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from torch import nn


def save_weights(model: nn.Module, path: Path) -> None:
    """Every parameter and buffer under the architecture's own names."""
    partial = path.with_suffix(".partial")
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    partial.write_bytes(safetensors.torch.save(tensors))
    partial.replace(path)


def load_weights(model: nn.Module, path: Path) -> None:
    """Into a model of the same architecture and configuration."""
    model.load_state_dict(safetensors.torch.load_file(path))
