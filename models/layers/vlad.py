"""Learnable pooling: frames [B, L, D] + mask [B, L] -> [B, output_dim], where the order of frames does not matter.

Miech, Laptev, Sivic 2017 (arXiv 1706.06905), with the flattening and the norms of its code (LOUPE); Lin et al. 2018
(arXiv 1811.05014). Scores of clusters have biases, LOUPE's other choice, where the published models have a batch norm:
its statistics would count masked frames.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from models.layers.norms import unit_norm
from models.layers.pooling import masked_mean

Pooling = Literal["netvlad", "netrvlad", "netfv", "softdbow", "nextvlad", "mean"]


def assignment(scores: Tensor, mask: Tensor) -> Tensor:
    """Scores [B, L, ..., K] + mask [B, L] -> shares [B, L, ..., K] that add up to 1 over K, or are 0 under the mask."""
    shares = torch.softmax(scores, dim=-1)
    return shares * mask.to(shares.dtype).view(*mask.shape, *[1] * (scores.ndim - 2))


def table(rows: int, columns: int, *, mean: float = 0.0) -> nn.Parameter:
    """[rows, columns] with a deviation of rows^-0.5, the papers' start of every cluster."""
    return nn.Parameter(torch.randn(rows, columns) * rows**-0.5 + mean)


class ClusterPool(nn.Module):
    """Frames assigned to K clusters in shares: softmax(x W + b)."""

    def __init__(self, *, width: int, clusters: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, clusters)
        nn.init.normal_(self.score.weight, std=width**-0.5)
        nn.init.normal_(self.score.bias, std=width**-0.5)


class SoftDBoW(ClusterPool):
    """How much of the clip each cluster got, sum_i a_k(x_i), of length 1: [B, K].

    Miech et al., "Beyond NetVLAD aggregation", soft assignment to words.
    """

    def __init__(self, *, width: int, clusters: int) -> None:
        super().__init__(width=width, clusters=clusters)
        self.output_dim = clusters

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return unit_norm(assignment(self.score(x), mask).sum(1), dim=1)


class NetRVLAD(ClusterPool):
    """Sums of each cluster's frames, sum_i a_k(x_i) x_i: [B, D * K], K fastest.

    Miech et al., "Beyond NetVLAD aggregation": NetVLAD without residuals.
    """

    def __init__(self, *, width: int, clusters: int) -> None:
        super().__init__(width=width, clusters=clusters)
        self.output_dim = width * clusters

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        shares = assignment(self.score(x), mask)
        return _flat(unit_norm(_sums(x, mask, shares), dim=1))


class NetVLAD(ClusterPool):
    """Sums of residuals of each cluster's frames, sum_i a_k(x_i) (x_i - c_k): [B, D * K], K fastest.

    Arandjelović et al. 2016 (arXiv 1511.07247), section 3.1, as Miech et al. use it: c_k is apart from the scores.
    """

    def __init__(self, *, width: int, clusters: int) -> None:
        super().__init__(width=width, clusters=clusters)
        self.centres = table(width, clusters)
        self.output_dim = width * clusters

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        shares = assignment(self.score(x), mask)
        residuals = _sums(x, mask, shares) - shares.sum(1, keepdim=True) * self.centres
        return _flat(unit_norm(residuals, dim=1))


class NetFV(ClusterPool):
    """[B, 2 * D * K], K fastest: sum_i a_k(x_i) (x_i - c_k) / s_k and sum_i a_k(x_i) (((x_i - c_k) / s_k)^2 - 1).

    Miech et al., "Beyond NetVLAD aggregation", Fisher vectors. As in LOUPE, only the first half is normalised
    within clusters. Deviations are squares and a floor, for which LOUPE's 1e-6 would be 0 in fp16.
    """

    FLOOR = 5e-2

    def __init__(self, *, width: int, clusters: int) -> None:
        super().__init__(width=width, clusters=clusters)
        self.centres = table(width, clusters)
        self.deviations = table(width, clusters, mean=1.0)
        self.output_dim = 2 * width * clusters

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        shares = assignment(self.score(x), mask)
        total = shares.sum(1, keepdim=True)  # [B, 1, K]
        sums = _sums(x, mask, shares)
        squares = _sums(x, mask, shares, power=2)
        deviation = self.deviations.square() + self.FLOOR

        first = (sums - total * self.centres) / deviation
        spread = squares - 2.0 * self.centres * sums + total * self.centres.square()
        second = spread / deviation.square() - total
        return torch.cat([_flat(unit_norm(first, dim=1)), _flat(second)], dim=1)


