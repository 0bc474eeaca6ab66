"""Text and video of one item near each other, those of different items apart."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_TEMPERATURE = 0.07  # at the start
_LARGEST_SCALE = 100.0  # of a cosine: without a limit the temperature falls to 0 (Radford et al. 2021, section 2.5)


class Contrast(nn.Module):
    """Image-text contrastive loss: Li et al. 2021 (ALBEF), section 3.2, equations 1 and 2, with in-batch negatives.

    Projections of both sides and a learned temperature, which training alone uses. A video that a batch holds twice is
    no negative of itself: its rows share the target, as in the authors' fine-tuning for retrieval.
    """

    def __init__(self, *, width: int, dim: int) -> None:
        super().__init__()
        self.text = nn.Linear(width, dim)
        self.video = nn.Linear(width, dim)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(_TEMPERATURE)))

    def forward(self, text: Tensor, video: Tensor, both: Tensor, items: Tensor) -> Tensor:
        """text, video [B, width], both [B]: rows that have text and video, items [B]: equal where one video is.

        Zero where fewer than two videos have both.
        """
        same = items[both][:, None] == items[both]  # [rows, rows]
        if bool(same.all()):
            return text.new_zeros(())
        t = functional.normalize(self.text(text[both]), dim=-1)
        v = functional.normalize(self.video(video[both]), dim=-1)
        with torch.no_grad():  # the parameter itself: beyond a limit on what is made of it, it would learn no more
            self.log_scale.clamp_(max=math.log(_LARGEST_SCALE))
        similarity = self.log_scale.exp() * t @ v.T  # [rows, rows]
        own = same / same.sum(1, keepdim=True)
        return 0.5 * (functional.cross_entropy(similarity, own) + functional.cross_entropy(similarity.T, own))
