"""What every fusion ends in: the embedding that is stored, and logits of both levels read from it."""

from __future__ import annotations

from torch import Tensor, nn

Answers = tuple[Tensor, Tensor, Tensor]  # level1_logits [B, C1], level2_logits [B, C2], embedding [B, E]


class Heads(nn.Module):
    """[B, width] -> Answers, by way of an embedding of `embedding_dim`."""

    def __init__(self, *, width: int, embedding_dim: int, n_level1: int, n_level2: int, dropout: float) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(width, embedding_dim), nn.GELU(), nn.LayerNorm(embedding_dim))
        self.dropout = nn.Dropout(dropout)
        self.level1 = nn.Linear(embedding_dim, n_level1)
        self.level2 = nn.Linear(embedding_dim, n_level2)

    def forward(self, pooled: Tensor) -> Answers:
        embedding = self.embed(pooled)
        features = self.dropout(embedding)
        return self.level1(features), self.level2(features), embedding
