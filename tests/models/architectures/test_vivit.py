"""ViViT's encoders against the paper's figures, the definition of each, and a published implementation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import VivitConfig as PublishedConfig
from transformers import VivitModel

from models.architectures import presets
from models.architectures.base import Architecture
from models.layers.attention import Attention
from models.layers.tubelet import TubeletEmbedding
from models.layers.vivit import (
    FactorisedEncoder,
    JointSpaceTime,
    SpaceAndTimeAttention,
    SpaceThenTimeBlock,
    VivitConfig,
)
from tests.support.bundles import preset_model

# ViViT-B/16x2 on 32 frames of 224 pixels with 400 classes: GMAC by Table 2 of the paper, whose "FLOPs" are
# multiply-adds, and by a count on an independent implementation; million parameters by the same two.
TABLE = {
    "vivit_1": (455.2, 451.5, 88.9, 88.95),
    "vivit_2": (284.4, 283.3, 115.1, 115.06),
    "vivit_3": (372.3, 371.1, 117.3, 117.32),
    "vivit_4": (277.1, 276.2, 88.9, 88.95),
    "frame_average": (283.9, 281.4, 86.7, 86.69),
}
TIMES, PLACES = 16, 14 * 14


@pytest.fixture(scope="module", params=TABLE)
def base(request: pytest.FixtureRequest) -> tuple[str, Architecture]:
    """An architecture at the paper's sizes, without memory for its weights."""
    with torch.device("meta"):
        return request.param, preset_model(request.param, "base")


def classifier(model: Architecture) -> nn.Module:
    with torch.device("meta"):
        return nn.Sequential(model.vision, nn.Linear(768, 400)).eval()


def test_parameters_are_the_papers(base: tuple[str, Architecture]) -> None:
    name, model = base
    millions = sum(parameter.numel() for parameter in classifier(model).parameters()) / 1e6
    for expected in TABLE[name][2:]:
        assert millions == pytest.approx(expected, abs=0.1)


def test_multiply_adds_are_the_papers(base: tuple[str, Architecture]) -> None:
    name, model = base
    plan = presets(name)["base"].inputs.frame_plan
    assert plan.unit_shape == (32, 3, 224, 224)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        answers = classifier(model)(torch.empty(1, *plan.unit_shape, device="meta"))
    assert answers.shape == (1, 400)
    for expected in TABLE[name][:2]:
        assert counter.get_total_flops() / 2e9 == pytest.approx(expected, rel=0.01)


def test_tokens_are_counted_as_in_the_paper(base: tuple[str, Architecture]) -> None:
    name, model = base
    tubelets = model.vision.get_submodule("tubelets")
    assert isinstance(tubelets, TubeletEmbedding)
    assert tubelets(torch.empty(1, 32, 3, 224, 224, device="meta")).shape == (1, TIMES, PLACES, 768)
    lengths = {"vivit_1": TIMES * PLACES + 1, "vivit_2": 197, "frame_average": 197}
    assert len(model.vision.get_parameter("stack.positions")) == lengths.get(name, TIMES * PLACES)
    if isinstance(model.vision, FactorisedEncoder):
        assert len(model.vision.temporal.positions) == 17
        assert len(model.vision.temporal.blocks) == 4


def published_state(model: VivitModel) -> dict[str, Tensor]:
    """The weights of transformers' VivitModel under the names of JointSpaceTime."""
    given = model.state_dict()
    kernel = given["embeddings.patch_embeddings.projection.weight"]  # [width, 3, depth, p, p]
    state = {
        "tubelets.projection.weight": kernel.transpose(1, 2).flatten(1, 2),
        "tubelets.projection.bias": given["embeddings.patch_embeddings.projection.bias"],
        "stack.cls": given["embeddings.cls_token"].flatten(),
        "stack.positions": given["embeddings.position_embeddings"][0],
    }
    names = {
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attention.out": "attention.o_proj",
        "mlp.0": "mlp.fc1",
        "mlp.2": "mlp.fc2",
    }
    for kind in ("weight", "bias"):
        state[f"stack.norm.{kind}"] = given[f"layernorm.{kind}"]
        for layer in range(model.config.num_hidden_layers):
            ours, theirs = f"stack.blocks.{layer}", f"layers.{layer}"
            for name, published in names.items():
                state[f"{ours}.{name}.{kind}"] = given[f"{theirs}.{published}.{kind}"]
            parts = [given[f"{theirs}.attention.{part}_proj.{kind}"] for part in "qkv"]
            state[f"{ours}.attention.qkv.{kind}"] = torch.cat(parts)
    return state


