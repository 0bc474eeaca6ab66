"""Every architecture there is, at its smallest. Every test here runs torch on one thread."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from models.architectures import names, presets
from models.architectures.base import Architecture, InputPlan
from models.preprocess.audio import NO_AUDIO, steps
from tests.support.bundles import preset_model, tiny_taxonomy, tokenizer_of
from tests.support.single_thread import one_thread

__all__ = ["one_thread"]

INPUTS = ("frames", "frame_mask", "audio", "audio_mask", "input_ids", "text_mask")
MASKS = {"frames": "frame_mask", "audio": "audio_mask", "input_ids": "text_mask"}


@dataclass(frozen=True)
class Case:
    """An architecture's tiny preset over the tiny taxonomy, with random weights."""

    name: str
    inputs: InputPlan
    model: Architecture

    @property
    def most(self) -> dict[str, int]:
        """The longest that each modality may be."""
        audio = steps(self.inputs.audio_plan) if self.inputs.audio_plan else NO_AUDIO[0]
        return {
            "frames": self.inputs.frame_plan.units,
            "audio": audio,
            "text": max(self.inputs.text.length_buckets),
        }

    def given(
        self, seed: int, *, batch: int = 2, frames: int | None = None, audio: int = 24, text: int = 12
    ) -> dict[str, Tensor]:
        """Inputs of the fusion graph, everything present."""
        random = torch.Generator().manual_seed(seed)
        frames = frames or self.most["frames"]
        audio = min(audio, self.most["audio"])
        mels = self.inputs.audio_plan.mels if self.inputs.audio_plan else NO_AUDIO[1]
        vocab = tokenizer_of(tiny_taxonomy()).get_vocab_size()
        return {
            "frames": torch.randn(batch, frames, self.model.vision_dim, generator=random),
            "frame_mask": torch.ones(batch, frames, dtype=torch.bool),
            "audio": torch.randn(batch, audio, mels, generator=random),
            "audio_mask": torch.full((batch, audio), self.inputs.audio_plan is not None),
            "input_ids": torch.randint(0, vocab, (batch, text), generator=random),
            "text_mask": torch.ones(batch, text, dtype=torch.bool),
        }

    def pixels(self, seed: int, batch: int = 2) -> Tensor:
        """Input of both graphs in one."""
        plan = self.inputs.frame_plan
        return torch.randn(batch, plan.units, *plan.unit_shape, generator=torch.Generator().manual_seed(seed))


def logits(case: Case, given: dict[str, Tensor]) -> Tensor:
    """All answers of the fusion graph, side by side."""
    with torch.inference_mode():
        level1, level2, embedding = case.model.fusion(*(given[name] for name in INPUTS))
    assert embedding.shape[1] == case.model.embedding_dim
    return torch.cat([level1, level2, embedding], dim=1)


@pytest.fixture(scope="module", params=names())
def case(request: pytest.FixtureRequest) -> Case:
    name: str = request.param
    return Case(name, presets(name)["tiny"].inputs, preset_model(name))
