"""Gates that weigh the entries of a vector by the whole of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ContextGating(nn.Module):
    """sigmoid(W x + b) * x: [B, width] -> [B, width]. Miech, Laptev, Sivic 2017 (arXiv 1706.06905)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.gate(x))
