"""What every architecture promises, whatever its weights are."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.architectures import build, names, presets
from models.training.losses import hierarchical_loss
from models.training.weights import load_weights, save_weights
from schemas.errors import UserError
from tests.models.architectures.conftest import INPUTS, MASKS, Case, logits
from tests.support.bundles import preset_model, tiny_taxonomy

# Sums over padding are taken in another order: the last bits of a float32 may differ.
ROUNDING = 5e-5


def with_junk(case: Case, plain: dict[str, Tensor], more: dict[str, int], seed: int) -> dict[str, Tensor]:
    """The same videos with masked junk after each modality's end."""
    random = torch.Generator().manual_seed(seed)
    longer = dict(plain)
    for values, length in zip(MASKS, more.values(), strict=True):
        mask, batch = MASKS[values], len(plain[values])
        length = min(length, dict(zip(MASKS, case.most.values(), strict=True))[values] - plain[values].shape[1])
        if values == "input_ids":
            junk = torch.randint(0, 40, (batch, length), generator=random)
        else:
            junk = 10 * torch.randn(batch, length, plain[values].shape[2], generator=random)
        longer[values] = torch.cat([plain[values], junk], dim=1)
        longer[mask] = torch.cat([plain[mask], torch.zeros(batch, length, dtype=torch.bool)], dim=1)
    return longer


@given(data=st.data(), seed=st.integers(0, 1000))
@settings(max_examples=12, deadline=None)
def test_padding_never_changes_an_answer(case: Case, data: st.DataObject, seed: int) -> None:
    lengths = {name: data.draw(st.integers(1, min(most, 40)), label=name) for name, most in case.most.items()}
    more = {name: data.draw(st.integers(0, 9), label=f"more {name}") for name in case.most}
    plain = case.given(seed, **lengths)
    assert torch.allclose(logits(case, plain), logits(case, with_junk(case, plain, more, seed)), atol=ROUNDING)


@given(missing=st.sets(st.sampled_from(sorted(MASKS))), seed=st.integers(0, 1000))
@settings(max_examples=12, deadline=None)
def test_a_missing_modality_is_finite_and_its_numbers_do_not_matter(case: Case, missing: set[str], seed: int) -> None:
    one, other, junk = case.given(seed), case.given(seed), case.given(seed + 1)
    for values in missing:
        for each in (one, other):
            each[MASKS[values]] = torch.zeros_like(each[MASKS[values]])
        other[values] = junk[values]
    assert torch.isfinite(logits(case, one)).all()
    assert torch.allclose(logits(case, one), logits(case, other), atol=ROUNDING)


def test_each_modality_matters_where_it_is_said_to(case: Case) -> None:
    plain = case.given(1)
    for modality, (values, mask) in zip(case.most, MASKS.items(), strict=True):
        difference = (logits(case, plain) - logits(case, plain | {values: case.given(2)[values]})).abs().max()
        if plain[mask].any() and modality in case.model.modalities:
            assert difference > 1e-4, modality
        else:
            assert difference == 0, modality


def test_a_video_answers_alike_alone_and_in_a_batch(case: Case) -> None:
    batch = case.given(3, batch=4)
    together = logits(case, batch)
    for place in range(4):
        alone = logits(case, {name: tensor[place : place + 1] for name, tensor in batch.items()})
        assert torch.allclose(alone[0], together[place], atol=ROUNDING)


def test_both_graphs_at_once_equal_the_two_in_turn(case: Case) -> None:
    given, pixels = case.given(6), case.pixels(6)
    with torch.inference_mode():
        whole = case.model(pixels, *(given[name] for name in INPUTS[1:]))
        embedded = case.model.vision(pixels.flatten(0, 1))
        assert embedded.shape == (len(pixels) * pixels.shape[1], case.model.vision_dim)
        parts = case.model.fusion(embedded.view(*pixels.shape[:2], -1), *(given[name] for name in INPUTS[1:]))
    for one, other in zip(whole, parts, strict=True):
        assert torch.allclose(one, other, atol=ROUNDING)


def test_the_order_of_frames_matters_where_it_is_said_to(case: Case) -> None:
    given, pixels = case.given(4), case.pixels(4)
    backwards = pixels.flip(2 if case.model.takes_clips else 1)
    with torch.inference_mode():
        forth, back = (
            torch.cat(case.model(frames, *(given[name] for name in INPUTS[1:])), 1) for frames in (pixels, backwards)
        )
    difference = float((forth - back).abs().max())
    assert difference > 1e-3 if case.model.ordered else difference < ROUNDING


def loss_of(case: Case, pixels: Tensor, given: dict[str, Tensor], target: Tensor) -> Tensor:
    items = torch.arange(len(target))
    answers, loss = case.model.training_answers(pixels, *(given[name] for name in INPUTS[1:]), items=items)
    parent = torch.tensor(tiny_taxonomy().parent_index)
    for level1, level2, _ in answers:
        loss = loss + hierarchical_loss(level1, level2, target, parent, smoothing=0.0, level1_weight=0.3)
    return loss


def test_every_parameter_gets_a_finite_gradient(case: Case) -> None:
    model = copy.deepcopy(case.model).train()
    trained = Case(case.name, case.inputs, model)
    loss = loss_of(trained, case.pixels(7, 4), case.given(7, batch=4), torch.tensor([0, 1, 2, 3]))
    torch.autograd.backward(loss)
    without = [name for name, each in model.named_parameters() if each.requires_grad and each.grad is None]
    assert not without
    assert all(torch.isfinite(each.grad).all() for each in model.parameters() if each.grad is not None)
    dead = [name for name, each in model.named_parameters() if each.grad is not None and not each.grad.any()]
    assert not dead


def test_pictures_under_a_mask_never_enter_training(case: Case) -> None:
    """Statistics of a batch norm over them would: nobody's answers may depend on what one video does not have."""
    model = copy.deepcopy(case.model)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    trained = Case(case.name, case.inputs, model.train())
    given = case.given(5, batch=4)
    given["frame_mask"][1] = False
    pixels, changed = case.pixels(5, 4), case.pixels(5, 4)
    changed[1] = 10 * case.pixels(6, 1)[0]
    losses = [loss_of(trained, each, given, torch.tensor([0, 1, 2, 3])) for each in (pixels, changed)]
    assert torch.equal(losses[0], losses[1])


def test_it_overfits_a_batch(case: Case) -> None:
    model = copy.deepcopy(case.model).train()
    trained = Case(case.name, case.inputs, model)
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    pixels, given, target = case.pixels(8, 8), case.given(8, batch=8), torch.arange(8) % 6
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = loss_of(trained, pixels, given, target)
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0], losses


def test_weights_that_were_saved_answer_alike(case: Case, tmp_path: Path) -> None:
    save_weights(case.model, tmp_path / "model.safetensors")
    other = preset_model(case.name, seed=1)
    given = case.given(9)
    assert not torch.equal(logits(case, given), logits(Case(case.name, case.inputs, other), given))
    load_weights(other, tmp_path / "model.safetensors")
    assert torch.equal(logits(case, given), logits(Case(case.name, case.inputs, other), given))


def test_it_says_where_it_is_from(case: Case) -> None:
    assert case.model.source
    assert {"tiny", "base"} <= set(presets(case.name))


def test_an_unknown_architecture_or_setting_is_a_sentence() -> None:
    with pytest.raises(UserError, match="no architecture named resnet"):
        build("resnet", {})
    with pytest.raises(UserError, match="does not fit dual_concat"):
        build("dual_concat", {"depth": 3})
    assert np.all(np.array(names()) == sorted(names()))
