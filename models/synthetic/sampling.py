"""Drawing an item: its class, its author, its words and all its picture and sound are made from. Pure.

An item depends on (seed, split, index) and the noise alone, so any part of a dataset can be made again, in any process
and any order, and a split does not change when another grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from models.synthetic import language
from models.synthetic.design import (
    CLASSES,
    LEVEL1,
    TOPICS,
    ClassDesign,
    Direction,
    FieldNoise,
    Noise,
    Shape,
    Tone,
    class_prior,
)
from models.synthetic.language import FieldDraw, FieldState
from schemas.manifest import Split

SPLITS: tuple[Split, ...] = get_args(Split)
AUTHORS = 240

_DIRICHLET = 0.15  # few verticals per author: most have one
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
# (first day, days): training comes before validation, calibration and test, as it does in life
_PUBLISHED: dict[Split, tuple[int, int]] = {
    "train": (0, 120),
    "unlabelled": (0, 120),
    "validation": (120, 10),
    "calibration": (130, 20),
    "test": (150, 20),
}
_SIZES = ((64, 96), (64, 88), (72, 96), (80, 96), (64, 64), (80, 80), (96, 72), (96, 64))  # width, height
_RATES = (8, 10, 12)  # frames per second
_GOPS = (4, 8, 16, 250)  # frames; 250 is libx264's default, one group for the whole clip
_AMBIGUITY_STREAM = 3  # beside those of picture and sound: whether an item is ambiguous moves no other draw


@dataclass(frozen=True, slots=True)
class World:
    """The authors of one seed. verticals: [A, L1] share of each level-1; activity: [A], sums to 1."""

    verticals: NDArray[np.float64]
    activity: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scene:
    """All that the encoder needs: what is seen and heard, and how it is packed.

    shape, direction and tone are None where hidden. `caption` is what is burned in; '' for nothing.
    """

    width: int
    height: int
    fps: int
    frames: int
    gop: int
    b_frames: int
    index_first: bool  # the mp4 index before the media
    shape: Shape | None
    direction: Direction | None
    tone: Tone | None
    has_audio: bool
    caption: str
    seed: tuple[int, ...]  # of the picture's and the sound's own random choices

    @property
    def duration_s(self) -> float:
        return self.frames / self.fps


@dataclass(frozen=True, slots=True)
class Item:
    """One video of the dataset before it is rendered. label is what an annotator wrote; truth what it is."""

    video_id: str
    author_id: str
    split: Split
    published_at: datetime
    title: str
    ocr: tuple[str, ...]
    asr: str
    tags: tuple[str, ...]
    truth: str
    label: str | None
    scene: Scene
    factors: dict[str, Any]


@cache
def world(seed: int) -> World:
    """The authors of a seed: a Dirichlet draw over level 1 each, and a long-tailed activity."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(len(SPLITS),)))
    activity = (1.0 + np.arange(AUTHORS)) ** -0.7
    return World(
        verticals=rng.dirichlet(np.full(len(LEVEL1), _DIRICHLET), size=AUTHORS),
        activity=activity / activity.sum(),
    )


def draw_item(seed: int, split: Split, index: int, noise: Noise) -> Item:
    """The item at `index` of a split."""
    key = (SPLITS.index(split), index)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    design = CLASSES[rng.choice(len(CLASSES), p=class_prior())]
    author = _draw_author(rng, world(seed), design)
    label, wrong_label = _draw_label(rng, split, design, noise.label)
    ambiguous = _draw_ambiguity(seed, key, noise.ambiguous)
    silent_file = bool(rng.random() < noise.no_audio)
    wordless_file = bool(rng.random() < noise.no_text)
    shape = None if rng.random() < noise.shape_hidden else design.shape
    direction = None if rng.random() < noise.direction_hidden else design.direction
    tone = None if rng.random() < noise.tone_hidden or silent_file else design.tone
    fields = {
        name: _draw_field(rng, design, rates, missing=silent_file if name == "asr" else wordless_file)
        for name, rates in noise.fields.items()
    }
    if ambiguous:
        shape = direction = tone = None
        fields = {name: _without_class(draw, design) for name, draw in fields.items()}
    burned, read = language.caption(rng, fields["ocr"], design)
    return Item(
        video_id=f"s{seed}-{split}-{index:06d}",
        author_id=f"s{seed}-author-{author:04d}",
        split=split,
        published_at=_draw_time(rng, split),
        title=language.title(rng, fields["title"], design),
        ocr=(read,) if read and not wordless_file else (),
        asr=language.speech(rng, fields["asr"], design),
        tags=language.tags(rng, fields["tags"], design),
        truth=design.id,
        label=label,
        scene=_draw_scene(
            rng,
            (seed, *key),
            caption="" if wordless_file else burned,
            factors=(shape, direction, tone),
            has_audio=not silent_file,
        ),
        factors={
            "topic": design.topic,
            "shape": design.shape.value,
            "direction": design.direction.value,
            "tone": design.tone.value,
            "seen_shape": shape and shape.value,
            "seen_direction": direction and direction.value,
            "heard_tone": tone and tone.value,
            **{name: {"state": draw.state.value, "about": draw.about} for name, draw in fields.items()},
            "no_audio": silent_file,
            "no_text": wordless_file,
            "wrong_label": wrong_label,
            **({"ambiguous": ambiguous} if noise.ambiguous else {}),
        },
    )


