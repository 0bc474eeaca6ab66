"""ViViT's video encoders: clips [N, T, 3, S, S] -> [N, width]. Arnab et al. 2021 (arXiv 2103.15691), section 3.3.

All five embed tubelets and differ in what attends to what. `stack` is the part of each that is shaped like an image
ViT, under the same names, so that models/layers/vivit_from_image.py can fill it from one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layers.attention import Attention, Block, mlp, positions
from models.layers.tubelet import TubeletEmbedding

_EPS = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class VivitConfig:
    """Sizes of a video encoder. A token is `tubelet` frames of a square of `patch` pixels."""

    width: int = 96
    layers: int = 3
    heads: int = 4
    patch: int = 16
    tubelet: int = 2


class ClassTokenStack(nn.Module):
    """A ViT without its patches: tokens [N, L, width] -> the class token [N, width] (Eqs. 1-3)."""

    def __init__(self, *, length: int, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.randn(width) * 0.02)
        self.positions = positions(1 + length, width)
        self.blocks = nn.ModuleList(
            Block(width=width, heads=heads, dropout=dropout, act="gelu_tanh", eps=_EPS) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width, eps=_EPS)

    def forward(self, tokens: Tensor) -> Tensor:
        x = torch.cat([self.cls.expand(tokens.shape[0], 1, -1), tokens], dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        cls: Tensor = self.norm(x[:, 0])
        return cls


class SpaceThenTimeBlock(nn.Module):
    """[N, times, places, width] -> the same: attention within each time, then at each place, then an MLP (Eqs. 4-6)."""

    def __init__(self, *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.attention = Attention(width=width, heads=heads)
        self.time_norm = nn.LayerNorm(width, eps=_EPS)
        self.time_attention = Attention(width=width, heads=heads)
        self.norm2 = nn.LayerNorm(width, eps=_EPS)
        self.mlp = mlp(width, 4 * width, "gelu_tanh")
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        times, places = x.shape[1:3]
        over_space = self.attention(self.norm1(x).flatten(0, 1), None).unflatten(0, (-1, times))
        x = x + self.dropout(over_space)
        over_time = self.time_attention(self.time_norm(x).transpose(1, 2).flatten(0, 1), None)
        x = x + self.dropout(over_time.unflatten(0, (-1, places)).transpose(1, 2))
        out: Tensor = x + self.dropout(self.mlp(self.norm2(x)))
        return out


class SpaceAndTimeAttention(nn.Module):
    """[N, times, places, width] -> the same: half the heads attend within a time, half at a place (model 4).

    The weights are those of Attention over all tokens.
    """

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        if heads % 2:
            raise ValueError(f"{heads} heads do not halve into space and time")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        times, places, width = x.shape[1:]
        heads, depth = self.heads, width // self.heads
        space, time = self.qkv(x).view(-1, times, places, 3, heads, depth).split(heads // 2, dim=4)
        q, k, v = space.permute(3, 0, 1, 4, 2, 5).flatten(1, 2)  # [N * times, heads / 2, places, depth]
        over_space = functional.scaled_dot_product_attention(q, k, v)
        q, k, v = time.permute(3, 0, 2, 4, 1, 5).flatten(1, 2)  # [N * places, heads / 2, times, depth]
        over_time = functional.scaled_dot_product_attention(q, k, v)
        both = [
            over_space.view(-1, times, heads // 2, places, depth).transpose(2, 3),
            over_time.view(-1, places, heads // 2, times, depth).permute(0, 3, 1, 2, 4),
        ]
        out: Tensor = self.out(torch.cat(both, dim=3).flatten(3))
        return out


class SpaceAndTimeBlock(nn.Module):
    """A pre-norm block of SpaceAndTimeAttention."""

    def __init__(self, *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.attention = SpaceAndTimeAttention(width=width, heads=heads)
        self.norm2 = nn.LayerNorm(width, eps=_EPS)
        self.mlp = mlp(width, 4 * width, "gelu_tanh")
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x)))
        out: Tensor = x + self.dropout(self.mlp(self.norm2(x)))
        return out


class MeanStack(nn.Module):
    """Blocks that tell space from time: tokens [N, times, places, width] -> their mean [N, width]."""

    def __init__(self, blocks: list[SpaceThenTimeBlock] | list[SpaceAndTimeBlock], *, length: int, width: int) -> None:
        super().__init__()
        self.positions = positions(length, width)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width, eps=_EPS)

    def forward(self, tokens: Tensor) -> Tensor:
        x = tokens + self.positions.view(tokens.shape[1:])
        for block in self.blocks:
            x = block(x)
        mean: Tensor = self.norm(x).mean(dim=(1, 2))
        return mean


class VideoEncoder(nn.Module):
    """What the five share. times, places: tokens of a clip along time, and of one time."""

    stack: ClassTokenStack | MeanStack

    def __init__(self, config: VivitConfig, *, frames: int, size: int) -> None:
        super().__init__()
        if frames % config.tubelet or size % config.patch:
            raise ValueError(
                f"{frames} frames of {size} pixels are no whole number of tubelets of {config.tubelet} x {config.patch}"
            )
        self.times, self.places = frames // config.tubelet, (size // config.patch) ** 2
        self.tubelets = TubeletEmbedding(width=config.width, depth=config.tubelet, patch=config.patch)


class JointSpaceTime(VideoEncoder):
    """Model 1: every token attends to every other."""

    def __init__(self, config: VivitConfig, *, frames: int, size: int, dropout: float) -> None:
        super().__init__(config, frames=frames, size=size)
        self.stack = ClassTokenStack(
            length=self.times * self.places, width=config.width, heads=config.heads, layers=config.layers,
            dropout=dropout,
        )  # fmt: skip

    def forward(self, frames: Tensor) -> Tensor:
        out: Tensor = self.stack(self.tubelets(frames).flatten(1, 2))
        return out


class SpatialEncoder(VideoEncoder):
    """Each temporal index on its own: [N, T, 3, S, S] -> [N, times, width]."""

    def __init__(self, config: VivitConfig, *, frames: int, size: int, dropout: float) -> None:
        super().__init__(config, frames=frames, size=size)
        self.stack = ClassTokenStack(
            length=self.places, width=config.width, heads=config.heads, layers=config.layers, dropout=dropout
        )

    def encode_times(self, frames: Tensor) -> Tensor:
        out: Tensor = self.stack(self.tubelets(frames).flatten(0, 1)).unflatten(0, (-1, self.times))
        return out


class FactorisedEncoder(SpatialEncoder):
    """Model 2: the class tokens of all temporal indices are a sequence for a second transformer."""

    def __init__(self, config: VivitConfig, *, temporal_layers: int, frames: int, size: int, dropout: float) -> None:
        super().__init__(config, frames=frames, size=size, dropout=dropout)
        self.temporal = ClassTokenStack(
            length=self.times, width=config.width, heads=config.heads, layers=temporal_layers, dropout=dropout
        )

    def forward(self, frames: Tensor) -> Tensor:
        out: Tensor = self.temporal(self.encode_times(frames))
        return out


class FrameAverage(SpatialEncoder):
    """The baseline of Table 2: model 2 with a mean for its temporal transformer."""

    def forward(self, frames: Tensor) -> Tensor:
        return self.encode_times(frames).mean(dim=1)


class FactorisedSelfAttention(VideoEncoder):
    """Model 3: in every layer attention over space, then attention over time."""

    def __init__(self, config: VivitConfig, *, frames: int, size: int, dropout: float) -> None:
        super().__init__(config, frames=frames, size=size)
        blocks = [
            SpaceThenTimeBlock(width=config.width, heads=config.heads, dropout=dropout) for _ in range(config.layers)
        ]
        self.stack = MeanStack(blocks, length=self.times * self.places, width=config.width)

    def forward(self, frames: Tensor) -> Tensor:
        out: Tensor = self.stack(self.tubelets(frames))
        return out


class FactorisedDotProduct(VideoEncoder):
    """Model 4: in every layer some heads attend over space, the others over time."""

    def __init__(self, config: VivitConfig, *, frames: int, size: int, dropout: float) -> None:
        super().__init__(config, frames=frames, size=size)
        blocks = [
            SpaceAndTimeBlock(width=config.width, heads=config.heads, dropout=dropout) for _ in range(config.layers)
        ]
        self.stack = MeanStack(blocks, length=self.times * self.places, width=config.width)

    def forward(self, frames: Tensor) -> Tensor:
        out: Tensor = self.stack(self.tubelets(frames))
        return out
