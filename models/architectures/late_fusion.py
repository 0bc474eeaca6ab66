"""Late fusion: what clips, sound and words say is put together once each is a single vector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.architectures.base import Architecture, Inputs
from models.architectures.parts import heads, text_tower
from models.layers.audio import AudioConfig, AudioEncoder
from models.layers.heads import Answers
from models.layers.pooling import masked_mean
from models.layers.vivit import VideoEncoder, VivitConfig
from models.towers.text import TextConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class LateFusionConfig(Inputs):
    """width: of each modality's vector."""

    video: VivitConfig = VivitConfig()
    text: TextConfig = TextConfig()
    audio: AudioConfig = AudioConfig()
    width: int = 96
    dropout: float = 0.1


class LateFusion(nn.Module):
    """Clip embeddings [B, C, video_dim], sound and words, each with its mask -> Answers."""

    def __init__(self, config: LateFusionConfig, *, video_dim: int) -> None:
        super().__init__()
        width, dropout = config.width, config.dropout
        self.audio = AudioEncoder(config.audio, mels=config.mels, length=config.audio_length, dropout=dropout)
        self.text = text_tower(config.text, config, dropout=dropout)
        self.from_video = nn.Linear(video_dim, width)
        self.from_audio = nn.Linear(config.audio.width, width)
        self.from_text = nn.Linear(config.text.width, width)
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
        sound, sound_mask = self.audio(audio, audio_mask)
        pooled = [
            self.from_video(masked_mean(frames, frame_mask)),
            self.from_audio(masked_mean(sound, sound_mask)),
            self.from_text(masked_mean(self.text(input_ids, text_mask), text_mask)),
        ]
        out: Answers = self.heads(torch.cat(pooled, dim=-1))
        return out


class LateFusionModel(Architecture):
    """The two graphs of a video encoder that is fused late. `encoder`: its class; `sizes`: what it takes besides."""

    takes_clips = True

    def __init__(self, config: LateFusionConfig, encoder: Callable[..., VideoEncoder], **sizes: int) -> None:
        super().__init__()
        assert config.clip is not None  # as of any architecture that takes clips
        self.vision = encoder(config.video, frames=config.clip, size=config.frame_size, dropout=config.dropout, **sizes)
        self.fusion = LateFusion(config, video_dim=config.video.width)
        self.vision_dim = config.video.width
        self.embedding_dim = 2 * config.width
