"""The small parts that architectures are made of. Masks are True where something is."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

# Finite, so that a row with nothing to attend to stays finite; large enough that exp() of it is exactly 0 in fp32, and
# inside fp16's range.
MASKED = -1e4


def attention_bias(mask: Tensor) -> Tensor:
    """Key mask [B, L] -> additive bias [B, 1, 1, L]."""
    return (~mask).to(torch.float32)[:, None, None, :] * MASKED


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the positions of x [B, L, D] where mask [B, L] is True; zeros for a row with none."""
    weight = mask.to(x.dtype).unsqueeze(-1)
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1.0)


class Attention(nn.Module):
    """Multi-head self-attention with an additive bias over keys."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        x = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)  # [B, heads, L, D / heads]
        out: Tensor = self.out(x.transpose(1, 2).reshape(batch, length, width))
        return out


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, *, width: int, heads: int, dropout: float, expansion: int = 4) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width=width, heads=heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), bias))
        out: Tensor = x + self.dropout(self.mlp(self.norm2(x)))
        return out


class Transformer(nn.Module):
    """Blocks and a final norm: [B, L, width] + key mask [B, L] -> [B, L, width]."""

    def __init__(self, *, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width=width, heads=heads, dropout=dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        bias = None if mask is None else attention_bias(mask)
        for block in self.blocks:
            x = block(x, bias)
        out: Tensor = self.norm(x)
        return out


def positions(length: int, width: int) -> nn.Parameter:
    """A learned position table [length, width]."""
    return nn.Parameter(torch.randn(length, width) * 0.02)


class ConvStem(nn.Module):
    """Stride-2 3x3 convolutions down to one vector a patch: [N, 3, H, W] -> [N, (H / patch)^2, width].

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
        return out.flatten(2).transpose(1, 2)


class FrameEncoder(nn.Module):
    """A small ViT over single frames: [N, 3, size, size] -> [N, width]. Pooled by its class token."""

    def __init__(self, *, size: int, patch: int, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.stem = ConvStem(patch=patch, width=width)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = positions((size // patch) ** 2 + 1, width)
        self.transformer = Transformer(width=width, heads=heads, layers=layers, dropout=dropout)

    def forward(self, frames: Tensor) -> Tensor:
        patches = self.stem(frames)
        x = torch.cat([self.cls.expand(patches.shape[0], -1, -1), patches], dim=1) + self.positions
        out: Tensor = self.transformer(x)
        return out[:, 0]


class MotionEncoder(nn.Module):
    """Frame embeddings in their order: [B, T, D] + mask -> [B, T, width].

    Time positions say where a frame stands; a convolution over neighbours says what changed, which is the direction
    of motion and would cost attention a layer of its own to find.
    """

    def __init__(self, *, frames: int, vision_dim: int, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Linear(vision_dim, width)
        self.change = nn.Conv1d(vision_dim, width, 3, padding=1)
        self.positions = positions(frames, width)
        self.transformer = Transformer(width=width, heads=heads, layers=layers, dropout=dropout)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        frames = frames * mask.unsqueeze(-1).to(frames.dtype)
        change = functional.gelu(self.change(frames.transpose(1, 2)).transpose(1, 2))
        x = self.project(frames) + change + self.positions[: frames.shape[1]]
        out: Tensor = self.transformer(x, mask)
        return out


class TextEncoder(nn.Module):
    """A small transformer over characters: ids [B, L] + mask -> [B, L, width].

    Which field a character belongs to (title, OCR, ASR, tags) is counted from the separators before it.
    """

    def __init__(
        self, *, vocab: int, separator: int, fields: int, length: int, width: int, heads: int, layers: int,
        dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.separator = separator
        self.last_field = fields - 1
        self.tokens = nn.Embedding(vocab, width)
        self.segments = nn.Embedding(fields, width)
        self.positions = positions(length, width)
        self.transformer = Transformer(width=width, heads=heads, layers=layers, dropout=dropout)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.segments.weight, std=0.02)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        ends = (ids == self.separator).to(torch.int64)
        segment = (ends.cumsum(1) - ends).clamp(max=self.last_field)
        x = self.tokens(ids) + self.segments(segment) + self.positions[: ids.shape[1]]
        out: Tensor = self.transformer(x, mask)
        return out


class AudioEncoder(nn.Module):
    """Log-mel [B, A, F] + mask -> ([B, ceil(A / 8), width], mask): three stride-2 convolutions and a transformer.

    Positions after the end are zeroed before each convolution, so that they equal the convolution's own padding.
    """

    STRIDES = 3

    def __init__(self, *, mels: int, length: int, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(mels)
        channels = [mels, *[width] * self.STRIDES]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, 3, stride=2, padding=1) for before, after in pairwise(channels)
        )
        self.positions = positions(-(-length // 2**self.STRIDES), width)
        self.transformer = Transformer(width=width, heads=heads, layers=layers, dropout=dropout)

    def forward(self, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        x = self.norm(audio)
        for convolution in self.convolutions:
            x = x * mask.unsqueeze(-1).to(x.dtype)
            x = functional.gelu(convolution(x.transpose(1, 2)).transpose(1, 2))
            mask = mask[:, ::2]
        return self.transformer(x + self.positions[: x.shape[1]], mask), mask
