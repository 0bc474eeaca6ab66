"""Variants of the fusions, and what each architecture promises beyond the contract of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.architectures import build, names, presets
from models.architectures.base import Architecture
from models.architectures.ensemble import Model as Ensemble
from models.decision.policy import PolicyFile, resolve
from models.decision.probabilities import hierarchical
from models.decision.types import Policy
from models.layers.contrast import Contrast
from models.training.measure import VOCABULARY
from models.training.weights import check_exportable
from schemas.errors import UserError
from schemas.taxonomy import default_taxonomy
from tests.models.architectures.conftest import INPUTS, MASKS, Case, logits
from tests.models.architectures.test_contract import ROUNDING, with_junk
from tests.support.bundles import config_of, tiny_taxonomy, tokenizer_of

TINY = {"text": {"width": 16, "heads": 2}, "audio": {"width": 16, "heads": 2}, "vision": {"width": 16, "heads": 2}}
GRID = TINY | {"vision": {"width": 16, "heads": 2, "grid": 2}}
MEMBER = {name: TINY[name] for name in ("text", "audio")}
TRIO = [
    {"architecture": "dual_concat", "sizes": MEMBER | {"width": 16, "heads": 2}},
    {"architecture": "single_stream", "sizes": MEMBER, "weight": 0.5},
    {"architecture": "alpro", "sizes": MEMBER, "weight": 2.5},
]


@dataclass(frozen=True)
class Variant:
    architecture: str
    sizes: Mapping[str, Any]

    def __str__(self) -> str:
        kind = {name: value for name, value in self.sizes.items() if name in ("pooling", "video", "motion")}
        return "-".join([self.architecture, *map(str, kind.values())])


VARIANTS = [
    *(Variant("single_stream", TINY | {"pooling": pooling}) for pooling in ("mean", "separate", "four")),
    Variant("single_stream", GRID | {"pooling": "separate"}),
    *(Variant("dual_cross", TINY | {"video": video, "layers": 2}) for video in ("frames", "frame_mean")),
    Variant("dual_cross", GRID | {"video": "patches"}),
    Variant("alpro", GRID),
    Variant("albef", TINY | {"layers": 1}),
    Variant("ensemble", {"vision": TINY["vision"], "members": TRIO}),
]


def case_of(variant: Variant, seed: int = 0) -> Case:
    inputs, taxonomy = presets(variant.architecture)["tiny"].inputs, tiny_taxonomy()
    torch.manual_seed(seed)
    config = config_of(inputs, variant.sizes, taxonomy, tokenizer_of(taxonomy))
    return Case(str(variant), inputs, build(variant.architecture, config).eval())


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def variant(request: pytest.FixtureRequest) -> Case:
    return case_of(request.param)


@given(data=st.data(), seed=st.integers(0, 1000))
@settings(max_examples=8, deadline=None)
def test_padding_never_enters_a_pool(variant: Case, data: st.DataObject, seed: int) -> None:
    lengths = {name: data.draw(st.integers(1, min(most, 20)), label=name) for name, most in variant.most.items()}
    more = {name: data.draw(st.integers(1, 9), label=f"more {name}") for name in variant.most}
    plain = variant.given(seed, **lengths)
    assert torch.allclose(logits(variant, plain), logits(variant, with_junk(variant, plain, more, seed)), atol=ROUNDING)


@pytest.mark.parametrize("missing", [*MASKS, None])
def test_what_is_missing_is_finite_and_never_matters_and_the_rest_still_does(
    variant: Case, missing: str | None
) -> None:
    """None stands for a video of which nothing is there."""
    gone = set(MASKS) if missing is None else {missing}
    one, junk = variant.given(3), variant.given(4)
    for values in gone:
        one[MASKS[values]] = torch.zeros_like(one[MASKS[values]])
    answer = logits(variant, one)
    assert torch.isfinite(answer).all()
    for values in MASKS:
        difference = (answer - logits(variant, one | {values: junk[values]})).abs().max()
        assert difference < ROUNDING if values in gone else difference > 1e-4, values


def forwards(model: Architecture, given: dict[str, Tensor]) -> Tensor:
    with torch.inference_mode():
        level1, _, _ = model.fusion(*(given[name] for name in INPUTS))
    return torch.as_tensor(level1)


def test_only_the_frame_mean_without_motion_is_blind_to_the_order_of_frames() -> None:
    blind, seeing = (
        case_of(Variant("dual_cross", TINY | {"video": video, "motion": False})) for video in ("frame_mean", "frames")
    )
    plain = blind.given(5)
    backwards = plain | {"frames": plain["frames"].flip(1)}
    assert torch.allclose(forwards(blind.model, plain), forwards(blind.model, backwards), atol=ROUNDING)
    assert not torch.allclose(forwards(seeing.model, plain), forwards(seeing.model, backwards), atol=1e-4)


@pytest.mark.parametrize(
    ("variant", "sentence"),
    [
        (Variant("dual_cross", TINY | {"video": "patches"}), "patches needs a vision grid"),
        (Variant("dual_cross", GRID), "every other kind a grid of 0"),
        (Variant("albef", {"vision": {"patch": 128}}), "pictures of 64 pixels are no whole number of patches of 128"),
        (Variant("albef", {"vision": {"grid": 3}}), "a grid of 3 does not divide 4 patches a side"),
        (Variant("alpro", TINY | {"text_layers": 2}), "must leave some of the text tower's 2 layers"),
        (Variant("ensemble", {"members": []}), "an ensemble needs members"),
        (Variant("ensemble", {"members": [TRIO[0] | {"weight": 0.0}]}), "each with a weight above 0"),
        (Variant("ensemble", {"members": [{"architecture": "resnet"}]}), "resnet cannot join: there is no"),
        (
            Variant("ensemble", {"members": [{"architecture": "dual_concat", "sizes": {"vision": {"width": 48}}}]}),
            "dual_concat cannot join: it has a vision tower of its own",
        ),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_together_are_a_sentence(variant: Variant, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        case_of(variant)


def test_a_member_that_takes_clips_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from models.architectures import single_stream

    monkeypatch.setattr(single_stream.Model, "takes_clips", True)
    with pytest.raises(UserError, match="single_stream cannot join: single_stream takes clips"):
        case_of(Variant("ensemble", {"members": [{"architecture": "single_stream"}]}))


def trio(sharpness: float = 1.0) -> tuple[Case, Ensemble]:
    """An ensemble of three, whose members' logits are that much larger than at random."""
    case = case_of(VARIANTS[-1])
    assert isinstance(case.model, Ensemble)
    with torch.no_grad():
        for member in case.model.fusion.members:
            for head in (member.heads.level1, member.heads.level2):  # type: ignore[union-attr]
                head.weight.mul_(sharpness)  # type: ignore[union-attr, operator]
    return case, case.model


