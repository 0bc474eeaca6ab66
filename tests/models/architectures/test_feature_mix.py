"""What feature_mix reads besides its two streams, and how these tell each other what they know."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.architectures.feature_mix import SHIFTS
from models.layers.bottleneck import BottleneckFusion
from models.layers.frames import frame_similarities


@given(length=st.integers(1, 8), width=st.integers(2, 6), seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_similarities_equal_their_formula(length: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    x, mask = torch.randn(2, length, width, dtype=torch.float64), torch.rand(2, length) < 0.8
    found = frame_similarities(torch.where(mask.unsqueeze(-1), x, 1e3 * x), mask, SHIFTS).numpy()
    for row, frames, there in zip(found, x.numpy(), mask.numpy(), strict=True):
        expected = []
        for shift in SHIFTS:
            cosines = [
                frames[t] @ frames[t - shift] / np.linalg.norm(frames[t]) / np.linalg.norm(frames[t - shift])
                for t in range(shift, length)
                if there[t] and there[t - shift]
            ]
            expected += [np.mean(cosines), np.min(cosines)] if cosines else [0.0, 0.0]
        assert np.allclose(row, expected, atol=1e-6)


def test_identical_frames_are_alike_at_every_shift() -> None:
    x = torch.randn(1, 1, 5).expand(1, 6, 5).clone().requires_grad_()
    found = frame_similarities(x, torch.ones(1, 6, dtype=torch.bool), SHIFTS)
    assert torch.allclose(found, torch.ones(1, 6), atol=1e-6)
    torch.autograd.backward(found.sum())
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_a_cut_shows_in_the_least_similarity() -> None:
    scene, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    x = torch.stack([scene] * 4 + [other] * 4)[None]
    mean1, least1, mean2, least2, mean3, least3 = frame_similarities(x, torch.ones(1, 8, dtype=torch.bool), SHIFTS)[0]
    assert [float(least) for least in (least1, least2, least3)] == [0.0, 0.0, 0.0]
    assert [float(mean) for mean in (mean1, mean2, mean3)] == pytest.approx([6 / 7, 4 / 6, 2 / 5])


@pytest.mark.parametrize("present", [0, 1, 2, 3])
def test_shifts_longer_than_the_clip_are_zero(present: int) -> None:
    mask = torch.arange(6)[None] < present
    found = frame_similarities(torch.ones(1, 6, 4), mask, SHIFTS)[0].view(len(SHIFTS), 2)
    assert torch.allclose(found, torch.tensor([[float(shift < present)] * 2 for shift in SHIFTS]))


def test_streams_learn_of_each_other_through_the_bottleneck_and_only_what_is_not_masked() -> None:
    torch.manual_seed(0)
    fusion = BottleneckFusion(width=8, heads=2, layers=2, tokens=2, dropout=0.0).eval()
    one, other = torch.randn(1, 5, 8), torch.randn(1, 4, 8)
    all_of_one, some = torch.ones(1, 5, dtype=torch.bool), torch.tensor([[True, True, False, False]])
    changed, hidden = other.clone(), other.clone()
    changed[:, 0], hidden[:, 3] = torch.randn(2, 8)
    with torch.inference_mode():
        plain, told, not_told = (fusion(one, all_of_one, x, some)[0] for x in (other, changed, hidden))
    assert (plain - told).abs().max() > 1e-4
    assert torch.equal(plain, not_told)


def test_a_bottleneck_of_one_layer_would_pass_nothing_on() -> None:
    with pytest.raises(ValueError, match="two layers"):
        BottleneckFusion(width=8, heads=2, layers=1, tokens=2, dropout=0.0)
