"""dual_concat: each modality through its own encoder, concatenated into a small transformer, pooled, two heads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.architectures import plans
from models.architectures.base import Architecture, Inputs, Preset
from models.architectures.parts import heads, text_tower
from models.layers.attention import Transformer
from models.layers.audio import AudioConfig, AudioEncoder
from models.layers.frames import FrameTokens
from models.layers.heads import Answers
from models.layers.pooling import masked_mean
from models.towers.text import TextConfig
from models.towers.vision import VisionConfig, VisionTower


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Inputs):
    """width: of the transformer that all modalities meet in; motion: see FrameTokens."""

    vision: VisionConfig = VisionConfig()
    text: TextConfig = TextConfig()
    audio: AudioConfig = AudioConfig()
    width: int = 96
    heads: int = 4
    layers: int = 1
    motion: bool = True
    dropout: float = 0.1


PRESETS = {
    "tiny": Preset(inputs=plans.TINY, sizes={"vision": plans.SMALL_GRID}),
    "base": Preset(
        inputs=plans.BASE,
        sizes={
            **plans.BASE_TOWERS,
            "width": 768,
            "heads": 12,
            "layers": 4,
            "motion": False,
        },
        training=plans.FINE_TUNING,
    ),
}


class Fusion(nn.Module):
    """Each modality is pooled on its own, so that a hundred characters do not drown eight frames."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, dropout = config.width, config.dropout
        self.frames = FrameTokens(
            frames=config.frames, tokens=config.vision.tokens, depth=config.vision.width, width=width,
            motion=config.motion,
        )  # fmt: skip
        self.audio = AudioEncoder(config.audio, mels=config.mels, length=config.audio_length, dropout=dropout)
        self.text = text_tower(config.text, config, dropout=dropout)
        self.from_audio = nn.Linear(config.audio.width, width)
        self.from_text = nn.Linear(config.text.width, width)
        self.modality = nn.Parameter(torch.randn(3, width) * 0.02)
        self.transformer = Transformer(width=width, heads=config.heads, layers=config.layers, dropout=dropout)
        self.heads = heads(config, width=3 * width, embedding_dim=2 * width, dropout=dropout)

    def forward(
        self,
        frames: Tensor,
        frame_mask: Tensor,
        audio: Tensor,
        audio_mask: Tensor,
        input_ids: Tensor,
        text_mask: Tensor,
    ) -> Answers:
        video, video_mask = self.frames(frames, frame_mask)
        sound, sound_mask = self.audio(audio, audio_mask)
        parts = (video, self.from_audio(sound), self.from_text(self.text(input_ids, text_mask)))
        masks = (video_mask, sound_mask, text_mask)

        x = torch.cat([part + kind for part, kind in zip(parts, self.modality, strict=True)], dim=1)
        x = self.transformer(x, torch.cat(masks, dim=1))

        streams = x.split([part.shape[1] for part in parts], dim=1)
        pools = [masked_mean(stream, mask) for stream, mask in zip(streams, masks, strict=True)]
        out: Answers = self.heads(torch.cat(pools, dim=-1))
        return out


class Model(Architecture):
    """The two graphs of dual_concat."""

    source = "systems of the WBDC 2022 challenge: text→BERT, video→CLIP, concatenated"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.vision = VisionTower(config.vision, size=config.frame_size, dropout=config.dropout)
        self.fusion = Fusion(config)
        self.vision_dim = config.vision.output_dim
        self.embedding_dim = 2 * config.width
