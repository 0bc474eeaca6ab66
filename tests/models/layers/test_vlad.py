"""Learnable pooling against its papers' formulas, one frame and one cluster at a time."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from models.layers.norms import BatchNorm, unit_norm
from models.layers.vlad import LearnablePooling, NetFV, NeXtVLAD, Pooling, learnable_pool

Array = NDArray[np.float64]
Oracle = Callable[[dict[str, Array], list[Array]], Array]


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max())
    return np.asarray(e / e.sum())


def sigmoid(x: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


def normal(x: Array) -> Array:
    length = np.linalg.norm(x)
    return x / length if length > 0 else x


def clusterwise(x: Array) -> Array:
    """[D, K]: each column of length 1."""
    return np.stack([normal(column) for column in x.T], axis=1)


def flat(x: Array) -> Array:
    """The row of x[0] first: all clusters of the first entry, then all of the second."""
    return np.concatenate(list(x))


def shares(w: dict[str, Array], frame: Array) -> Array:
    return softmax(w["score.weight"] @ frame + w["score.bias"])


def softdbow(w: dict[str, Array], frames: list[Array]) -> Array:
    return normal(np.sum([shares(w, x) for x in frames], axis=0) if frames else np.zeros(len(w["score.bias"])))


def netrvlad(w: dict[str, Array], frames: list[Array]) -> Array:
    out = np.zeros(w["score.weight"].T.shape)
    for x in frames:
        out += x[:, None] * shares(w, x)[None, :]
    return normal(flat(clusterwise(out)))


def netvlad(w: dict[str, Array], frames: list[Array]) -> Array:
    out = np.zeros(w["centres"].shape)
    for x in frames:
        for k, share in enumerate(shares(w, x)):
            out[:, k] += share * (x - w["centres"][:, k])
    return normal(flat(clusterwise(out)))


def netfv(w: dict[str, Array], frames: list[Array]) -> Array:
    first, second = (np.zeros(w["centres"].shape) for _ in range(2))
    for x in frames:
        for k, share in enumerate(shares(w, x)):
            z = (x - w["centres"][:, k]) / (w["deviations"][:, k] ** 2 + NetFV.FLOOR)
            first[:, k] += share * z
            second[:, k] += share * (z**2 - 1.0)
    return np.concatenate([normal(flat(clusterwise(first))), normal(flat(second))])


def nextvlad(w: dict[str, Array], frames: list[Array]) -> Array:
    depth, clusters = w["centres"].shape
    groups = len(w["attention.bias"])
    out = np.zeros((depth, clusters))
    for frame in frames:
        x = w["expand.weight"] @ frame + w["expand.bias"]
        attention = sigmoid(w["attention.weight"] @ x + w["attention.bias"])
        scores = w["score.weight"] @ x + w["score.bias"]
        for g in range(groups):
            piece = x[g * depth : (g + 1) * depth]
            for k, share in enumerate(softmax(scores[g * clusters : (g + 1) * clusters])):
                out[:, k] += attention[g] * share * (piece - w["centres"][:, k])
    return flat(clusterwise(out))


ORACLES: dict[Pooling, Oracle] = {
    "netvlad": netvlad,
    "netrvlad": netrvlad,
    "netfv": netfv,
    "softdbow": softdbow,
    "nextvlad": nextvlad,
}
KINDS = sorted(ORACLES)


def random_weights(layer: nn.Module) -> dict[str, Array]:
    """Give every parameter, biases too, numbers that no initialiser would."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(std=0.7)
    return {name: parameter.detach().double().numpy() for name, parameter in layer.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
@given(
    batch=st.integers(1, 3), length=st.integers(1, 7), width=st.sampled_from([4, 8, 12]), clusters=st.integers(1, 6),
    seed=st.integers(0, 10_000),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_it_equals_the_formula(kind: Pooling, batch: int, length: int, width: int, clusters: int, seed: int) -> None:
    torch.manual_seed(seed)
    layer = learnable_pool(kind, width=width, clusters=clusters).double()
    weights = random_weights(layer)
    x, mask = torch.randn(batch, length, width, dtype=torch.float64), torch.rand(batch, length) < 0.7

    with torch.inference_mode(), patch("models.layers.norms.SMALLEST", 1e-30):  # papers have no fp16 to spare
        pooled = layer(torch.where(mask.unsqueeze(-1), x, 1e3 * x), mask).numpy()
    assert pooled.shape == (batch, layer.output_dim)
    for row, frames, there in zip(pooled, x.numpy(), mask.numpy(), strict=True):
        assert np.allclose(row, ORACLES[kind](weights, list(frames[there])), atol=1e-6)


def test_nextvlad_follows_its_groups_and_expansion() -> None:
    torch.manual_seed(1)
    layer = NeXtVLAD(width=6, clusters=3, expansion=4, groups=3).double()
    weights = random_weights(layer)
    x, mask = torch.randn(1, 5, 6, dtype=torch.float64), torch.ones(1, 5, dtype=torch.bool)
    assert np.allclose(layer(x, mask).detach().numpy()[0], nextvlad(weights, list(x[0].numpy())), atol=1e-6)
    with pytest.raises(ValueError, match="8 groups do not divide a frame of 10"):
        NeXtVLAD(width=5, clusters=3)


@pytest.mark.parametrize("kind", [*KINDS, "mean"])
def test_gradients_are_finite_for_nothing_and_for_frames_that_are_alike(kind: Pooling) -> None:
    torch.manual_seed(0)
    layer = LearnablePooling(kind, width=8, clusters=4, output_dim=5)
    x = torch.randn(3, 6, 8)
    x[1] = x[1, :1]
    x[2] = 3.0  # without any difference a layer norm leaves zeros
    mask = torch.ones(3, 6, dtype=torch.bool)
    mask[0] = False
    x.requires_grad_()
    out = layer(x, mask)
    assert torch.allclose(out[0], layer.project.bias)
    torch.autograd.backward(out.square().sum())
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert x.grad[0].abs().max() == 0
    assert all(torch.isfinite(each.grad).all() for each in layer.parameters() if each.grad is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_pooled_alike_in_fp16(kind: Pooling) -> None:
    """Sizes of the published models: 256 clusters of 1024 numbers, whose squares fp16 could not add up."""
    torch.manual_seed(0)
    layer = learnable_pool(kind, width=1024, clusters=256)
    x, mask = nn.functional.layer_norm(torch.randn(2, 8, 1024), (1024,)), torch.ones(2, 8, dtype=torch.bool)
    mask[1] = False
    with torch.inference_mode():
        whole, half = layer(x, mask), layer.half()(x.half(), mask).float()
    assert torch.isfinite(half).all()
    assert nn.functional.cosine_similarity(whole[:1], half[:1]) > 0.99
    assert abs(float(half[0].norm() / whole[0].norm()) - 1.0) < 0.01
    assert half[1].abs().max() == 0


@given(scale=st.sampled_from([1e-4, 1e-2, 1.0, 1e2, 1e4]), length=st.integers(1, 3000), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_a_unit_norm_is_one_in_fp16_whatever_the_size(scale: float, length: int, seed: int) -> None:
    x = torch.rand(length, generator=torch.Generator().manual_seed(seed)) + 0.5
    one = unit_norm((scale * x).half(), dim=0).float().norm()
    assert abs(float(one) - 1.0) < 0.01


def test_a_vector_too_small_for_fp16_stays_smaller_than_one() -> None:
    x = torch.tensor([3.0, 4.0])
    lengths = [float(unit_norm(scale * x, dim=0).norm()) for scale in (1.0, 1e-4, 1e-6, 1e-8, 0.0)]
    assert lengths[:2] == pytest.approx([1.0, 1.0])
    assert 1.0 > 0.1 > lengths[2] > lengths[3] > lengths[4] == 0.0


def test_a_unit_norm_has_the_gradient_of_its_formula() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(3, 5, dtype=torch.float64, requires_grad=True), torch.randn(3, 5)
    ours = torch.autograd.grad((unit_norm(x, dim=1) * weight).sum(), x)[0]
    formula = torch.autograd.grad((x / x.norm(dim=1, keepdim=True) * weight).sum(), x)[0]
    assert torch.allclose(ours, formula, atol=1e-12)


def test_a_batch_of_one_can_be_trained_on() -> None:
    norm = BatchNorm(4).train()
    norm(torch.randn(16, 4) * 2 + 1)
    known = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    x = torch.randn(1, 4)
    trained = norm(x)
    assert all(torch.equal(buffer, known[name]) for name, buffer in norm.named_buffers())
    assert torch.allclose(trained, norm.eval()(x))
