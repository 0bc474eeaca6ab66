"""Streams: sequences of one width, each with a mask, made of frames and audio and put end to end."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.layers.audio import AudioConfig, AudioEncoder
from models.layers.frames import FrameTokens

Stream = tuple[Tensor, Tensor]  # states [B, L, width], mask [B, L]


class MediaTokens(nn.Module):
    """Frames [B, T, tokens * depth] and log-mel audio [B, A, mels], with masks -> two streams of `width`.

    Each has an embedding that says which it is; see FrameTokens for `motion`.
    """

    def __init__(
        self,
        *,
        frames: int,
        tokens: int,
        depth: int,
        audio: AudioConfig,
        mels: int,
        audio_length: int,
        width: int,
        motion: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.frames = FrameTokens(frames=frames, tokens=tokens, depth=depth, width=width, motion=motion)
        self.audio = AudioEncoder(audio, mels=mels, length=audio_length, dropout=dropout)
        self.from_audio = nn.Linear(audio.width, width)
        self.kinds = nn.Parameter(torch.randn(2, width) * 0.02)

    def forward(self, frames: Tensor, frame_mask: Tensor, audio: Tensor, audio_mask: Tensor) -> tuple[Stream, Stream]:
        video, video_mask = self.frames(frames, frame_mask)
        sound, sound_mask = self.audio(audio, audio_mask)
        return (video + self.kinds[0], video_mask), (self.from_audio(sound) + self.kinds[1], sound_mask)


class ClassToken(nn.Module):
    """A learned token before a stream, present in every row: one that is all masked still has a state to read."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(width) * 0.02)

    def forward(self, states: Tensor, mask: Tensor) -> Stream:
        token = self.token.expand(states.shape[0], 1, -1)
        return joined((token, torch.ones_like(mask[:, :1])), (states, mask))


def joined(*streams: Stream) -> Stream:
    """One stream after the other: [B, L1 + L2 + ..., width]."""
    states, masks = zip(*streams, strict=True)
    return torch.cat(states, dim=1), torch.cat(masks, dim=1)
