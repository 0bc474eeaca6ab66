"""What every architecture is: two graphs, split so that frames of many videos share one vision batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Architecture(nn.Module):
    """vision: frames [N, 3, S, S] -> [N, vision_dim].

    fusion: (frames [B, T, vision_dim], frame_mask [B, T], audio [B, A, F], audio_mask [B, A], input_ids [B, L],
    text_mask [B, L]) -> (level1_logits [B, C1], level2_logits [B, C2], embedding [B, embedding_dim]).
    """

    vision: nn.Module
    fusion: nn.Module
    vision_dim: int
    embedding_dim: int

    def forward(
        self,
        frames: Tensor,
        frame_mask: Tensor,
        audio: Tensor,
        audio_mask: Tensor,
        input_ids: Tensor,
        text_mask: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Both graphs in one: frames are pixels, [B, T, 3, S, S]."""
        batch, count = frames.shape[:2]
        pictures = frames.flatten(0, 1).contiguous(memory_format=torch.channels_last)  # halves a convolution's time
        embedded = self.vision(pictures).view(batch, count, -1)
        out: tuple[Tensor, Tensor, Tensor] = self.fusion(embedded, frame_mask, audio, audio_mask, input_ids, text_mask)
        return out
