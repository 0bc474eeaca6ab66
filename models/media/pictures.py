"""The one resize of training and serving: a decoded picture becomes a small RGB square.

libswscale, bilinear over the whole footprint of a pixel (so it is anti-aliased), colours converted by libswscale with
full chroma resolution and accurate rounding. A GPU path must do the same: resize each plane with a triangle filter
(`torch.nn.functional.interpolate(mode="bilinear", antialias=True)`), then colours. Difference from that formula, mean
and 99th percentile in grey levels, 1080p to 224 pixels: this 0.03 and 1, BILINEAR without the accuracy flags 3.1 and
28, AREA 4.4 and 27, BICUBIC 4.3 and 27, FAST_BILINEAR 21 and 112 (tests/models/media/test_resize.py holds the first).

The matrix is the one the stream names, BT.601 where it names none, as FFmpeg does. HDR is not tone mapped. A display
matrix turns pictures by quarters; mirroring and non-square pixels are left as they are stored.
"""

from __future__ import annotations

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from models.media.types import FramePlan

_RESIZE = (
    Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)


class Resizer:
    """Turns frames into uint8 [S, S, 3] RGB as the plan says; keeps libswscale's tables between frames of one size."""

    def __init__(self, plan: FramePlan) -> None:
        self.plan = plan
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> NDArray[np.uint8]:
        side = self.plan.size
        width, height = side, side
        if self.plan.fit == "centre_crop":
            shorter = min(frame.width, frame.height)
            width, height = round(frame.width * side / shorter), round(frame.height * side / shorter)
        small = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", interpolation=int(_RESIZE), threads=1
        )
        image = np.asarray(small.to_ndarray(), np.uint8)
        left, top = (width - side) // 2, (height - side) // 2
        return np.rot90(image[top : top + side, left : left + side], quarter_turns(frame))


def quarter_turns(frame: VideoFrame) -> int:
    """How often the picture is to be turned by 90 degrees counter-clockwise, 0 to 3."""
    return round(frame.rotation / 90) % 4
