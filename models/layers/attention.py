"""Attention and transformer blocks: pre-norm as in ViT, post-norm as in BERT, and across two sequences."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

# Finite, so that a row with nothing to attend to stays finite; large enough that exp() of it is exactly 0 in fp32, and
# inside fp16's range.
MASKED = -1e4

Activation = Literal["gelu", "gelu_tanh", "quick_gelu"]


def attention_bias(mask: Tensor) -> Tensor:
    """Key mask [B, L] -> additive bias [B, 1, 1, L]."""
    return (~mask).to(torch.float32)[:, None, None, :] * MASKED


def positions(length: int, width: int) -> nn.Parameter:
    """A learned position table [length, width]."""
    return nn.Parameter(torch.randn(length, width) * 0.02)


class QuickGelu(nn.Module):
    """x * sigmoid(1.702 x), what CLIP was trained with."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


def activation(name: Activation) -> nn.Module:
    """The non-linearity of a transformer's MLP."""
    if name == "quick_gelu":
        return QuickGelu()
    return nn.GELU(approximate="tanh" if name == "gelu_tanh" else "none")


class Attention(nn.Module):
    """Multi-head self-attention with an additive bias over keys: [B, L, width] -> [B, L, width]."""

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


class CrossAttention(nn.Module):
    """Queries of one sequence, keys and values of another: [B, L, width], [B, M, other] -> [B, L, width].

    A row whose other sequence is all masked gets zeros: what stands under a mask never matters.
    """

    def __init__(self, *, width: int, other: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(other, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, other: Tensor, other_mask: Tensor) -> Tensor:
        batch, length, width = x.shape
        q = self.query(x).view(batch, length, self.heads, width // self.heads).transpose(1, 2)
        k, v = (
            self.key_value(other)
            .view(batch, other.shape[1], 2, self.heads, width // self.heads)
            .permute(2, 0, 3, 1, 4)
        )  # fmt: skip
        attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=attention_bias(other_mask))
        out: Tensor = self.out(attended.transpose(1, 2).reshape(batch, length, width))
        return out * other_mask.any(dim=1).to(out.dtype)[:, None, None]


def mlp(width: int, hidden: int, name: Activation) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), activation(name), nn.Linear(hidden, width))


class Block(nn.Module):
    """A transformer block; post_norm: norms after the sums, as in BERT, instead of before the branches."""

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        dropout: float,
        hidden: int | None = None,
        act: Activation = "gelu",
        eps: float = 1e-5,
        post_norm: bool = False,
    ) -> None:
        super().__init__()
        self.post_norm = post_norm
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attention = Attention(width=width, heads=heads)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = mlp(width, hidden or 4 * width, act)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        out: Tensor
        if self.post_norm:
            x = self.norm1(x + self.dropout(self.attention(x, bias)))
            out = self.norm2(x + self.dropout(self.mlp(x)))
        else:
            x = x + self.dropout(self.attention(self.norm1(x), bias))
            out = x + self.dropout(self.mlp(self.norm2(x)))
        return out


class CrossBlock(nn.Module):
    """A pre-norm block that also looks into another sequence: self-attention, cross-attention, MLP."""

    def __init__(self, *, width: int, other: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width=width, heads=heads)
        self.norm2 = nn.LayerNorm(width)
        self.cross = CrossAttention(width=width, other=other, heads=heads)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = mlp(width, 4 * width, "gelu")
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor | None, other: Tensor, other_mask: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), bias))
        x = x + self.dropout(self.cross(self.norm2(x), other, other_mask))
        out: Tensor = x + self.dropout(self.mlp(self.norm3(x)))
        return out


class Transformer(nn.Module):
    """Pre-norm blocks and a final norm: [B, L, width] + key mask [B, L] -> [B, L, width]."""

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        layers: int,
        dropout: float,
        hidden: int | None = None,
        act: Activation = "gelu",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(width=width, heads=heads, dropout=dropout, hidden=hidden, act=act, eps=eps) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        bias = None if mask is None else attention_bias(mask)
        for block in self.blocks:
            x = block(x, bias)
        out: Tensor = self.norm(x)
        return out
