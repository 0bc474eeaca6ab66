"""Context gating and mixtures of experts against their formulas."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.layers.experts import MixtureOfExperts
from models.layers.gating import ContextGating


@given(batch=st.integers(1, 4), width=st.integers(1, 9), seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_context_gating_equals_its_formula(batch: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    layer, x = ContextGating(width).double(), torch.randn(batch, width, dtype=torch.float64)
    w, b = (each.detach().numpy() for each in (layer.gate.weight, layer.gate.bias))
    for row, given_row in zip(layer(x).detach().numpy(), x.numpy(), strict=True):
        assert np.allclose(row, given_row / (1.0 + np.exp(-(w @ given_row + b))))


@given(
    batch=st.integers(1, 3), width=st.integers(1, 6), classes=st.integers(1, 5), experts=st.integers(1, 4),
    seed=st.integers(0, 10_000),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_a_mixture_of_experts_equals_its_formula(batch: int, width: int, classes: int, experts: int, seed: int) -> None:
    torch.manual_seed(seed)
    layer = MixtureOfExperts(width=width, classes=classes, experts=experts, dropout=0.5).double().eval()
    x = torch.randn(batch, width, dtype=torch.float64)
    probabilities = layer(x).detach().numpy()
    assert probabilities.shape == (batch, classes)

    gate = layer.gates.weight.detach().numpy().reshape(classes, experts + 1, width)
    weight = layer.experts.weight.detach().numpy().reshape(classes, experts, width)
    bias = layer.experts.bias.detach().numpy().reshape(classes, experts)
    for n, row in enumerate(x.numpy()):
        for c in range(classes):
            odds = [math.exp(gate[c, e] @ row) for e in range(experts + 1)]
            yes = [1.0 / (1.0 + math.exp(-(weight[c, e] @ row + bias[c, e]))) for e in range(experts)]
            expected = sum(odds[e] / sum(odds) * yes[e] for e in range(experts))
            assert math.isclose(probabilities[n, c], expected, rel_tol=1e-9)


def test_only_the_dummy_can_silence_a_class_that_every_expert_sees() -> None:
    layer = MixtureOfExperts(width=1, classes=1, experts=2, dropout=0.0)
    with torch.no_grad():
        layer.gates.weight.copy_(torch.tensor([[0.0], [0.0], [1.0]]))  # x speaks for the dummy
        layer.experts.weight.zero_()
        layer.experts.bias.fill_(20.0)
    x = torch.tensor([[-20.0], [0.0], [20.0]])
    assert torch.allclose(layer(x)[:, 0], torch.tensor([1.0, 2 / 3, 0.0]), atol=1e-6)


def test_experts_that_are_dropped_leave_a_probability() -> None:
    torch.manual_seed(0)
    layer = MixtureOfExperts(width=8, classes=50, experts=2, dropout=0.9).train()
    x = 10 * torch.randn(64, 8)
    dropped = layer(x)
    assert not torch.allclose(dropped, layer.eval()(x))
    assert dropped.min() >= 0
    assert dropped.max() <= 1