class NeXtVLAD(nn.Module):
    """An expanded frame falls into groups x_g, each with an attention and an assignment of its own.

    sum_i sum_g a_g(x_i) a_gk(x_i) (x_ig - c_k), from the whole frame's a: [B, (expansion * D / groups) * K], K fastest.
    Lin et al., "NeXtVLAD aggregation network"; normalised within clusters alone, as in the authors' code.
    """

    def __init__(self, *, width: int, clusters: int, expansion: int = 2, groups: int = 8) -> None:
        super().__init__()
        wide = expansion * width
        if wide % groups:
            raise ValueError(f"{groups} groups do not divide a frame of {wide}")
        self.groups, self.clusters, self.depth = groups, clusters, wide // groups
        self.expand = nn.Linear(width, wide)
        self.attention = nn.Linear(wide, groups)
        self.score = nn.Linear(wide, groups * clusters)
        self.centres = table(self.depth, clusters)
        self.output_dim = self.depth * clusters

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        batch, length = mask.shape
        x = self.expand(x)
        attention = torch.sigmoid(self.attention(x)).unsqueeze(-1)  # [B, L, groups, 1]
        scores = self.score(x).view(batch, length, self.groups, self.clusters)
        shares = (assignment(scores, mask) * attention).flatten(1, 2)
        pieces = x.view(batch, length, self.groups, self.depth).flatten(1, 2)
        of_pieces = mask.unsqueeze(2).expand(-1, -1, self.groups).flatten(1, 2)
        residuals = _sums(pieces, of_pieces, shares) - shares.sum(1, keepdim=True) * self.centres
        return unit_norm(residuals, dim=1).flatten(1)


class MeanPool(nn.Module):
    """What learnable pooling is held against: [B, D]."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.output_dim = width

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return masked_mean(x, mask)


LearnablePool = SoftDBoW | NetRVLAD | NetVLAD | NetFV | NeXtVLAD | MeanPool

_CLUSTERED: dict[Pooling, type[SoftDBoW | NetRVLAD | NetVLAD | NetFV | NeXtVLAD]] = {
    "netvlad": NetVLAD,
    "netrvlad": NetRVLAD,
    "netfv": NetFV,
    "softdbow": SoftDBoW,
    "nextvlad": NeXtVLAD,
}


def learnable_pool(kind: Pooling, *, width: int, clusters: int) -> LearnablePool:
    """The named pooling of frames of `width`. Raises ValueError where NeXtVLAD's groups do not fit."""
    return MeanPool(width=width) if kind == "mean" else _CLUSTERED[kind](width=width, clusters=clusters)


class LearnablePooling(nn.Module):
    """Frames normalised, pooled, made of length 1 and projected: [B, L, width] + mask -> [B, output_dim]."""

    def __init__(self, kind: Pooling, *, width: int, clusters: int, output_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.pool = learnable_pool(kind, width=width, clusters=clusters)
        self.project = projection(self.pool.output_dim, output_dim, clusters=clusters)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        out: Tensor = self.project(unit_norm(self.pool(self.norm(x), mask), dim=1))
        return out


def projection(width: int, output_dim: int, *, clusters: int) -> nn.Linear:
    """From what was pooled to a hidden layer, with LOUPE's deviation: a vector of length 1 must not vanish in it."""
    layer = nn.Linear(width, output_dim)
    nn.init.normal_(layer.weight, std=clusters**-0.5)
    return layer


def _sums(x: Tensor, mask: Tensor, shares: Tensor, power: int = 1) -> Tensor:
    """x [B, L, D], shares [B, L, K] -> [B, D, K]. A share of 0 alone would not silence a number that overflows."""
    x = x * mask.unsqueeze(-1).to(x.dtype)
    return torch.matmul(x.pow(power).transpose(1, 2), shares)


def _flat(x: Tensor) -> Tensor:
    """[B, D, K] -> [B, D * K] of length 1."""
    return unit_norm(x.flatten(1), dim=1)
