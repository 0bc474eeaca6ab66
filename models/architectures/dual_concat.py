"""dual_concat: each modality through its own encoder, concatenated into a small transformer, pooled, two heads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.architectures.base import Architecture
from models.architectures.layers import (
    AudioEncoder,
    FrameEncoder,
    MotionEncoder,
    TextEncoder,
    Transformer,
    masked_mean,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Sizes. The first block comes from the data and the preprocessing, the second is a preset's choice."""

    n_level1: int
    n_level2: int
    vocab: int
    separator: int  # token id that ends a text field
    text_fields: int
    text_length: int  # tokens at most
    frames: int
    frame_size: int  # pixels
    mels: int
    audio_length: int  # log-mel frames at most

    width: int = 128
    heads: int = 4
    patch: int = 16
    vision_layers: int = 2
    motion_layers: int = 1
    audio_layers: int = 1
    text_layers: int = 2
    fusion_layers: int = 1
    dropout: float = 0.1


class Fusion(nn.Module):
    """Frame embeddings, audio and text -> logits of both levels, and the pooled embedding they were read from.

    Each modality is pooled on its own, so that a hundred characters do not drown eight frames.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, heads, dropout = config.width, config.heads, config.dropout
        self.motion = MotionEncoder(
            frames=config.frames, vision_dim=width, width=width, heads=heads, layers=config.motion_layers,
            dropout=dropout,
        )  # fmt: skip
        self.audio = AudioEncoder(
            mels=config.mels, length=config.audio_length, width=width, heads=heads, layers=config.audio_layers,
            dropout=dropout,
        )  # fmt: skip
        self.text = TextEncoder(
            vocab=config.vocab, separator=config.separator, fields=config.text_fields, length=config.text_length,
            width=width, heads=heads, layers=config.text_layers, dropout=dropout,
        )  # fmt: skip
        self.modality = nn.Parameter(torch.randn(3, width) * 0.02)
        self.transformer = Transformer(width=width, heads=heads, layers=config.fusion_layers, dropout=dropout)
        self.embed = nn.Sequential(nn.Linear(3 * width, 2 * width), nn.GELU(), nn.LayerNorm(2 * width))
        self.dropout = nn.Dropout(dropout)
        self.level1 = nn.Linear(2 * width, config.n_level1)
        self.level2 = nn.Linear(2 * width, config.n_level2)

    def forward(
        self,
        frames: Tensor,
        frame_mask: Tensor,
        audio: Tensor,
        audio_mask: Tensor,
        input_ids: Tensor,
        text_mask: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        video = self.motion(frames, frame_mask)
        sound, sound_mask = self.audio(audio, audio_mask)
        text = self.text(input_ids, text_mask)

        x = torch.cat([video + self.modality[0], sound + self.modality[1], text + self.modality[2]], dim=1)
        x = self.transformer(x, torch.cat([frame_mask, sound_mask, text_mask], dim=1))

        ends = (video.shape[1], video.shape[1] + sound.shape[1])
        pools = (
            masked_mean(x[:, : ends[0]], frame_mask),
            masked_mean(x[:, ends[0] : ends[1]], sound_mask),
            masked_mean(x[:, ends[1] :], text_mask),
        )
        embedding = self.embed(torch.cat(pools, dim=-1))
        features = self.dropout(embedding)
        return self.level1(features), self.level2(features), embedding


class Model(Architecture):
    """The two graphs of dual_concat."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.vision = FrameEncoder(
            size=config.frame_size, patch=config.patch, width=config.width, heads=config.heads,
            layers=config.vision_layers, dropout=config.dropout,
        )  # fmt: skip
        self.fusion = Fusion(config)
        self.vision_dim = config.width
        self.embedding_dim = 2 * config.width
