"""single_stream: text, frames and audio as one sequence through one BERT, pooled, two heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.architectures import plans
from models.architectures.base import Architecture, Inputs, Preset
from models.architectures.parts import heads, media_tokens, text_tower
from models.layers.audio import AudioConfig
from models.layers.heads import Answers
from models.layers.pooling import AttentionPool, masked_max, masked_mean, present
from models.layers.streams import joined
from models.towers.text import TextConfig
from models.towers.vision import VisionConfig, VisionTower

Pooling = Literal["mean", "separate", "four"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Inputs):
    """Everything meets at the text tower's width; motion: see FrameTokens.

    pooling: `mean` over all positions; `separate` means of text, frames and audio, averaged over those that are there;
    `four`: mean, maximum, the first text token and a learned weighted mean, side by side.
    """

    vision: VisionConfig = VisionConfig()
    text: TextConfig = TextConfig()
    audio: AudioConfig = AudioConfig()
    pooling: Pooling = "mean"
    motion: bool = True
    dropout: float = 0.1


PRESETS = {
    "tiny": Preset(inputs=plans.TINY, sizes={"vision": plans.SMALL_GRID}),
    "base": Preset(
        inputs=plans.BASE,
        sizes={
            **plans.BASE_TOWERS,
            "motion": False,
        },
        training=plans.FINE_TUNING,
    ),
}


class Fusion(nn.Module):
    """The text tower's blocks over all three modalities."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, dropout = config.text.width, config.dropout
        self.pooling = config.pooling
        self.media = media_tokens(
            config.vision, config.audio, config, width=width, motion=config.motion, dropout=dropout
        )
        self.text = text_tower(config.text, config, dropout=dropout)
        self.text_kind = nn.Parameter(torch.randn(width) * 0.02)
        if config.pooling == "four":
            self.weighted = AttentionPool(width)
        self.heads = heads(
            config, width=4 * width if config.pooling == "four" else width, embedding_dim=2 * width, dropout=dropout
        )

    def forward(
        self,
        frames: Tensor,
        frame_mask: Tensor,
        audio: Tensor,
        audio_mask: Tensor,
        input_ids: Tensor,
        text_mask: Tensor,
    ) -> Answers:
        video, sound = self.media(frames, frame_mask, audio, audio_mask)
        parts = ((self.text.embed(input_ids) + self.text_kind, text_mask), video, sound)
        x, mask = joined(*parts)
        x = self.text.norm(self.text.run(x, mask, self.text.blocks))

        if self.pooling == "mean":
            pooled = masked_mean(x, mask)
        elif self.pooling == "separate":
            streams = x.split([states.shape[1] for states, _ in parts], dim=1)
            masks = [own for _, own in parts]
            means = [masked_mean(stream, own) for stream, own in zip(streams, masks, strict=True)]
            there = [present(own).to(x.dtype) for own in masks]
            pooled = sum(means[1:], means[0]) / sum(there[1:], there[0]).clamp(min=1.0)
        else:
            first = x[:, 0] * text_mask[:, :1].to(x.dtype)
            pooled = torch.cat([masked_mean(x, mask), masked_max(x, mask), first, self.weighted(x, mask)], dim=-1)
        out: Answers = self.heads(pooled)
        return out


class Model(Architecture):
    """The two graphs of single_stream."""

    source = "systems of the WBDC 2022 challenge: text and frame embeddings into one BERT"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.vision = VisionTower(config.vision, size=config.frame_size, dropout=config.dropout)
        self.fusion = Fusion(config)
        self.vision_dim = config.vision.output_dim
        self.embedding_dim = 2 * config.text.width