@torch.inference_mode()
def test_model_1_is_the_published_one() -> None:
    torch.manual_seed(0)
    config: Any = PublishedConfig(
        image_size=32, num_frames=6, tubelet_size=[2, 8, 8], hidden_size=48, num_hidden_layers=3,
        num_attention_heads=4, intermediate_size=192,
    )  # fmt: skip
    assert (config.hidden_act, config.layer_norm_eps) == ("gelu_fast", 1e-6)  # tanh-GELU
    published = VivitModel(config, add_pooling_layer=False).eval()
    for parameter in published.parameters():
        nn.init.normal_(parameter, std=0.2)
    sizes = VivitConfig(width=48, layers=3, heads=4, patch=8, tubelet=2)
    ours = JointSpaceTime(sizes, frames=6, size=32, dropout=0.0).eval()
    ours.load_state_dict(published_state(published))
    clips = torch.randn(3, 6, 3, 32, 32)
    assert torch.allclose(ours(clips), published(clips).last_hidden_state[:, 0], rtol=0, atol=1e-5)


def biases(times: int, places: int) -> tuple[Tensor, Tensor]:
    """Additive masks [times * places, times * places] that leave the tokens of one time, and those of one place."""
    token = torch.arange(times * places)
    time, place = token // places, token % places
    other_time, other_place = time[:, None] != time, place[:, None] != place
    nothing = torch.zeros(len(token), len(token))
    return nothing.masked_fill(other_time, float("-inf")), nothing.masked_fill(other_place, float("-inf"))


@torch.inference_mode()
def test_model_3_is_joint_attention_with_other_times_masked_and_then_other_places() -> None:
    torch.manual_seed(0)
    block = SpaceThenTimeBlock(width=16, heads=2, dropout=0.0).eval()
    x = torch.randn(2, 3, 5, 16)
    within_time, at_place = biases(3, 5)
    expected = x.flatten(1, 2)
    expected = expected + block.attention(block.norm1(expected), within_time)
    expected = expected + block.time_attention(block.time_norm(expected), at_place)
    expected = expected + block.mlp(block.norm2(expected))
    assert torch.allclose(block(x).flatten(1, 2), expected, atol=1e-5)


@torch.inference_mode()
def test_model_4_is_joint_attention_with_half_the_heads_masked_to_a_time_and_half_to_a_place() -> None:
    torch.manual_seed(0)
    attention, joint = SpaceAndTimeAttention(width=16, heads=4), Attention(width=16, heads=4)
    joint.load_state_dict(attention.state_dict())
    x = torch.randn(2, 3, 5, 16)
    within_time, at_place = biases(3, 5)
    expected = joint(x.flatten(1, 2), torch.stack([within_time, within_time, at_place, at_place]))
    assert torch.allclose(attention(x).flatten(1, 2), expected, atol=1e-5)


def test_heads_that_do_not_halve_are_refused() -> None:
    with pytest.raises(ValueError, match="3 heads"):
        SpaceAndTimeAttention(width=12, heads=3)


def test_clips_that_are_no_whole_tubelets_are_refused() -> None:
    with pytest.raises(ValueError, match="5 frames of 32 pixels"):
        JointSpaceTime(VivitConfig(patch=8, tubelet=2), frames=5, size=32, dropout=0.0)
