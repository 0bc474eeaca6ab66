"""An independent reader to check decode_clip against: everything in sequence, exact arithmetic, no shortcut."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

ACCURATE = (
    Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)


def read_in_sequence(path: Path) -> list[tuple[Fraction, Fraction, av.VideoFrame]]:
    """(begin, end, frame) of every picture, in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [(frame.pts * stream.time_base, frame) for frame in container.decode(stream)]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        ends = {p.pts * p.time_base: (p.pts + p.duration) * p.time_base for p in container.demux(stream) if p.size}
    return [(begin, ends[begin], frame) for begin, frame in frames]


def expected_clip(path: Path, count: int, size: int) -> tuple[NDArray[np.uint8], list[float]]:
    """The pictures on screen at the centres of `count` equal segments, stretched to a square, and their stamps."""
    pictures = read_in_sequence(path)
    first, end = pictures[0][0], pictures[-1][1]
    images, stamps = [], []
    for i in range(count):
        moment = first + (end - first) * Fraction(2 * i + 1, 2 * count)
        begin, _, frame = [picture for picture in pictures if picture[0] <= moment][-1]
        small = frame.reformat(width=size, height=size, format="rgb24", interpolation=int(ACCURATE), threads=1)
        images.append(small.to_ndarray())
        stamps.append(float(begin - first))
    return np.stack(images), stamps
