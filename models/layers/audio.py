"""Log-mel features to tokens."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from models.layers.attention import Transformer, positions


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioConfig:
    """Sizes of an audio encoder."""

    width: int = 96
    heads: int = 4
    layers: int = 1


class AudioEncoder(nn.Module):
    """Log-mel [B, A, F] + mask -> ([B, ceil(A / 8), width], mask): three stride-2 convolutions and a transformer.

    Positions after the end are zeroed before each convolution, so that they equal the convolution's own padding.
    """

    STRIDES = 3

    def __init__(self, config: AudioConfig, *, mels: int, length: int, dropout: float) -> None:
        super().__init__()
        self.width = config.width
        self.norm = nn.LayerNorm(mels)
        channels = [mels, *[config.width] * self.STRIDES]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, 3, stride=2, padding=1) for before, after in pairwise(channels)
        )
        self.positions = positions(-(-length // 2**self.STRIDES), config.width)
        self.transformer = Transformer(width=config.width, heads=config.heads, layers=config.layers, dropout=dropout)

    def forward(self, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        x = self.norm(audio)
        for convolution in self.convolutions:
            x = x * mask.unsqueeze(-1).to(x.dtype)
            x = functional.gelu(convolution(x.transpose(1, 2)).transpose(1, 2))
            mask = mask[:, ::2]
        return self.transformer(x + self.positions[: x.shape[1]], mask), mask