def _draw_author(rng: np.random.Generator, authors: World, design: ClassDesign) -> int:
    """Who publishes such a video: Bayes over the authors, so that the class shares stay as designed."""
    weights = authors.activity * authors.verticals[:, LEVEL1.index(design.level1)]
    return int(rng.choice(len(weights), p=weights / weights.sum()))


def _draw_label(rng: np.random.Generator, split: Split, design: ClassDesign, rate: float) -> tuple[str | None, bool]:
    """What an annotator wrote; a wrong label is a sibling of the same topic half of the time, else any other class."""
    wrong = split == "train" and bool(rng.random() < rate)
    if split == "unlabelled":
        return None, False
    if not wrong:
        return design.id, False
    others = [other for other in CLASSES if other is not design]
    siblings = [other for other in others if other.topic == design.topic]
    pool = siblings if rng.random() < 0.5 else others
    return pool[rng.integers(len(pool))].id, True


def _draw_ambiguity(seed: int, key: tuple[int, ...], rate: float) -> bool:
    stream = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(*key, _AMBIGUITY_STREAM)))
    return bool(stream.random() < rate)


def _without_class(draw: FieldDraw, design: ClassDesign) -> FieldDraw:
    return FieldDraw(FieldState.TOPIC, design.topic) if draw.state is FieldState.CLASS else draw


def _draw_field(rng: np.random.Generator, design: ClassDesign, rates: FieldNoise, *, missing: bool) -> FieldDraw:
    """Which of its states a text field is in. A file without the field's source has it missing, whatever the rates."""
    place = rng.random()
    if missing:
        return FieldDraw(FieldState.MISSING)
    if place < rates.silent:
        return FieldDraw(FieldState.SILENT)
    if place < rates.silent + rates.noisy:
        third = int((place - rates.silent) / rates.noisy * 3)
        state = (FieldState.GARBLED, FieldState.MISSING, FieldState.OFF_TOPIC)[third]
        if state is FieldState.OFF_TOPIC:
            others = [topic for topic in TOPICS if topic != design.topic]
            return FieldDraw(state, others[rng.integers(len(others))])
        return FieldDraw(state)
    if rng.random() < rates.specific:
        return FieldDraw(FieldState.CLASS, design.id)
    return FieldDraw(FieldState.TOPIC, design.topic)


def _draw_time(rng: np.random.Generator, split: Split) -> datetime:
    first, days = _PUBLISHED[split]
    return _BEGIN + timedelta(days=first, seconds=int(rng.integers(days * 86_400)))


def _draw_scene(
    rng: np.random.Generator,
    seed: tuple[int, ...],
    *,
    caption: str,
    factors: tuple[Shape | None, Direction | None, Tone | None],
    has_audio: bool,
) -> Scene:
    width, height = _SIZES[rng.integers(len(_SIZES))]
    fps = int(rng.choice(_RATES))
    shape, direction, tone = factors
    return Scene(
        width=width,
        height=height,
        fps=fps,
        frames=round(fps * rng.uniform(2.0, 4.0)),
        gop=int(rng.choice(_GOPS)),
        b_frames=int(rng.choice((0, 2))),
        index_first=bool(rng.random() < 0.5),
        shape=shape,
        direction=direction,
        tone=tone,
        has_audio=has_audio,
        caption=caption,
        seed=seed,
    )