def plain_policy() -> Policy:
    taxonomy = tiny_taxonomy()
    return resolve(
        PolicyFile(
            taxonomy_id=taxonomy.id,
            level1_thresholds=dict.fromkeys((c.id for c in taxonomy.level1), None),
            level2_thresholds=dict.fromkeys((c.id for c in taxonomy.level2), None),
            audit_rate=0.0,
            target_risk=0.05,
        ),
        taxonomy,
        policy_id="test",
    )


@pytest.mark.parametrize("sharpness", [1.0, 10.0, 100.0])
def test_an_ensembles_probabilities_are_the_weighted_mean_of_its_members(sharpness: float) -> None:
    """By the code that decides, in float64; sharp members have probabilities that no half precision number holds."""
    case, model = trio(sharpness)
    given, policy = case.given(1, batch=8), plain_policy()
    with torch.inference_mode():
        inputs = [given[name] for name in INPUTS]
        level1, level2, embedding = model.fusion(*inputs)
        each = model.fusion.each(*inputs)
    own = [hierarchical(first.numpy(), second.numpy(), policy) for first, second, _ in each]
    together = hierarchical(level1.numpy(), level2.numpy(), policy)
    weights = np.array([1.0, 0.5, 2.5]) / 4.0
    for level in ("level1", "level2"):
        mean = sum(weight * getattr(member, level) for weight, member in zip(weights, own, strict=True))
        np.testing.assert_allclose(getattr(together, level), mean, atol=1e-5)
        assert (sharpness == 100.0) == (mean.min() < 1e-7)
    # the logits are the logarithms themselves, so that the level-1 logits alone are probabilities too
    np.testing.assert_allclose(np.exp(level1.numpy()), together.level1, atol=1e-5)
    assert torch.equal(embedding, torch.cat([states for _, _, states in each], dim=1))


def test_an_ensemble_sees_every_frame_once() -> None:
    case, model = trio()
    seen: list[int] = []
    model.vision.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    pixels, given = case.pixels(2, 2), case.given(2)
    model.training_answers(pixels, *(given[name] for name in INPUTS[1:]), items=torch.arange(2))
    assert seen == [pixels.shape[0] * pixels.shape[1]]


