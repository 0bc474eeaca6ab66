"""willow: learnable pooling of frames and of sound, context gating, and mixtures of experts for both levels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.architectures import plans
from models.architectures.base import Architecture, Inputs, Preset
from models.architectures.parts import text_tower
from models.layers.audio import AudioConfig, AudioEncoder
from models.layers.experts import MixtureOfExperts
from models.layers.gating import ContextGating
from models.layers.heads import Answers
from models.layers.norms import BatchNorm, unit_norm
from models.layers.pooling import masked_mean
from models.layers.vlad import Pooling, learnable_pool, projection
from models.towers.text import TextConfig
from models.towers.vision import VisionConfig, VisionTower

# Less than fp16 can hold as a normal number would be log(0) there; it also bounds what a wrong answer can cost.
LEAST_PROBABILITY = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Inputs):
    """hidden: width of the embedding; experts: of each class, besides the dummy that says no."""

    vision: VisionConfig = VisionConfig()
    text: TextConfig = TextConfig()
    audio: AudioConfig = AudioConfig()
    pooling: Pooling = "netvlad"
    frame_clusters: int = 8
    audio_clusters: int = 4
    hidden: int = 192
    experts: int = 2
    dropout: float = 0.1


PRESETS = {
    "tiny": Preset(inputs=plans.TINY),
    "base": Preset(
        inputs=plans.BASE,
        sizes={
            "vision": plans.CLIP_B16,
            "text": plans.BERT_BASE,
            "audio": AudioConfig(width=128, heads=4, layers=4),
            "frame_clusters": 256,
            "audio_clusters": 128,
            "hidden": 1024,
        },
        training=plans.FINE_TUNING,
    ),
}


class Experts(nn.Module):
    """A mixture of experts and a context gate over its probabilities: [B, width] -> their logarithms [B, classes]."""

    def __init__(self, *, width: int, classes: int, experts: int, dropout: float) -> None:
        super().__init__()
        self.mixture = MixtureOfExperts(width=width, classes=classes, experts=experts, dropout=dropout)
        self.gating = ContextGating(classes)

    def forward(self, x: Tensor) -> Tensor:
        # added, not a clamp: a class that fell below it would never be told so
        return torch.log(self.gating(self.mixture(x)) + LEAST_PROBABILITY)


class Fusion(nn.Module):
    """Pool, FC, batch norm, ReLU6, gate, experts, gate."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        depth, dropout = config.vision.output_dim, config.dropout
        self.audio = AudioEncoder(config.audio, mels=config.mels, length=config.audio_length, dropout=dropout)
        self.text = text_tower(config.text, config, dropout=dropout)
        self.frame_norm = nn.LayerNorm(depth)
        self.frame_pool = learnable_pool(config.pooling, width=depth, clusters=config.frame_clusters)
        self.audio_pool = learnable_pool(config.pooling, width=config.audio.width, clusters=config.audio_clusters)
        pooled = self.frame_pool.output_dim + self.audio_pool.output_dim + config.text.width
        self.hidden = projection(pooled, config.hidden, clusters=config.frame_clusters)
        self.hidden_norm = BatchNorm(config.hidden)
        self.dropout = nn.Dropout(dropout)
        self.gating = ContextGating(config.hidden)
        self.level1, self.level2 = (
            Experts(width=config.hidden, classes=classes, experts=config.experts, dropout=dropout)
            for classes in (config.n_level1, config.n_level2)
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
        sound, sound_mask = self.audio(audio, audio_mask)
        pools = (
            self.frame_pool(self.frame_norm(frames), frame_mask),
            self.audio_pool(sound, sound_mask),
            masked_mean(self.text(input_ids, text_mask), text_mask),
        )
        pooled = torch.cat([unit_norm(pool, dim=1) for pool in pools], dim=1)  # one batch norm has to fit all three
        hidden = self.dropout(functional.relu6(self.hidden_norm(self.hidden(pooled))))
        embedding = self.gating(hidden)
        return self.level1(embedding), self.level2(embedding), embedding


class Model(Architecture):
    """The two graphs of willow."""

    source = "Miech, Laptev, Sivic 2017 (arXiv 1706.06905), antoine77340/LOUPE"
    ordered = False  # frames are pooled as a set

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.vision = VisionTower(config.vision, size=config.frame_size, dropout=config.dropout)
        self.fusion = Fusion(config)
        self.vision_dim = config.vision.output_dim
        self.embedding_dim = config.hidden
