"""What viewers write below a video. The phrases lie in assets/comments_zh.json: {s} is a subject of the topic, {c} a
word of the class."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

import numpy as np

from models.synthetic.design import BY_ID, CLASSES
from models.synthetic.language import ASSETS, phrases


@dataclass(frozen=True, slots=True)
class CommentPhrases:
    """plain: laughter, praise, emoji; topical: of {s}; specific: of {c}; spam: advertisements; classes: each one's
    words, which belong to no other."""

    plain: tuple[str, ...]
    topical: tuple[str, ...]
    specific: tuple[str, ...]
    spam: tuple[str, ...]
    classes: dict[str, tuple[str, ...]]


@cache
def comment_phrases() -> CommentPhrases:
    raw = json.loads((ASSETS / "comments_zh.json").read_text(encoding="utf-8"))
    return CommentPhrases(
        plain=tuple(raw["plain"]),
        topical=tuple(raw["topical"]),
        specific=tuple(raw["specific"]),
        spam=tuple(raw["spam"]),
        classes={design.id: tuple(raw["classes"][design.id]) for design in CLASSES},
    )


def plain(rng: np.random.Generator) -> str:
    """Says nothing of the video."""
    return _choose(rng, comment_phrases().plain)


def about_topic(rng: np.random.Generator, topic: str) -> str:
    return _choose(rng, comment_phrases().topical).format(s=_choose(rng, phrases().topics[topic].subjects))


def about_class(rng: np.random.Generator, class_id: str) -> str:
    """Names the class; which words it does so with is drawn among hundreds."""
    bank = comment_phrases()
    return _choose(rng, bank.specific).format(
        c=_choose(rng, bank.classes[class_id]), s=_choose(rng, phrases().topics[BY_ID[class_id].topic].subjects)
    )


def spam(rng: np.random.Generator) -> str:
    """Near-equal copies of few texts."""
    return _choose(rng, comment_phrases().spam) + "！" * int(rng.integers(4))


def _choose(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[rng.integers(len(options))]
