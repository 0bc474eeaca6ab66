"""Tubelets, and video encoders that begin as image models."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from models.layers.tubelet import TubeletEmbedding, central_frame_filters, inflated_filters, repeated_positions
from models.layers.vivit import (
    FactorisedDotProduct,
    FactorisedEncoder,
    FactorisedSelfAttention,
    FrameAverage,
    JointSpaceTime,
    VideoEncoder,
    VivitConfig,
)
from models.layers.vivit_from_image import initialise_from_image
from models.towers.vision import VisionConfig, VisionTower

WIDTH, PATCH, FRAMES, SIZE, LAYERS = 16, 4, 6, 8, 2
DEPTHS = st.sampled_from([1, 2, 3, 6])
GELUS = 3e-3  # what tanh-GELU, ViViT's, leaves between it and the exact one of the image model


def tubelets(depth: int, filters: Tensor, bias: Tensor) -> TubeletEmbedding:
    """With the given weights."""
    embedding = TubeletEmbedding(width=WIDTH, depth=depth, patch=PATCH)
    embedding.projection.load_state_dict({"weight": filters, "bias": bias})
    return embedding


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def embedded(pictures: Tensor, filters: Tensor, bias: Tensor) -> Tensor:
    """The image model's embedding: [N, 3, S, S] -> [N, places, WIDTH]."""
    return functional.conv2d(pictures, filters, bias, stride=PATCH).flatten(2).transpose(1, 2)


