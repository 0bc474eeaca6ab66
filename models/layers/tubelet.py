"""Tubelets: the tokens of a clip, and how the filters and positions of an image model become those of a clip."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TubeletEmbedding(nn.Module):
    """Clips [N, T, 3, H, W] -> tokens [N, T / depth, H / patch * W / patch, width] (ViViT, section 3.2).

    A 3-D convolution whose kernel is its stride, written as a 2-D one over `depth` frames at a time as channels: the
    same sums without a transposition, and every runtime has it.
    """

    def __init__(self, *, width: int, depth: int, patch: int) -> None:
        super().__init__()
        self.depth = depth
        self.projection = nn.Conv2d(3 * depth, width, patch, stride=patch)

    def forward(self, clips: Tensor) -> Tensor:
        _, frames, channels, height, width = clips.shape
        times = frames // self.depth
        tubes = clips.reshape(-1, self.depth * channels, height, width)
        tokens: Tensor = self.projection(tubes).flatten(2).transpose(1, 2).unflatten(0, (-1, times))
        return tokens


def inflated_filters(image: Tensor, depth: int) -> Tensor:
    """[width, 3, p, p] -> [width, 3 * depth, p, p]: every frame sees 1 / depth of the image filter (ViViT, Eq. 8).

    On a clip that stands still this is the image model's embedding.
    """
    return image.repeat(1, depth, 1, 1) / depth


def central_frame_filters(image: Tensor, depth: int) -> Tensor:
    """[width, 3, p, p] -> [width, 3 * depth, p, p]: frame depth // 2 sees the image filter, others 0 (ViViT, Eq. 9)."""
    filters = torch.zeros_like(image).repeat(1, depth, 1, 1)
    channels = image.shape[1]
    first = depth // 2 * channels
    filters[:, first : first + channels] = image
    return filters


def repeated_positions(image: Tensor, times: int, *, cls: bool) -> Tensor:
    """[1 + places, width] -> [cls + times * places, width]: every time has the image's positions (ViViT, section 3.4).

    The class token's row is first; it is kept once, or left out.
    """
    of_cls, of_places = image[:1], image[1:].repeat(times, 1)
    return torch.cat([of_cls, of_places]) if cls else of_places
