"""Which classes the generated dataset has and what tells them apart: a code word of four factors for each.

Text tells the topic, single pictures the shape, their order the direction, sound the tone. A topic has four classes,
two in each of two verticals, and they differ in two of the other three factors: the first tells the vertical, the
second the class inside it. So siblings share their words even across level 1, and no three factors do for all topics.
The 24 combinations of shape, direction and tone serve two to three classes each, so pictures and sound cannot do
without the words.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray


class Shape(StrEnum):
    """What moves through the picture."""

    DISC = "disc"
    RING = "ring"
    CROSS = "cross"
    BARS = "bars"


class Direction(StrEnum):
    """Which way it moves. One is the other played backwards."""

    RIGHT = "right"
    LEFT = "left"


class Tone(StrEnum):
    """What is heard."""

    DRONE = "drone"  # a low chord, held
    PULSE = "pulse"  # a middle chord, struck several times a second
    CHIME = "chime"  # high notes, one after the other


@dataclass(frozen=True, slots=True)
class ClassDesign:
    """A level-2 category of the default taxonomy and its code word."""

    id: str
    topic: str
    shape: Shape
    direction: Direction
    tone: Tone

    @property
    def level1(self) -> str:
        return self.id.partition(".")[0]


_TABLE = """
home_dishes     food.home_cooking             ring  right drone
home_dishes     food.regional_cuisine         ring  right pulse
home_dishes     health.nutrition              bars  right drone
home_dishes     health.traditional_medicine   bars  right pulse
light_meals     food.healthy_meals            bars  right chime
light_meals     food.drinks                   bars  left  chime
light_meals     health.weight_loss            ring  right chime
light_meals     health.medical_advice         ring  left  chime
ball_match      sports.football               cross right chime
ball_match      sports.basketball             bars  right chime
ball_match      gaming.esports                cross right drone
ball_match      gaming.retro_console          bars  right drone
duel            sports.martial_arts           ring  left  drone
duel            sports.table_tennis_badminton ring  left  chime
duel            gaming.moba                   ring  right drone
duel            gaming.shooter                ring  right chime
hanfu_look      fashion.hanfu                 bars  left  pulse
hanfu_look      fashion.clothing_making       bars  left  drone
hanfu_look      beauty.makeup_tutorials       ring  left  pulse
hanfu_look      beauty.hairstyling            ring  left  drone
commute_look    fashion.daily_outfits         bars  left  pulse
commute_look    fashion.bags_accessories      ring  left  pulse
commute_look    beauty.product_reviews        bars  right pulse
commute_look    beauty.nail_art               ring  right pulse
folk_stage      music.folk_instruments        cross right chime
folk_stage      music.opera                   disc  right chime
folk_stage      dance.classical_dance         cross right pulse
folk_stage      dance.ethnic_dance            disc  right pulse
pop_beat        music.pop_covers              disc  left  chime
pop_beat        music.rap                     disc  right chime
pop_beat        dance.street_dance            disc  left  drone
pop_beat        dance.kpop_dance              disc  right drone
naughty_pets    animals.cats                  cross left  chime
naughty_pets    animals.dogs                  cross left  drone
naughty_pets    comedy.funny_dubbing          disc  left  chime
naughty_pets    comedy.fails                  disc  left  drone
zoo_stars       animals.pandas                cross right pulse
zoo_stars       animals.birds                 cross left  pulse
zoo_stars       comedy.reaction_memes         disc  right pulse
zoo_stars       comedy.pranks                 disc  left  pulse
long_drive      cars.electric_cars            disc  left  drone
long_drive      cars.driving_skills           bars  left  drone
long_drive      travel.road_trips             disc  left  chime
long_drive      travel.camping                bars  left  chime
mountain_road   cars.motorcycles              cross left  pulse
mountain_road   cars.dashcam                  cross left  drone
mountain_road   travel.scenery                cross right pulse
mountain_road   travel.ancient_towns          cross right drone
"""


def _read_table() -> tuple[ClassDesign, ...]:
    rows = (line.split() for line in _TABLE.strip().splitlines())
    return tuple(ClassDesign(id, topic, Shape(s), Direction(d), Tone(t)) for topic, id, s, d, t in rows)


CLASSES: tuple[ClassDesign, ...] = _read_table()
TOPICS: tuple[str, ...] = tuple(dict.fromkeys(design.topic for design in CLASSES))
LEVEL1: tuple[str, ...] = tuple(dict.fromkeys(design.level1 for design in CLASSES))
BY_ID: dict[str, ClassDesign] = {design.id: design for design in CLASSES}

_ZIPF_EXPONENT = 0.5
_RANK_STRIDE = 29  # shares no factor with the number of classes: neighbours in the table get ranks far apart


@cache
def class_prior() -> NDArray[np.float64]:
    """[C], sums to 1: long-tailed shares of the classes, proportional to rank^-0.5."""
    ranks = 1 + (_RANK_STRIDE * np.arange(len(CLASSES))) % len(CLASSES)
    weights: NDArray[np.float64] = ranks.astype(np.float64) ** -_ZIPF_EXPONENT
    return np.asarray(weights / weights.sum())


@dataclass(frozen=True, slots=True)
class FieldNoise:
    """How often a text field does not say its topic, and how often it says more than that.

    Of `noisy`, a third each is garbled, missing and off topic. `specific` is the share of the others that name the
    very class.
    """

    noisy: float
    specific: float
    silent: float = 0.0  # says nothing on purpose: clickbait, general tags

    @property
    def off_topic(self) -> float:
        return self.noisy / 3

    @property
    def informative(self) -> float:
        return 1.0 - self.silent - self.noisy


@dataclass(frozen=True, slots=True)
class Noise:
    """All rates of one dataset; each is a share of its items."""

    title: FieldNoise = FieldNoise(noisy=0.10, specific=0.12, silent=0.10)
    ocr: FieldNoise = FieldNoise(noisy=0.40, specific=0.06)
    asr: FieldNoise = FieldNoise(noisy=0.40, specific=0.06)
    tags: FieldNoise = FieldNoise(noisy=0.15, specific=0.0, silent=0.55)
    label: float = 0.08  # wrong labels in the training split; the other splits carry the truth
    no_audio: float = 0.10  # no audio stream, and so nothing for speech recognition
    no_text: float = 0.05  # no title, no tags, nothing burned in
    shape_hidden: float = 0.10  # a blurred blob moves instead
    direction_hidden: float = 0.10  # out and back again: the same backwards
    tone_hidden: float = 0.08  # background noise alone
    ambiguous: float = 0.0  # nothing tells more than the topic: no shape, direction, tone, nor a field naming the class

    @property
    def fields(self) -> dict[str, FieldNoise]:
        return {"title": self.title, "ocr": self.ocr, "asr": self.asr, "tags": self.tags}
