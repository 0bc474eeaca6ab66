"""dual_cross: text and video each in an encoder, attention from each into the other, mean pools, two heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from models.architectures import plans
from models.architectures.base import Architecture, Inputs, Preset
from models.architectures.parts import heads, media_tokens, text_tower
from models.layers.attention import CrossBlock, attention_bias
from models.layers.audio import AudioConfig
from models.layers.heads import Answers
from models.layers.pooling import AttentionPool, masked_mean
from models.layers.streams import Stream, joined
from models.towers.text import TextConfig
from models.towers.vision import VisionConfig, VisionTower

Video = Literal["frames", "patches", "frame_mean"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Inputs):
    """Everything meets at the text tower's width; motion: see FrameTokens.

    layers: of cross-attention, each of them both ways.
    video: `frames` is one token a frame; `patches` too, a learned weighted mean of the frame's patches; `frame_mean`
    is one token, the mean over frames.
    """

    vision: VisionConfig = VisionConfig()
    text: TextConfig = TextConfig()
    audio: AudioConfig = AudioConfig()
    video: Video = "frames"
    layers: int = 1
    motion: bool = True
    dropout: float = 0.1


PRESETS = {
    "tiny": Preset(inputs=plans.TINY, sizes={"vision": plans.SMALL_GRID, "video": "patches"}),
    "base": Preset(
        inputs=plans.BASE,
        sizes={
            **plans.BASE_TOWERS,
            "layers": 4,
            "motion": False,
        },
        training=plans.FINE_TUNING,
    ),
}


class BothWays(nn.Module):
    """One layer: text looks into video while video looks into text."""

    def __init__(self, *, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.text = CrossBlock(width=width, other=width, heads=heads, dropout=dropout)
        self.video = CrossBlock(width=width, other=width, heads=heads, dropout=dropout)

    def forward(self, text: Tensor, text_mask: Tensor, video: Tensor, video_mask: Tensor) -> tuple[Tensor, Tensor]:
        return (
            self.text(text, attention_bias(text_mask), video, video_mask),
            self.video(video, attention_bias(video_mask), text, text_mask),
        )


class Fusion(nn.Module):
    """Audio stands beside the frames, on the video's side."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width, dropout = config.text.width, config.dropout
        self.video, self.tokens = config.video, config.vision.tokens
        self.media = media_tokens(
            config.vision, config.audio, config, width=width, motion=config.motion, dropout=dropout
        )
        self.text = text_tower(config.text, config, dropout=dropout)
        if config.video == "patches":
            self.of_patches = AttentionPool(width)
        self.layers = nn.ModuleList(
            BothWays(width=width, heads=config.text.heads, dropout=dropout) for _ in range(config.layers)
        )
        self.text_norm = nn.LayerNorm(width)
        self.video_norm = nn.LayerNorm(width)
        self.heads = heads(config, width=2 * width, embedding_dim=2 * width, dropout=dropout)

    def forward(
        self,
        frames: Tensor,
        frame_mask: Tensor,
        audio: Tensor,
        audio_mask: Tensor,
        input_ids: Tensor,
        text_mask: Tensor,
    ) -> Answers:
        seen, heard = self.media(frames, frame_mask, audio, audio_mask)
        video, video_mask = joined(self._aggregated(*seen), heard)
        text = self.text(input_ids, text_mask)
        for layer in self.layers:
            text, video = layer(text, text_mask, video, video_mask)
        pools = [masked_mean(self.text_norm(text), text_mask), masked_mean(self.video_norm(video), video_mask)]
        out: Answers = self.heads(torch.cat(pools, dim=-1))
        return out

    def _aggregated(self, states: Tensor, mask: Tensor) -> Stream:
        """[B, T * tokens, width] -> [B, T, width], or [B, 1, width] for the mean over frames."""
        if self.video == "frame_mean":
            return masked_mean(states, mask).unsqueeze(1), mask.any(dim=1, keepdim=True)
        if self.video == "patches":
            batch, _, width = states.shape
            of_frame = self.of_patches(states.reshape(-1, self.tokens, width), mask.reshape(-1, self.tokens))
            return of_frame.view(batch, -1, width), mask[:, :: self.tokens]
        return states, mask


class Model(Architecture):
    """The two graphs of dual_cross. Raises ValueError where the vision tower's grid does not fit `video`."""

    source = "systems of the WBDC 2022 challenge: text→BERT, video→CLIP, cross-attention both ways"

    def __init__(self, config: Config) -> None:
        super().__init__()
        if (config.video == "patches") != (config.vision.grid > 0):
            raise ValueError("video: patches needs a vision grid above 0, and every other kind a grid of 0")
        self.vision = VisionTower(config.vision, size=config.frame_size, dropout=config.dropout)
        self.fusion = Fusion(config)
        self.vision_dim = config.vision.output_dim
        self.embedding_dim = 2 * config.text.width
