"""Vision towers: pictures [N, 3, S, S] -> tokens [N, tokens, width]. CLIP's ViT, plain ViT, and small ones."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.bundle import PixelNorm
from models.layers.attention import Activation, Block, positions

# What the pictures of OpenAI's CLIP and of Chinese-CLIP are normalised with.
CLIP_PIXELS = PixelNorm(mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711))

Style = Literal["small", "clip", "vit", "cnn"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionConfig:
    """Sizes of a vision tower.

    style: `clip` is the ViT of CLIP and Chinese-CLIP (quick GELU, a norm before the blocks), `vit` that of Dosovitskiy
    et al. 2021, `small` one with a convolutional stem for few data, `cnn` convolutions alone.
    grid: 0 keeps one token a picture (the class token; the mean for `cnn`), g > 0 a g x g map of patches instead.
    """

    style: Style = "small"
    width: int = 96
    layers: int = 1
    heads: int = 4
    hidden: int | None = None  # of the MLP; four times the width without
    patch: int = 16
    grid: int = 0

    @property
    def tokens(self) -> int:
        return max(1, self.grid * self.grid)

    @property
    def output_dim(self) -> int:
        """D of a frame embedding: all its tokens, one after the other."""
        return self.tokens * self.width


_ACTIVATIONS: dict[Style, Activation] = {"small": "gelu", "clip": "quick_gelu", "vit": "gelu"}
_EPS: dict[Style, float] = {"small": 1e-5, "clip": 1e-5, "vit": 1e-12}


class ConvStem(nn.Module):
    """Stride-2 3x3 convolutions down to one vector a patch: [N, 3, H, W] -> [N, width, H / patch, W / patch].

    Xiao et al. 2021 (Early Convolutions Help Transformers See Better): a small ViT learns from few images with it.
    """

    def __init__(self, *, patch: int, width: int) -> None:
        super().__init__()
        halvings = patch.bit_length() - 1
        if patch != 1 << halvings or halvings < 1:
            raise ValueError(f"patch must be a power of two of at least 2, not {patch}")
        channels = [3, *(max(16, width >> (halvings - i)) for i in range(1, halvings)), width]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, width, 1))

    def forward(self, frames: Tensor) -> Tensor:
        out: Tensor = self.layers(frames)
        return out


class VisionTower(nn.Module):
    """Pictures [N, 3, size, size] -> [N, tokens * width]; the vision graph of every model that sees single frames."""

    def __init__(self, config: VisionConfig, *, size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        if size % config.patch:
            raise ValueError(f"pictures of {size} pixels are no whole number of patches of {config.patch}")
        side = size // config.patch
        if config.grid and side % config.grid:
            raise ValueError(f"a grid of {config.grid} does not divide {side} patches a side")
        self.side = side
        width, style = config.width, config.style
        if style in ("small", "cnn"):
            self.stem: nn.Module = ConvStem(patch=config.patch, width=width)
        else:
            self.stem = nn.Conv2d(3, width, config.patch, stride=config.patch, bias=style == "vit")
        if style != "cnn":
            self.cls = nn.Parameter(torch.randn(width) * 0.02)
            self.positions = positions(side * side + 1, width)
            eps = _EPS[style]
            self.before = nn.LayerNorm(width, eps=eps) if style == "clip" else nn.Identity()
            self.blocks = nn.ModuleList(
                Block(
                    width=width, heads=config.heads, hidden=config.hidden, dropout=dropout, act=_ACTIVATIONS[style],
                    eps=eps,
                )
                for _ in range(config.layers)
            )  # fmt: skip
            self.norm = nn.LayerNorm(width, eps=eps)

    def forward(self, frames: Tensor) -> Tensor:
        patches = self.stem(frames)  # [N, width, side, side]
        if self.config.style == "cnn":
            return self._kept(patches)
        x = patches.flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], 1, -1), x], dim=1) + self.positions
        x = self.before(x)
        for block in self.blocks:
            x = block(x)
        if not self.config.grid:
            cls: Tensor = self.norm(x[:, 0])
            return cls
        return self._kept(self.norm(x[:, 1:]).transpose(1, 2).unflatten(2, (self.side, self.side)))

    def _kept(self, patches: Tensor) -> Tensor:
        """[N, width, side, side] -> [N, tokens * width]: means of equal squares, row by row."""
        window = self.side // max(1, self.config.grid)
        pooled = functional.avg_pool2d(patches, window) if window > 1 else patches
        return pooled.flatten(2).transpose(1, 2).flatten(1)
