"""Text towers: token ids -> states, in steps that fusions can take apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.layers.attention import Block, attention_bias, positions


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """Sizes of a text tower.

    style: `bert` has BERT's norms (after each branch, and on the embeddings), so that weights of BERT, RoBERTa-wwm and
    MacBERT fit; `small` is a pre-norm transformer, which learns sooner from nothing.
    """

    style: Literal["small", "bert"] = "small"
    width: int = 96
    layers: int = 2
    heads: int = 4
    hidden: int | None = None  # of the MLP; four times the width without


class TextTower(nn.Module):
    """ids [B, L] + mask [B, L] -> [B, L, width].

    Which field a token belongs to (title, OCR, ASR, tags) is counted from the separators before it, and has an
    embedding of its own.
    """

    def __init__(
        self, config: TextConfig, *, vocab: int, separator: int, fields: int, length: int, dropout: float
    ) -> None:
        super().__init__()
        bert, width = config.style == "bert", config.width
        eps = 1e-12 if bert else 1e-5
        self.width = width
        self.separator = separator
        self.last_field = fields - 1
        self.tokens = nn.Embedding(vocab, width)
        self.segments = nn.Embedding(fields, width)
        self.positions = positions(length, width)
        self.before = nn.LayerNorm(width, eps=eps) if bert else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(width=width, heads=config.heads, hidden=config.hidden, dropout=dropout, eps=eps, post_norm=bert)
            for _ in range(config.layers)
        )
        self.norm = nn.Identity() if bert else nn.LayerNorm(width, eps=eps)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.segments.weight, std=0.02)

    def embed(self, ids: Tensor) -> Tensor:
        """[B, L] -> [B, L, width], before any block."""
        ends = (ids == self.separator).to(torch.int64)
        segment = (ends.cumsum(1) - ends).clamp(max=self.last_field)
        x = self.tokens(ids) + self.segments(segment) + self.positions[: ids.shape[1]]
        out: Tensor = self.dropout(self.before(x))
        return out

    def run(self, x: Tensor, mask: Tensor, blocks: Sequence[nn.Module] | nn.ModuleList) -> Tensor:
        """Some of the blocks over embedded tokens, of text or of anything of the same width; no final norm."""
        bias = attention_bias(mask)
        for block in blocks:
            x = block(x, bias)
        return x

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        out: Tensor = self.norm(self.run(self.embed(ids), mask, self.blocks))
        return out
