"""What dual_concat promises, whatever its weights are."""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.architectures import build, names
from models.architectures.base import Architecture
from models.architectures.dual_concat import Config
from models.architectures.layers import masked_mean
from schemas.errors import UserError

CONFIG = Config(
    n_level1=3,
    n_level2=7,
    vocab=50,
    separator=3,
    text_fields=4,
    text_length=24,
    frames=5,
    frame_size=32,
    mels=8,
    audio_length=40,
    width=16,
    heads=2,
    patch=8,
)
INPUTS = ("frames", "frame_mask", "audio", "audio_mask", "input_ids", "text_mask")


@pytest.fixture(scope="module")
def model() -> Architecture:
    torch.manual_seed(0)
    return build("dual_concat", asdict(CONFIG)).eval()


def inputs(seed: int, *, batch: int = 2, frames: int = 5, audio: int = 24, text: int = 12) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {
        "frames": torch.randn(batch, frames, CONFIG.width, generator=random),
        "frame_mask": torch.ones(batch, frames, dtype=torch.bool),
        "audio": torch.randn(batch, audio, CONFIG.mels, generator=random),
        "audio_mask": torch.ones(batch, audio, dtype=torch.bool),
        "input_ids": torch.randint(0, CONFIG.vocab, (batch, text), generator=random),
        "text_mask": torch.ones(batch, text, dtype=torch.bool),
    }


def logits(model: Architecture, given: dict[str, Any]) -> Tensor:
    with torch.inference_mode():
        level1, level2, embedding = model.fusion(*(given[name] for name in INPUTS))
    assert embedding.shape[1] == model.embedding_dim
    return torch.cat([level1, level2, embedding], dim=1)


def padded(given: dict[str, Tensor], *, frames: int, audio: int, text: int, seed: int) -> dict[str, Tensor]:
    """The same videos with junk after each modality's end, masked."""
    random = torch.Generator().manual_seed(seed)
    batch = len(given["frames"])
    junk = {
        "frames": 10 * torch.randn(batch, frames, CONFIG.width, generator=random),
        "audio": 10 * torch.randn(batch, audio, CONFIG.mels, generator=random),
        "input_ids": torch.randint(0, CONFIG.vocab, (batch, text), generator=random),
    }
    masks = {"frames": "frame_mask", "audio": "audio_mask", "input_ids": "text_mask"}
    longer = {name: torch.cat([given[name], more], dim=1) for name, more in junk.items()}
    for name, mask in masks.items():
        nothing = torch.zeros(batch, junk[name].shape[1], dtype=torch.bool)
        longer[mask] = torch.cat([given[mask], nothing], dim=1)
    return longer


@given(
    seed=st.integers(0, 1000),
    frames=st.integers(1, 5),
    audio=st.integers(1, 33),
    text=st.integers(1, 20),
    more_frames=st.integers(0, 5),
    more_audio=st.integers(0, 7),
    more_text=st.integers(0, 4),
)
@settings(max_examples=40, deadline=None)
def test_padding_never_changes_an_answer(
    model: Architecture,
    seed: int,
    frames: int,
    audio: int,
    text: int,
    more_frames: int,
    more_audio: int,
    more_text: int,
) -> None:
    plain = inputs(seed, frames=frames, audio=audio, text=text)
    longer = padded(plain, frames=min(more_frames, 5 - frames), audio=more_audio, text=more_text, seed=seed)
    assert torch.allclose(logits(model, plain), logits(model, longer), atol=2e-5)


@given(missing=st.sets(st.sampled_from(["frame_mask", "audio_mask", "text_mask"])), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_a_missing_modality_is_finite_and_its_numbers_do_not_matter(
    model: Architecture, missing: set[str], seed: int
) -> None:
    one, other = inputs(seed), inputs(seed)
    junk = inputs(seed + 1)
    for mask, values in (("frame_mask", "frames"), ("audio_mask", "audio"), ("text_mask", "input_ids")):
        if mask in missing:
            for each in (one, other):
                each[mask] = torch.zeros_like(each[mask])
            other[values] = junk[values]
    assert torch.isfinite(logits(model, one)).all()
    assert torch.allclose(logits(model, one), logits(model, other), atol=1e-5)


def test_a_video_answers_alike_alone_and_in_a_batch(model: Architecture) -> None:
    batch = inputs(3, batch=4)
    together = logits(model, batch)
    for place in range(4):
        alone = logits(model, {name: tensor[place : place + 1] for name, tensor in batch.items()})
        assert torch.allclose(alone[0], together[place], atol=1e-5)


def test_the_order_of_frames_matters(model: Architecture) -> None:
    forwards = inputs(4)
    backwards = forwards | {"frames": forwards["frames"].flip(1)}
    assert (logits(model, forwards) - logits(model, backwards)).abs().max() > 1e-3


def test_the_field_a_character_stands_in_matters(model: Architecture) -> None:
    """Separators alone tell fields apart: with three of them, four segments are in use; with two, the last is not."""
    given = inputs(5, batch=1, text=9) | {"input_ids": torch.tensor([[2, 10, 11, 3, 12, 13, 3, 3, 14]])}
    for separators, used in ((3, True), (2, False)):
        given["input_ids"][0, 7] = 3 if separators == 3 else 15
        before = logits(model, given)
        changed = copy.deepcopy(model)
        table = changed.fusion.get_submodule("text.segments")
        assert isinstance(table, torch.nn.Embedding)
        with torch.no_grad():
            table.weight[3] = torch.randn(CONFIG.width, generator=torch.Generator().manual_seed(1))
        assert torch.allclose(before, logits(changed, given), atol=1e-5) is not used


def test_pixels_in_both_graphs_at_once_equal_the_two_graphs_in_turn(model: Architecture) -> None:
    given = inputs(6)
    pixels = torch.randn(2, 5, 3, CONFIG.frame_size, CONFIG.frame_size)
    with torch.inference_mode():
        whole = model(pixels, *(given[name] for name in INPUTS[1:]))
        embedded = model.vision(pixels.flatten(0, 1)).view(2, 5, -1)
        parts = model.fusion(embedded, *(given[name] for name in INPUTS[1:]))
    for one, other in zip(whole, parts, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_masked_mean_ignores_what_is_masked_and_is_zero_for_nothing() -> None:
    x = torch.tensor([[[1.0], [3.0], [100.0]], [[1.0], [2.0], [3.0]]])
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert masked_mean(x, mask).tolist() == [[2.0], [0.0]]


def test_architectures_are_found_by_their_files() -> None:
    assert "dual_concat" in names()
    assert not {"base", "layers"} & set(names())


def test_an_unknown_architecture_or_setting_is_a_sentence() -> None:
    with pytest.raises(UserError, match="no architecture named resnet"):
        build("resnet", {})
    with pytest.raises(UserError, match="does not fit dual_concat"):
        build("dual_concat", {"depth": 3})
