"""feature_mix: text and video exchange through a bottleneck; features made by hand join what both say."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.architectures import plans
from models.architectures.base import Architecture, Inputs, Preset
from models.architectures.parts import heads, text_tower
from models.layers.audio import AudioConfig, AudioEncoder
from models.layers.bottleneck import BottleneckFusion
from models.layers.frames import FrameTokens, frame_similarities
from models.layers.heads import Answers
from models.layers.pooling import masked_mean
from models.layers.vlad import LearnablePooling, Pooling
from models.towers.text import TextConfig
from models.towers.vision import VisionConfig, VisionTower

SHIFTS = (1, 2, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Inputs):
    """pooling, clusters: of the frames as a set; bottlenecks: tokens that text and video share, for `layers` layers;
    motion: see FrameTokens.
    """

    vision: VisionConfig = VisionConfig()
    text: TextConfig = TextConfig()
    audio: AudioConfig = AudioConfig()
    pooling: Pooling = "nextvlad"
    clusters: int = 8
    bottlenecks: int = 4
    width: int = 64
    heads: int = 4
    layers: int = 2
    motion: bool = True
    dropout: float = 0.1


PRESETS = {
    "tiny": Preset(inputs=plans.TINY),
    "base": Preset(
        inputs=plans.BASE,
        sizes={
            **plans.BASE_TOWERS,
            "clusters": 64,
            "width": 768,
            "heads": 12,
            "layers": 4,
            "motion": False,
        },
        training=plans.FINE_TUNING,
    ),
}


class Fusion(nn.Module):
    """The heads read both streams' means, the frames as a set, the first frame alone, and how alike frames are."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, dropout, depth = config.width, config.dropout, config.vision.output_dim
        self.frames = FrameTokens(
            frames=config.frames, tokens=config.vision.tokens, depth=config.vision.width, width=width,
            motion=config.motion,
        )  # fmt: skip
        self.audio = AudioEncoder(config.audio, mels=config.mels, length=config.audio_length, dropout=dropout)
        self.text = text_tower(config.text, config, dropout=dropout)
        self.from_audio = nn.Linear(config.audio.width, width)
        self.from_text = nn.Linear(config.text.width, width)
        self.modality = nn.Parameter(torch.randn(2, width) * 0.02)
        self.bottleneck = BottleneckFusion(
            width=width, heads=config.heads, layers=config.layers, tokens=config.bottlenecks, dropout=dropout
        )
        self.as_set = LearnablePooling(config.pooling, width=depth, clusters=config.clusters, output_dim=width)
        self.first = nn.Linear(depth, width)
        self.heads = heads(config, width=4 * width + 2 * len(SHIFTS), embedding_dim=2 * width, dropout=dropout)

    def forward(
        self,
        frames: Tensor,
        frame_mask: Tensor,
        audio: Tensor,
        audio_mask: Tensor,
        input_ids: Tensor,
        text_mask: Tensor,
    ) -> Answers:
        pictures, picture_mask = self.frames(frames, frame_mask)
        sound, sound_mask = self.audio(audio, audio_mask)
        seen, heard = self.modality
        video = torch.cat([pictures + seen, self.from_audio(sound) + heard], dim=1)
        video_mask = torch.cat([picture_mask, sound_mask], dim=1)
        text = self.from_text(self.text(input_ids, text_mask))
        text, video = self.bottleneck(text, text_mask, video, video_mask)

        features = (
            masked_mean(text, text_mask),
            masked_mean(video, video_mask),
            self.as_set(frames, frame_mask),
            self.first(frames[:, 0] * frame_mask[:, :1].to(frames.dtype)),
            frame_similarities(frames, frame_mask, SHIFTS),
        )
        out: Answers = self.heads(torch.cat(features, dim=1))
        return out


class Model(Architecture):
    """The two graphs of feature_mix."""

    source = "systems of the WBDC 2022 challenge; Nagrani et al. 2021 (arXiv 2107.00135), Lin et al. 2018 (1811.05014)"

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.vision = VisionTower(config.vision, size=config.frame_size, dropout=config.dropout)
        self.fusion = Fusion(config)
        self.vision_dim = config.vision.output_dim
        self.embedding_dim = 2 * config.width
