"""Classifiers that mix the answers of several."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MixtureOfExperts(nn.Module):
    """[B, width] -> probabilities [B, classes], each class on its own: YouTube-8M's and Willow's classifier.

    Abu-El-Haija et al. 2016 (arXiv 1609.08675), mixture of experts: a class has `experts` logistic regressions and
    a softmax gate over them and a dummy, which says no. Dropout falls on the experts' logits: a dropped one is
    undecided, and what comes out stays a probability.
    """

    def __init__(self, *, width: int, classes: int, experts: int, dropout: float) -> None:
        super().__init__()
        self.classes, self.count = classes, experts
        self.gates = nn.Linear(width, classes * (experts + 1), bias=False)
        self.experts = nn.Linear(width, classes * experts)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        gates = torch.softmax(self.gates(x).view(-1, self.classes, self.count + 1), dim=-1)
        experts = torch.sigmoid(self.dropout(self.experts(x)).view(-1, self.classes, self.count))
        return (gates[:, :, : self.count] * experts).sum(-1)
