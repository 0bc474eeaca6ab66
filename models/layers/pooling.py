"""From many vectors to one: [B, L, D] + mask [B, L] -> [B, ...]."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.layers.attention import MASKED


def present(mask: Tensor) -> Tensor:
    """Mask [B, L] -> [B, 1]: 1.0 where a row has anything."""
    return mask.any(dim=1, keepdim=True).to(torch.float32)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the positions of x [B, L, D] where mask [B, L] is True; zeros for a row with none."""
    weight = mask.to(x.dtype).unsqueeze(-1)
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1.0)


def masked_max(x: Tensor, mask: Tensor) -> Tensor:
    """Maximum over the positions where mask is True; zeros for a row with none."""
    highest = (x + (~mask).to(x.dtype).unsqueeze(-1) * MASKED).amax(1)
    return highest * mask.any(dim=1, keepdim=True).to(x.dtype)


class AttentionPool(nn.Module):
    """A mean weighted by a learned score of each position; zeros for a row with none."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1, bias=False))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        scores = self.score(x) + (~mask).to(x.dtype).unsqueeze(-1) * MASKED
        there = mask.to(x.dtype).unsqueeze(-1)
        return (x * torch.softmax(scores, dim=1) * there).sum(1)
