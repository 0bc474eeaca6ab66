"""Small parts that all architectures share."""

from __future__ import annotations

import copy

import pytest
import torch

from models.layers.attention import CrossAttention
from models.layers.pooling import AttentionPool, masked_max, masked_mean
from models.towers.text import TextConfig, TextTower

MASK = torch.tensor([[True, True, False], [False, False, False]])


def test_a_masked_mean_ignores_what_is_masked_and_is_zero_for_nothing() -> None:
    x = torch.tensor([[[1.0], [3.0], [100.0]], [[1.0], [2.0], [3.0]]])
    assert masked_mean(x, MASK).tolist() == [[2.0], [0.0]]


def test_a_masked_maximum_ignores_what_is_masked_and_is_zero_for_nothing() -> None:
    x = torch.tensor([[[-1.0], [-3.0], [100.0]], [[1.0], [2.0], [3.0]]])
    assert masked_max(x, MASK).tolist() == [[-1.0], [0.0]]


def test_an_attention_pool_lies_between_what_is_present_and_is_zero_for_nothing() -> None:
    torch.manual_seed(0)
    x = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [100.0, 0.0]], [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]])
    pooled = AttentionPool(2)(x, MASK)
    assert 1.0 < pooled[0, 0] < 3.0
    assert pooled[1].tolist() == [0.0, 0.0]


def test_attention_into_nothing_is_zero() -> None:
    torch.manual_seed(0)
    attention = CrossAttention(width=8, other=4, heads=2)
    out = attention(torch.randn(2, 5, 8), torch.randn(2, 3, 4), MASK)
    assert out[0].abs().max() > 0
    assert out[1].abs().max() == 0


@pytest.mark.parametrize("style", ["small", "bert"])
@pytest.mark.parametrize(("separators", "used"), [(3, True), (2, False)])
def test_the_field_a_token_stands_in_matters(style: str, separators: int, used: bool) -> None:
    """Separators alone tell fields apart: with three of them, four segments are in use; with two, the last is not."""
    torch.manual_seed(0)
    config = TextConfig(style=style, width=8, heads=2, layers=1)  # type: ignore[arg-type]
    tower = TextTower(config, vocab=50, separator=3, fields=4, length=16, dropout=0.0).eval()
    ids = torch.tensor([[2, 10, 11, 3, 12, 13, 3, 3 if separators == 3 else 15, 14]])
    changed = copy.deepcopy(tower)
    with torch.no_grad():
        changed.segments.weight[3] = torch.randn(8)
        before, after = (each(ids, torch.ones_like(ids, dtype=torch.bool)) for each in (tower, changed))
    assert torch.allclose(before, after) is not used