@given(depth=DEPTHS, seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_tubelets_are_a_convolution_in_three_dimensions(depth: int, seed: int) -> None:
    weight, bias, clips = random(seed, WIDTH, 3, depth, PATCH, PATCH), random(1, WIDTH), random(2, 2, FRAMES, 3, 8, 12)
    expected = functional.conv3d(clips.transpose(1, 2), weight, bias, stride=(depth, PATCH, PATCH))
    tokens = tubelets(depth, weight.transpose(1, 2).flatten(1, 2), bias)(clips)
    assert tokens.shape == (2, FRAMES // depth, 2 * 3, WIDTH)
    assert torch.allclose(tokens.flatten(1, 2), expected.flatten(2).transpose(1, 2), atol=1e-4)


@given(depth=DEPTHS, seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_inflated_filters_see_a_clip_that_stands_still_as_the_image_model_does(depth: int, seed: int) -> None:
    image, bias, pictures = random(seed, WIDTH, 3, PATCH, PATCH), random(1, WIDTH), random(2, 2, 3, SIZE, SIZE)
    clips = pictures[:, None].expand(-1, FRAMES, -1, -1, -1)
    tokens = tubelets(depth, inflated_filters(image, depth), bias)(clips)
    for time in tokens.unbind(1):
        assert torch.allclose(time, embedded(pictures, image, bias), atol=1e-4)


@given(depth=DEPTHS, seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_central_frame_filters_see_the_middle_frame_as_the_image_model_does_and_no_other(depth: int, seed: int) -> None:
    image, bias, clips = random(seed, WIDTH, 3, PATCH, PATCH), random(1, WIDTH), random(2, 2, FRAMES, 3, SIZE, SIZE)
    tokens = tubelets(depth, central_frame_filters(image, depth), bias)(clips)
    for time, tokens_then in enumerate(tokens.unbind(1)):
        middle = clips[:, time * depth + depth // 2]
        assert torch.allclose(tokens_then, embedded(middle, image, bias), atol=1e-4)


@pytest.mark.parametrize("cls", [True, False])
def test_every_time_has_the_positions_of_the_image(cls: bool) -> None:
    image = random(0, 1 + 4, WIDTH)
    table = repeated_positions(image, 3, cls=cls)
    assert table.shape == (cls + 3 * 4, WIDTH)
    if cls:
        assert torch.equal(table[0], image[0])
    for time in table[int(cls) :].split(4):
        assert torch.equal(time, image[1:])


def image_model(layers: int = LAYERS, patch: int = PATCH) -> VisionTower:
    torch.manual_seed(0)
    config = VisionConfig(style="vit", width=WIDTH, layers=layers, heads=2, patch=patch)
    tower = VisionTower(config, size=SIZE).eval()
    for parameter in tower.parameters():
        nn.init.normal_(parameter, std=0.3)
    return tower


def config_of(depth: int) -> VivitConfig:
    return VivitConfig(width=WIDTH, layers=LAYERS, heads=2, patch=PATCH, tubelet=depth)


def made(kind: Callable[..., VideoEncoder], depth: int, **more: int) -> VideoEncoder:
    torch.manual_seed(1)
    return kind(config_of(depth), frames=FRAMES, size=SIZE, dropout=0.0, **more).eval()


CLIPS = random(3, 2, FRAMES, 3, SIZE, SIZE)


@pytest.mark.parametrize("depth", [1, 2, 3])
@torch.inference_mode()
def test_a_frame_average_from_an_image_model_is_the_mean_of_its_answers(depth: int) -> None:
    tower, average = image_model(), made(FrameAverage, depth)
    before = average(CLIPS)
    initialise_from_image(average, tower.state_dict(), central_frame_filters)
    expected = tower(CLIPS[:, depth // 2 :: depth].flatten(0, 1)).unflatten(0, (2, -1)).mean(1)
    assert torch.allclose(average(CLIPS), expected, atol=GELUS)
    assert not torch.allclose(before, expected, atol=100 * GELUS)


@torch.inference_mode()
def test_a_factorised_encoder_from_an_image_model_keeps_its_own_temporal_transformer() -> None:
    tower, encoder = image_model(), made(FactorisedEncoder, 2, temporal_layers=1)
    assert isinstance(encoder, FactorisedEncoder)
    before = {name: tensor.clone() for name, tensor in encoder.temporal.state_dict().items()}
    initialise_from_image(encoder, tower.state_dict(), inflated_filters)
    still = CLIPS[:, :1].expand(-1, FRAMES, -1, -1, -1)
    for time in encoder.encode_times(still).unbind(1):
        assert torch.allclose(time, tower(still[:, 0]), atol=GELUS)
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.temporal.state_dict().items())


@torch.inference_mode()
def test_temporal_attention_that_is_zeroed_leaves_the_spatial_stack() -> None:
    """Without it model 3 is the image model's blocks on the patches of each time, and a mean."""
    tower, encoder = image_model(), made(FactorisedSelfAttention, 2)
    initialise_from_image(encoder, tower.state_dict(), central_frame_filters)
    frames = CLIPS[:, 1::2].flatten(0, 1)
    x = tower.stem(frames).flatten(2).transpose(1, 2) + tower.positions[1:]
    for block in tower.blocks:
        x = block(x)
    expected = tower.norm(x).unflatten(0, (2, -1)).mean((1, 2))
    assert torch.allclose(encoder(CLIPS), expected, atol=GELUS)


@pytest.mark.parametrize("kind", [JointSpaceTime, FactorisedDotProduct])
@torch.inference_mode()
def test_models_1_and_4_from_an_image_model_have_all_its_weights(kind: Callable[..., VideoEncoder]) -> None:
    tower, encoder = image_model(), made(kind, 2)
    initialise_from_image(encoder, tower.state_dict(), inflated_filters)
    kept = encoder.stack.state_dict()
    image = {name: tensor for name, tensor in tower.state_dict().items() if name.startswith(("blocks", "norm"))}
    assert len(image) == 12 * LAYERS + 2
    assert all(torch.equal(kept[name], tensor) for name, tensor in image.items())
    cls = kind is JointSpaceTime
    assert torch.equal(kept["positions"], repeated_positions(tower.positions, FRAMES // 2, cls=cls))
    assert not cls or torch.equal(kept["cls"], tower.cls)


@pytest.mark.parametrize("layers", [LAYERS - 1, LAYERS + 1])
def test_an_image_model_with_other_layers_is_refused(layers: int) -> None:
    with pytest.raises(ValueError, match="other layers"):
        initialise_from_image(made(JointSpaceTime, 2), image_model(layers).state_dict(), inflated_filters)


def test_an_image_model_with_other_patches_is_refused() -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        initialise_from_image(made(JointSpaceTime, 2), image_model(patch=2).state_dict(), inflated_filters)
