"""Pictures: one large shape crosses a plain background once, with a caption burned in.

A clip that moves left is the clip of the same seed that moves right, played backwards: single frames, and frames
without their order, say nothing of the direction. Where the direction is hidden the shape goes out and comes back.
Colours, size, place and path are drawn independently of the class.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from models.synthetic.design import Direction, Shape
from models.synthetic.font import SUBSET
from models.synthetic.sampling import Scene

_PICTURE_STREAM = 1
_SUPERSAMPLE = 3
_CAPTION_SIDE = 4  # pixels left free beside a caption


def draw_frames(scene: Scene) -> NDArray[np.uint8]:
    """[T, H, W, 3] RGB."""
    rng = np.random.default_rng(np.random.SeedSequence(scene.seed[0], spawn_key=(*scene.seed[1:], _PICTURE_STREAM)))
    dark, bright = rng.uniform(10, 90, 3), rng.uniform(165, 250, 3)
    ground, ink = (dark, bright) if rng.random() < 0.5 else (bright, dark)
    diameter = round(min(scene.width, scene.height) * rng.uniform(0.38, 0.48))
    sprite = _sprite(scene.shape, diameter, rng.uniform(-0.3, 0.3))[:, :, None]
    caption_on_top = bool(rng.random() < 0.3)
    progress = _progress(rng, scene)
    lefts, tops = _path(rng, scene, diameter, progress)

    background = _background(rng, scene, ground)
    frames = np.repeat(background[None], scene.frames, axis=0)
    for frame, left, top in zip(frames, lefts, tops, strict=True):
        patch = frame[top : top + diameter, left : left + diameter]
        patch += sprite * (ink - patch)
    if scene.caption:
        _burn_in(frames, scene.caption, on_top=caption_on_top)
    drawn = frames.astype(np.uint8)
    return drawn[::-1] if scene.direction is Direction.LEFT else drawn


def _progress(rng: np.random.Generator, scene: Scene) -> NDArray[np.float64]:
    """[T] in 0..1, from left to right; out and back where the direction is hidden."""
    begin, end = rng.uniform(0.0, 0.1), rng.uniform(0.9, 1.0)
    time = np.linspace(0.0, 1.0, scene.frames)
    if scene.direction is None:
        time = 1.0 - np.abs(2.0 * time - 1.0)
        if rng.random() < 0.5:
            time = 1.0 - time
    return begin + (end - begin) * time


def _path(
    rng: np.random.Generator, scene: Scene, diameter: int, progress: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(left, top) of the sprite, [T] each. Height is a function of progress alone, so the path has no sense of time."""
    free_x, free_y = scene.width - diameter, scene.height - diameter
    height = rng.uniform(0.25, 0.75) + 0.12 * np.sin(2 * np.pi * (progress + rng.random()))
    return np.rint(progress * free_x).astype(np.int64), np.rint(height * free_y).astype(np.int64)


def _background(rng: np.random.Generator, scene: Scene, colour: NDArray[np.float64]) -> NDArray[np.float32]:
    """[H, W, 3]: the colour, brighter towards one corner, with a little grain."""
    across = np.linspace(-1, 1, scene.width)[None, :, None] * rng.uniform(-14, 14)
    down = np.linspace(-1, 1, scene.height)[:, None, None] * rng.uniform(-14, 14)
    grain = rng.normal(0, 3, (scene.height, scene.width, 1))
    return np.clip(colour + across + down + grain, 0, 255).astype(np.float32)


def _sprite(shape: Shape | None, diameter: int, turn: float) -> NDArray[np.float32]:
    """[D, D] opacity in 0..1 of a shape turned by `turn` radians; a soft blob for a hidden one."""
    side = diameter * _SUPERSAMPLE
    line = (np.arange(side) + 0.5) / side * 2 - 1
    x, y = line[None, :], line[:, None]
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    radius = np.hypot(u, v)
    match shape:
        case Shape.DISC:
            inside = radius < 1.0
        case Shape.RING:
            inside = (radius < 1.0) & (radius > 0.62)
        case Shape.CROSS:
            inside = (np.minimum(np.abs(u), np.abs(v)) < 0.24) & (radius < 1.0)
        case Shape.BARS:
            inside = (np.abs(u) < 0.8) & (np.abs(v) < 0.8) & (np.mod(v + 0.8, 0.64) < 0.32)
        case None:
            return np.asarray(np.exp(-3.0 * (radius[::_SUPERSAMPLE, ::_SUPERSAMPLE] ** 2)), dtype=np.float32)
    opacity = inside.reshape(diameter, _SUPERSAMPLE, diameter, _SUPERSAMPLE).mean(axis=(1, 3))
    return np.asarray(opacity, dtype=np.float32)


def _burn_in(frames: NDArray[np.float32], caption: str, *, on_top: bool) -> None:
    height, width = frames.shape[1:3]
    text = _caption_bitmap(caption, width)
    rows = text.shape[0]
    top = 2 if on_top else height - rows - 2
    opacity, grey = text[:, :, 1:] / 255.0, text[:, :, :1]
    band = frames[:, top : top + rows]
    band += opacity * (grey - band)


def _caption_bitmap(caption: str, width: int) -> NDArray[np.float32]:
    """[rows, width, 2] grey and opacity: white characters with a black rim, in as many lines as they need."""
    size = max(10, width // 7)
    per_line = (width - _CAPTION_SIDE) // size
    lines = [caption[start : start + per_line] for start in range(0, len(caption), per_line)]
    canvas = Image.new("LA", (width, len(lines) * (size + 2) + 2))
    pen = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        place = (width / 2, number * (size + 2) + 1 + size / 2)
        pen.text(place, line, font=_font(size), fill=(255, 255), anchor="mm", stroke_width=1, stroke_fill=(0, 255))
    return np.asarray(canvas, dtype=np.float32)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(SUBSET), size, layout_engine=ImageFont.Layout.BASIC)
