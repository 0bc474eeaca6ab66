"""ensemble: heads of several architectures over one vision tower, their probabilities averaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import torch
from pydantic import ConfigDict
from torch import Tensor, nn

from models.architectures import alpro, build, dual_concat, plans, single_stream
from models.architectures.base import Architecture, Inputs, Preset
from models.layers.attention import MASKED
from models.layers.audio import AudioConfig
from models.layers.heads import Answers
from models.towers.text import TextConfig
from models.towers.vision import VisionConfig, VisionTower
from schemas.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One head. sizes: fields of its architecture's Config but `vision`; weight: of its probabilities in the mean."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    architecture: str
    sizes: dict[str, Any] = field(default_factory=dict)
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Inputs):
    """dropout: of the vision tower; members say their own."""

    vision: VisionConfig = VisionConfig()
    members: tuple[Member, ...]
    dropout: float = 0.1


def _without_vision(preset: Preset) -> dict[str, Any]:
    return {name: value for name, value in preset.sizes.items() if name != "vision"}


_SMALL: Mapping[str, Any] = {"text": TextConfig(width=64, layers=1), "audio": AudioConfig(width=64)}
PRESETS = {
    "tiny": Preset(
        inputs=plans.TINY,
        sizes={
            "vision": plans.SMALL_GRID,
            "members": (
                Member(architecture="dual_concat", sizes={**_SMALL, "width": 64}),
                Member(architecture="single_stream", sizes={**_SMALL}),
                Member(architecture="dual_cross", sizes={**_SMALL, "video": "patches"}),
            ),
        },
    ),
    "base": Preset(
        inputs=plans.BASE,
        sizes={
            "vision": plans.CLIP_B16,
            "members": (
                Member(architecture="dual_concat", sizes=_without_vision(dual_concat.PRESETS["base"])),
                Member(architecture="single_stream", sizes=_without_vision(single_stream.PRESETS["base"])),
                Member(architecture="alpro", sizes=_without_vision(alpro.PRESETS["base"])),
            ),
        },
        training=plans.FINE_TUNING,
    ),
}


class Fusion(nn.Module):
    """Every member's fusion, and the mean of their probabilities as logits.

    level1_logits are log p(level 1) and level2_logits log p(level 2) - log p(parent), so that what serving makes of
    them is p itself. All in logarithms: a probability too small for fp16 is an ordinary number here.
    """

    parent: Tensor
    strangers: Tensor
    log_weights: Tensor

    def __init__(self, members: list[nn.Module], weights: list[float], *, parent: tuple[int, ...], n_level1: int):
        super().__init__()
        self.members = nn.ModuleList(members)
        parents, shares = torch.tensor(parent), torch.tensor(weights)
        strangers = (parents != torch.arange(n_level1)[:, None]).to(torch.float32) * MASKED  # [C1, C2]
        self.register_buffer("parent", parents, persistent=False)
        self.register_buffer("strangers", strangers, persistent=False)
        self.register_buffer("log_weights", (shares / shares.sum()).log()[:, None, None], persistent=False)

    def forward(
        self,
        frames: Tensor,
        frame_mask: Tensor,
        audio: Tensor,
        audio_mask: Tensor,
        input_ids: Tensor,
        text_mask: Tensor,
    ) -> Answers:
        return self.averaged(self.each(frames, frame_mask, audio, audio_mask, input_ids, text_mask))

    def each(self, *inputs: Tensor) -> list[Answers]:
        """Every member's own answers to forward()'s inputs."""
        return [member(*inputs) for member in self.members]

    def averaged(self, answers: list[Answers]) -> Answers:
        """Answers whose probabilities are the mean of those of `answers`; embeddings side by side."""
        joints = [level2 + level1.index_select(1, self.parent) for level1, level2, _ in answers]
        of_members = torch.log_softmax(torch.stack(joints), dim=-1)  # [members, B, C2]
        joint = _log_sum_exp(of_members + self.log_weights, 0)
        level1 = _log_sum_exp(joint[:, None] + self.strangers, 2)  # over the children of each level-1 class
        level2 = joint - level1.index_select(1, self.parent)
        return level1, level2, torch.cat([embedding for _, _, embedding in answers], dim=-1)


def _log_sum_exp(x: Tensor, dim: int) -> Tensor:
    """Written out: not every runtime's own subtracts the maximum first, without which fp16 has no small numbers."""
    highest = x.detach().amax(dim, keepdim=True)
    return (x - highest).exp().sum(dim).log() + highest.squeeze(dim)


class Model(Architecture):
    """One vision tower and a fusion of fusions. Raises ValueError where a member does not fit the tower."""

    source = "averaged probabilities over a shared encoder, as the WBDC 2022 challenge's systems were served"

    fusion: Fusion

    def __init__(self, config: Config) -> None:
        super().__init__()
        if not config.members or any(member.weight <= 0 for member in config.members):
            raise ValueError("an ensemble needs members, each with a weight above 0")
        self.vision = VisionTower(config.vision, size=config.frame_size, dropout=config.dropout)
        built = [_built(member, config) for member in config.members]
        self.fusion = Fusion(
            [model.fusion for model in built],
            [member.weight for member in config.members],
            parent=config.parent,
            n_level1=config.n_level1,
        )
        self.vision_dim = config.vision.output_dim
        self.embedding_dim = sum(model.embedding_dim for model in built)

    def training_answers(
        self,
        frames: Tensor,
        frame_mask: Tensor,
        audio: Tensor,
        audio_mask: Tensor,
        input_ids: Tensor,
        text_mask: Tensor,
        *,
        items: Tensor,
    ) -> tuple[list[Answers], Tensor]:
        """The averaged answers and every member's own."""
        each = self.fusion.each(self.encode(frames, frame_mask), frame_mask, audio, audio_mask, input_ids, text_mask)
        return [self.fusion.averaged(each), *each], torch.zeros(())


def _built(member: Member, config: Config) -> Architecture:
    """The member's model over the ensemble's inputs and vision tower; its own tower is not used."""
    inputs = {each.name: getattr(config, each.name) for each in fields(Inputs)}
    try:
        model = build(member.architecture, {"vision": config.vision, **member.sizes, **inputs})
    except UserError as error:
        raise ValueError(f"the member {member.architecture} cannot join: {error}") from error
    if not isinstance(model.vision, VisionTower) or model.vision.config != config.vision:
        raise ValueError(f"the member {member.architecture} cannot join: it has a vision tower of its own")
    return model
