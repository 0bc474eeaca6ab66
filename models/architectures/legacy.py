"""legacy: convolutions and NetVLAD for frames, one vector a modality, self-attention over the three. The baseline."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.architectures import plans
from models.architectures.base import Architecture, Inputs, Preset
from models.architectures.parts import heads, text_tower
from models.layers.attention import Transformer
from models.layers.audio import AudioConfig, AudioEncoder
from models.layers.heads import Answers
from models.layers.pooling import masked_mean
from models.layers.vlad import LearnablePooling
from models.towers.text import TextConfig
from models.towers.vision import VisionConfig, VisionTower


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Inputs):
    """width: of each modality's vector; clusters: of NetVLAD; layers: of the self-attention over modalities."""

    vision: VisionConfig = VisionConfig(style="cnn")
    text: TextConfig = TextConfig()
    audio: AudioConfig = AudioConfig()
    clusters: int = 8
    width: int = 96
    heads: int = 4
    layers: int = 1
    dropout: float = 0.1


PRESETS = {
    "tiny": Preset(inputs=plans.TINY),
    "base": Preset(
        inputs=plans.BASE,
        sizes={
            "vision": VisionConfig(style="cnn", width=512, patch=32),
            "text": plans.BERT_BASE,
            "audio": plans.AUDIO_BASE,
            "clusters": 64,
            "width": 768,
            "heads": 12,
            "layers": 2,
        },
        training=plans.FINE_TUNING,
    ),
}


class Fusion(nn.Module):
    """Three vectors attend to each other; a missing one is masked."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, dropout = config.width, config.dropout
        self.audio = AudioEncoder(config.audio, mels=config.mels, length=config.audio_length, dropout=dropout)
        self.text = text_tower(config.text, config, dropout=dropout)
        self.from_frames = LearnablePooling(
            "netvlad", width=config.vision.output_dim, clusters=config.clusters, output_dim=width
        )
        self.from_audio = nn.Linear(config.audio.width, width)
        self.from_text = nn.Linear(config.text.width, width)
        self.modality = nn.Parameter(torch.randn(3, width) * 0.02)
        self.transformer = Transformer(width=width, heads=config.heads, layers=config.layers, dropout=dropout)
        self.heads = heads(config, width=width, embedding_dim=width, dropout=dropout)

    def forward(
        self,
        frames: Tensor,
        frame_mask: Tensor,
        audio: Tensor,
        audio_mask: Tensor,
        input_ids: Tensor,
        text_mask: Tensor,
    ) -> Answers:
        sound = masked_mean(*self.audio(audio, audio_mask))
        words = masked_mean(self.text(input_ids, text_mask), text_mask)
        vectors = (self.from_frames(frames, frame_mask), self.from_audio(sound), self.from_text(words))
        x = torch.stack(vectors, dim=1) + self.modality  # [B, 3, width]
        there = torch.stack([mask.any(dim=1) for mask in (frame_mask, audio_mask, text_mask)], dim=1)
        out: Answers = self.heads(masked_mean(self.transformer(x, there), there))
        return out


class Model(Architecture):
    """The two graphs of legacy."""

    source = "the usual system before pretrained vision transformers: CNN, BERT, log-mel, NetVLAD over time"
    ordered = False  # frames are pooled as a set

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.vision = VisionTower(config.vision, size=config.frame_size, dropout=config.dropout)
        self.fusion = Fusion(config)
        self.vision_dim = config.vision.output_dim
        self.embedding_dim = config.width