def test_an_ensemble_has_one_vision_tower_and_trains_every_member() -> None:
    case, model = trio()
    assert not [name for name, _ in model.fusion.named_parameters() if "vision" in name]
    given = case.given(2)
    answers, _ = model.training_answers(case.pixels(2), *(given[name] for name in INPUTS[1:]), items=torch.arange(2))
    assert len(answers) == 1 + len(TRIO)
    with torch.inference_mode():
        own = model(case.pixels(2), *(given[name] for name in INPUTS[1:]))
    assert all(torch.allclose(one, other, atol=ROUNDING) for one, other in zip(answers[0], own, strict=True))


def test_albef_learns_the_labels_twice_and_answers_from_one() -> None:
    case = case_of(Variant("albef", TINY))
    given = case.given(6, batch=4)
    inputs = [given[name] for name in INPUTS[1:]]
    answers, contrast = case.model.training_answers(case.pixels(6, 4), *inputs, items=torch.arange(4))
    assert len(answers) == 2
    assert float(contrast.detach()) > 0.0
    with torch.inference_mode():
        own = case.model(case.pixels(6, 4), *inputs)
    assert torch.allclose(answers[0][1], own[1], atol=ROUNDING)
    # the second head hears no text
    other = given | {"input_ids": case.given(7, batch=4)["input_ids"]}
    changed = [other[name] for name in INPUTS[1:]]
    again, _ = case.model.training_answers(case.pixels(6, 4), *changed, items=torch.arange(4))
    assert torch.equal(again[1][1], answers[1][1])
    assert not torch.allclose(again[0][1], answers[0][1], atol=1e-4)


def test_contrast_is_its_formula_and_only_rows_with_both_enter() -> None:
    torch.manual_seed(0)
    contrast = Contrast(width=8, dim=4)
    text, video = torch.randn(6, 8), torch.randn(6, 8)
    both, items = torch.tensor([True, False, True, True, False, True]), torch.arange(6)
    with torch.no_grad():
        t, v = (side(x)[both].double().numpy() for side, x in ((contrast.text, text), (contrast.video, video)))
        loss = float(contrast(text, video, both, items))
        masked = (torch.where(both[:, None], text, 99.0), torch.where(both[:, None], video, -99.0))
        junk = float(contrast(*masked, both, items))
        none = float(contrast(text, video, torch.zeros(6, dtype=torch.bool), items))
    t, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (t, v))
    odds = np.exp(t @ v.T / 0.07)
    expected = -0.5 * np.mean(np.log(np.diag(odds) / odds.sum(1)) + np.log(np.diag(odds) / odds.sum(0)))
    assert loss == pytest.approx(expected, rel=1e-4)
    assert loss == junk
    assert none == 0.0


def test_a_video_drawn_twice_is_no_negative_of_itself() -> None:
    """Both rows are the answer to either, each by half: idx-equality targets, as in ALBEF's retrieval fine-tuning."""
    torch.manual_seed(0)
    contrast, everything = Contrast(width=8, dim=4), torch.ones(4, dtype=torch.bool)
    text, video = torch.randn(4, 8), torch.randn(4, 8)
    with torch.no_grad():
        t, v = (side(x).double().numpy() for side, x in ((contrast.text, text), (contrast.video, video)))
        loss = float(contrast(text, video, everything, torch.tensor([5, 2, 5, 9])))
        alone = float(contrast(text, video, everything, torch.tensor([5, 5, 5, 5])))
    t, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (t, v))
    odds = np.exp(t @ v.T / 0.07)
    target = np.array([[0.5, 0, 0.5, 0], [0, 1, 0, 0], [0.5, 0, 0.5, 0], [0, 0, 0, 1]])
    of_text, of_video = (-(target * np.log(each / each.sum(1, keepdims=True))).sum(1).mean() for each in (odds, odds.T))
    assert loss == pytest.approx(0.5 * (of_text + of_video), rel=1e-4)
    assert alone == 0.0  # there is nothing to be held against


def at_published_size(architecture: str) -> Architecture:
    """On the meta device, with a published vocabulary and every category."""
    chosen, taxonomy = presets(architecture)["base"], default_taxonomy()
    config = config_of(chosen.inputs, chosen.sizes, taxonomy, tokenizer_of(taxonomy)) | {"vocab": VOCABULARY}
    with torch.device("meta"):
        return build(architecture, config)


@pytest.mark.parametrize("architecture", ["single_stream", "dual_cross", "albef", "alpro", "ensemble"])
def test_published_sizes_can_be_built(architecture: str) -> None:
    assert sum(parameter.numel() for parameter in at_published_size(architecture).parameters()) > 180e6


@pytest.mark.parametrize("architecture", names())
def test_every_published_size_fits_into_two_graphs(architecture: str) -> None:
    check_exportable(at_published_size(architecture))
