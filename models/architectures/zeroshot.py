"""zeroshot: frames against sentences about the categories, by a published model that was trained on pictures and text.

No training: `reelsort zeroshot` fills it from a checkpoint and a taxonomy. Level-2 logits are exp(s) <v, c> of the
video's unit embedding v and each category's unit embedding c (Radford et al. 2021, Figure 3 and section 3.1.4; s is the
model's own learned scale). Level-1 logits are zero: level 1 is the sum of its children.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.architectures import plans
from models.architectures.base import Architecture, InputPlan, Inputs, Preset
from models.bundle import TextTemplate
from models.layers.heads import Answers
from models.layers.pooling import masked_mean
from models.media.types import FramePlan
from models.towers.vision import VisionConfig, VisionTower

_EPS = 1e-4  # below the norm of any embedding; a smaller one would not survive fp16
_SCALE = math.log(1 / 0.07)  # where CLIP's own training begins


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Inputs):
    """projection_dim: of the space that pictures and sentences share."""

    vision: VisionConfig = VisionConfig()
    projection_dim: int = 64
    dropout: float = 0.0


def inputs(frame_plan: FramePlan) -> InputPlan:
    """What such a model sees: pictures alone."""
    nothing = TextTemplate(fields=(), max_tokens={}, length_buckets=(8,))
    return InputPlan(frame_plan=frame_plan, audio_plan=None, pixels=plans.BASE.pixels, text=nothing)


PRESETS = {
    "tiny": Preset(inputs=inputs(plans.TINY.frame_plan), training={"modality_dropout": 0.0}),
    "base": Preset(
        inputs=inputs(plans.BASE.frame_plan),
        sizes={"vision": plans.CLIP_B16, "projection_dim": 512},
        training={**plans.FINE_TUNING, "modality_dropout": 0.0},
    ),
}


class Encoder(nn.Module):
    """Pictures [N, 3, S, S] -> unit vectors [N, projection_dim]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.tower = VisionTower(config.vision, size=config.frame_size, dropout=config.dropout)
        self.project = nn.Linear(config.vision.output_dim, config.projection_dim, bias=False)

    def forward(self, frames: Tensor) -> Tensor:
        return functional.normalize(self.project(self.tower(frames)), dim=-1, eps=_EPS)


class Fusion(nn.Module):
    """The mean of the frames' unit vectors, as a unit vector, against the categories'. Sound and text are not seen."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.n_level1 = config.n_level1
        random = torch.randn(config.n_level2, config.projection_dim)
        self.class_embeddings = nn.Parameter(functional.normalize(random, dim=-1))
        self.logit_scale = nn.Parameter(torch.tensor(_SCALE))

    def forward(
        self,
        frames: Tensor,
        frame_mask: Tensor,
        audio: Tensor,
        audio_mask: Tensor,
        input_ids: Tensor,
        text_mask: Tensor,
    ) -> Answers:
        video = functional.normalize(masked_mean(frames, frame_mask), dim=-1, eps=_EPS)
        level2 = self.logit_scale.exp() * (video @ self.class_embeddings.T)
        return level2.new_zeros(level2.shape[0], self.n_level1), level2, video


class Model(Architecture):
    """The two graphs of zeroshot."""

    source = "Radford et al. 2021 (CLIP), arXiv:2103.00020; Yang et al. 2022 (Chinese CLIP), arXiv:2211.01335"
    made_by = "reelsort zeroshot"
    ordered = False
    modalities = frozenset({"frames"})

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.vision = Encoder(config)
        self.fusion = Fusion(config)
        self.vision_dim = config.projection_dim
        self.embedding_dim = config.projection_dim
