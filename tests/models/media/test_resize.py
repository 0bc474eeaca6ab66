"""One resize everywhere: what a GPU path must reproduce, and the colours it must give."""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from numpy.typing import NDArray

from models.media.pictures import Resizer
from models.media.types import FramePlan
from tests.models.media.reading import ACCURATE


def natural(width: int, height: int) -> NDArray[np.uint8]:
    """A picture with the spectrum of a photograph (1/f) and sharp edges, [H, W, 3]."""
    rng = np.random.default_rng(7)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    spectrum = (rng.normal(size=(3, *frequency.shape)) + 1j * rng.normal(size=(3, *frequency.shape))) / frequency
    image = np.fft.irfft2(spectrum, s=(height, width)).transpose(1, 2, 0)
    image = image / image.std() * 45 + 128
    for _ in range(40):
        top, left = rng.integers(0, height - 8), rng.integers(0, width - 8)
        image[top : top + rng.integers(3, 60), left : left + rng.integers(3, 60)] = rng.integers(0, 256, 3)
    return image.clip(0, 255).astype(np.uint8)


def decoded(image: NDArray[np.uint8], colours: Colorspace, full: bool) -> av.VideoFrame:
    """The picture as a decoder gives it: 4:2:0, in the given matrix and range."""
    return av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=colours,
        dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        interpolation=int(Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT),
        threads=1,
    )


def plane(frame: av.VideoFrame, number: int) -> torch.Tensor:
    data = frame.planes[number]
    rows = np.frombuffer(data, np.uint8).reshape(data.height, data.line_size)[:, : data.width]
    return torch.from_numpy(rows.copy()).float()


def by_formula(frame: av.VideoFrame, side: int, red: float, blue: float, full: bool) -> NDArray[np.float32]:
    """Planes resized with torch's anti-aliased bilinear filter, then the matrix of the standard; [S, S, 3]."""
    planes = [
        torch.nn.functional.interpolate(plane(frame, i)[None, None], size=(side, side), mode="bilinear", antialias=True)
        for i in range(3)
    ]
    y, cb, cr = (p[0, 0].numpy() for p in planes)
    if full:
        y, cb, cr = y / 255, (cb - 128) / 255, (cr - 128) / 255
    else:
        y, cb, cr = (y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.asarray(np.clip(np.stack([r, g, b], -1) * 255, 0, 255), np.float32)


BT601, BT709, BT2020 = (
    (Colorspace.ITU601, 0.299, 0.114),
    (Colorspace.ITU709, 0.2126, 0.0722),
    (Colorspace.BT2020, 0.2627, 0.0593),
)


@pytest.mark.parametrize(
    ("size", "matrix", "full"),
    [
        ((1920, 1080), BT601, False),
        ((854, 480), BT601, False),
        ((96, 64), BT601, False),
        ((360, 640), BT601, True),
        ((360, 640), BT709, False),
        ((360, 640), BT709, True),
        ((360, 640), BT2020, False),
    ],
)
def test_pixels_are_those_of_an_antialiased_bilinear_resize(
    size: tuple[int, int], matrix: tuple[Colorspace, float, float], full: bool
) -> None:
    colours, red, blue = matrix
    frame = decoded(natural(*size), colours, full)
    difference = np.abs(Resizer(FramePlan(1, 224))(frame) - by_formula(frame, 224, red, blue, full))
    assert difference.mean() < 0.5
    assert np.percentile(difference, 99) <= 2


def test_a_centre_crop_is_the_middle_of_the_resized_picture() -> None:
    frame = decoded(natural(320, 180), Colorspace.ITU601, False)
    whole = frame.reformat(width=160, height=90, format="rgb24", interpolation=int(ACCURATE), threads=1).to_ndarray()
    cropped = Resizer(FramePlan(1, 90, fit="centre_crop"))(frame)
    np.testing.assert_array_equal(cropped, whole[:, 35:125])
