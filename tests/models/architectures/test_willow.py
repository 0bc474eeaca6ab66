"""willow at its published size, and what its answers are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from models.architectures import build, plans, presets
from models.architectures.base import Architecture, inputs_of
from models.architectures.willow import LEAST_PROBABILITY
from models.layers.audio import AudioConfig
from models.layers.vlad import Pooling
from models.towers.text import TextConfig
from models.towers.vision import VisionConfig
from tests.models.architectures.conftest import INPUTS, Case, logits
from tests.support.bundles import config_of, preset_model, tiny_taxonomy, tokenizer_of

YOUTUBE_8M_CLASSES = 4716


def on_meta(sizes: Mapping[str, Any], classes: int) -> Architecture:
    given = inputs_of(plans.BASE, parent=(0,) * classes, n_level1=1, vocab=100, separator=3)
    with torch.device("meta"):
        return build("willow", dict(sizes) | given)


def test_gated_netvlad_has_the_published_number_of_parameters() -> None:
    """antoine77340/Youtube-8M-WILLOW, 256 clusters of frames [1024] and 128 of sound [128]: 333.2 M by its shapes."""
    towers_of_one_layer = {
        "vision": VisionConfig(width=1024, heads=16),
        "text": TextConfig(width=768, layers=1),
        "audio": AudioConfig(width=128),
    }
    sizes = dict(presets("willow")["base"].sizes) | towers_of_one_layer
    model = on_meta(sizes, YOUTUBE_8M_CLASSES)
    parameters = sum(
        parameter.numel()
        for name, parameter in model.fusion.named_parameters()
        if name.split(".")[0] not in ("text", "audio")
    )
    text = 768 * 1024  # the third stream is ours
    assert parameters - text == pytest.approx(333.2e6, rel=1e-3)


@pytest.mark.parametrize("pooling", ["netvlad", "netrvlad", "netfv", "softdbow", "nextvlad", "mean"])
def test_every_pooling_can_be_chosen(pooling: Pooling) -> None:
    torch.manual_seed(0)
    inputs, taxonomy = presets("willow")["tiny"].inputs, tiny_taxonomy()
    model = build("willow", config_of(inputs, {"pooling": pooling}, taxonomy, tokenizer_of(taxonomy))).eval()
    case = Case("willow", inputs, model)
    plain = case.given(0)
    for values in ("frames", "audio"):
        assert (logits(case, plain) - logits(case, plain | {values: case.given(1)[values]})).abs().max() > 1e-3


def test_answers_are_logarithms_of_probabilities_and_a_wrong_one_can_still_learn() -> None:
    model = preset_model("willow")
    with torch.no_grad():
        model.fusion.level2.gating.gate.bias.fill_(-30.0)  # type: ignore[union-attr, operator]
    given = Case("willow", presets("willow")["tiny"].inputs, model).given(0)
    _, level2, _ = model.fusion(*(given[name] for name in INPUTS))
    assert torch.allclose(level2, torch.full_like(level2, math.log(LEAST_PROBABILITY)), atol=1e-3)
    torch.autograd.backward(level2.sum())
    gradient = model.fusion.level2.gating.gate.bias.grad  # type: ignore[union-attr]
    assert (gradient > 0).all()  # type: ignore[operator]
