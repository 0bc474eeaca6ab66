"""Two sequences that exchange what they know through a few tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.layers.attention import Block, attention_bias, positions


class BottleneckFusion(nn.Module):
    """[B, L, width], [B, M, width] and their masks -> the same two sequences, each told of the other.

    Nagrani et al. 2021 (arXiv 2107.00135), section 3.2: in each layer a sequence attends to itself and to the shared
    bottleneck tokens, and what both made of these is averaged. Raises ValueError for a single layer: what a sequence
    says goes into the bottleneck in one layer and comes out in the next.
    """

    def __init__(self, *, width: int, heads: int, layers: int, tokens: int, dropout: float) -> None:
        super().__init__()
        if layers < 2:
            raise ValueError(f"a bottleneck takes two layers to pass anything on, not {layers}")
        self.bottleneck = positions(tokens, width)
        self.blocks = nn.ModuleList(
            nn.ModuleList(Block(width=width, heads=heads, dropout=dropout) for _ in range(2)) for _ in range(layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, one: Tensor, one_mask: Tensor, other: Tensor, other_mask: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.bottleneck.shape[0]
        shared = self.bottleneck.expand(one.shape[0], -1, -1)
        always = one_mask.new_ones(one.shape[0], tokens)
        streams = [one, other]
        biases = [attention_bias(torch.cat([always, mask], dim=1)) for mask in (one_mask, other_mask)]
        for pair in self.blocks:
            told = [
                block(torch.cat([shared, stream], dim=1), bias)
                for block, stream, bias in zip(pair, streams, biases, strict=True)  # type: ignore[call-overload]
            ]
            shared = torch.stack([x[:, :tokens] for x in told]).mean(0)
            streams = [x[:, tokens:] for x in told]
        one, other = (norm(stream) for norm, stream in zip(self.norms, streams, strict=True))
        return one, other
