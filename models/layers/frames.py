"""What a vision tower left of each frame, as tokens of a sequence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.layers.attention import positions
from models.layers.norms import unit_norm


class FrameTokens(nn.Module):
    """Frames [B, T, tokens * depth] + mask [B, T] -> ([B, T * tokens, width], mask [B, T * tokens]).

    Time positions say where a frame stands, place positions which part of the picture a token is. With `motion`, a
    convolution over neighbouring frames says what changed between them, which attention would need a layer to find;
    where a frame is several tokens, each is squeezed to a quarter before, since what moves is seen by where it is.
    """

    def __init__(self, *, frames: int, tokens: int, depth: int, width: int, motion: bool) -> None:
        super().__init__()
        self.tokens, self.depth = tokens, depth
        self.project = nn.Linear(depth, width)
        self.times = positions(frames, width)
        self.places = positions(tokens, width)
        seen = depth // 4 if tokens > 1 else depth
        self.squeeze = nn.Linear(depth, seen) if motion and tokens > 1 else nn.Identity()
        self.change = nn.Conv1d(tokens * seen, width, 3, padding=1) if motion else None

    def forward(self, frames: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        batch, count = frames.shape[:2]
        weight = mask.unsqueeze(-1).to(frames.dtype)
        patches = (frames * weight).reshape(batch, count, self.tokens, self.depth)
        x = self.project(patches) + self.places
        of_frame = self.times[:count]
        if self.change is not None:
            seen = self.squeeze(patches).flatten(2) * weight  # a bias must not tell of frames that are not there
            of_frame = of_frame + functional.gelu(self.change(seen.transpose(1, 2)).transpose(1, 2))
        else:
            of_frame = of_frame.expand(batch, -1, -1)
        x = (x + of_frame.unsqueeze(2)).flatten(1, 2)
        return x, mask.unsqueeze(2).expand(-1, -1, self.tokens).flatten(1, 2)


def frame_similarities(frames: Tensor, mask: Tensor, shifts: Sequence[int]) -> Tensor:
    """Frames [B, T, D] + mask [B, T] -> [B, 2 * shifts]: the mean and the least cosine of frames `shift` apart.

    How still a clip is, and whether it has a cut; 0 where no two frames are so far apart.
    """
    count, there = frames.shape[1], mask.to(frames.dtype)
    units = unit_norm(frames * there.unsqueeze(-1), dim=2)
    found = []
    for shift in shifts:
        earlier = functional.pad(units, (0, 0, shift, 0))[:, :count]
        pairs = there * functional.pad(there, (shift, 0))[:, :count]
        cosines = (units * earlier).sum(-1)
        least = (cosines * pairs + 2.0 * (1.0 - pairs)).amin(1)  # 2 is more than any cosine
        found += [(cosines * pairs).sum(1) / pairs.sum(1).clamp(min=1.0), least * pairs.amax(1)]
    return torch.stack(found, dim=1)
