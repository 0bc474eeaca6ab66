"""Titles, burned-in words, speech and tags: phrases of a topic, of one class or of nobody, whole or garbled.

The phrases lie in assets/phrases_zh.json; `{s}` stands for one of the topic's subjects. What a phrase says is set by
its FieldState, which the caller draws; here it only becomes words.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

import numpy as np

from models.synthetic.design import CLASSES, TOPICS, ClassDesign
from schemas.taxonomy import default_taxonomy

ASSETS = Path(__file__).parent / "assets"


class FieldState(StrEnum):
    """What a text field says."""

    TOPIC = "topic"
    CLASS = "class"  # names the very class
    OFF_TOPIC = "off_topic"  # speaks of another topic
    GARBLED = "garbled"  # every Chinese character is wrong
    MISSING = "missing"
    SILENT = "silent"  # clickbait, general tags


@dataclass(frozen=True, slots=True)
class FieldDraw:
    """A field's state, and the topic or class id it speaks of where it speaks of one."""

    state: FieldState
    about: str | None = None


@dataclass(frozen=True, slots=True)
class TopicPhrases:
    subjects: tuple[str, ...]
    titles: tuple[str, ...]
    ocr: tuple[str, ...]
    asr: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Phrases:
    """The phrase bank. class_names are the default taxonomy's."""

    clickbait: tuple[str, ...]
    general_tags: tuple[str, ...]
    topics: dict[str, TopicPhrases]
    classes: dict[str, tuple[str, ...]]
    class_names: dict[str, str]


@cache
def phrases() -> Phrases:
    raw = json.loads((ASSETS / "phrases_zh.json").read_text(encoding="utf-8"))
    names = {category.id: category.zh for category in default_taxonomy().level2}
    return Phrases(
        clickbait=tuple(raw["clickbait"]),
        general_tags=tuple(raw["general_tags"]),
        topics={t: TopicPhrases(**{kind: tuple(lines) for kind, lines in raw["topics"][t].items()}) for t in TOPICS},
        classes={design.id: tuple(raw["classes"][design.id]) for design in CLASSES},
        class_names={design.id: names[design.id] for design in CLASSES},
    )


def title(rng: np.random.Generator, draw: FieldDraw, design: ClassDesign) -> str:
    if draw.state is FieldState.SILENT:
        return _choose(rng, phrases().clickbait)
    return _sentence(rng, draw, design, "titles")


def speech(rng: np.random.Generator, draw: FieldDraw, design: ClassDesign) -> str:
    return _sentence(rng, draw, design, "asr")


def caption(rng: np.random.Generator, draw: FieldDraw, design: ClassDesign) -> tuple[str, str]:
    """(what is burned in, what character recognition reads). A reader that fails leaves the picture as it is."""
    if draw.state is FieldState.CLASS:
        burned = phrases().class_names[design.id]
    else:
        burned = _filled(rng, _spoken_topic(draw, design), "ocr")
    if draw.state is FieldState.MISSING:
        return burned, ""
    return burned, garble(rng, burned) if draw.state is FieldState.GARBLED else burned


def tags(rng: np.random.Generator, draw: FieldDraw, design: ClassDesign) -> tuple[str, ...]:
    if draw.state is FieldState.MISSING:
        return ()
    general = _choose(rng, phrases().general_tags)
    if draw.state is FieldState.SILENT:
        return (general,)
    topical = _choose(rng, phrases().topics[_spoken_topic(draw, design)].tags)
    return (garble(rng, topical) if draw.state is FieldState.GARBLED else topical, general)


def garble(rng: np.random.Generator, text: str) -> str:
    """The text with every Chinese character replaced by one drawn from the phrase bank, as a bad reader would."""
    alphabet = _chinese_characters()
    return "".join(alphabet[rng.integers(len(alphabet))] if _is_chinese(c) else c for c in text)


@cache
def burnable_characters() -> frozenset[str]:
    """Every character that can be burned into a picture."""
    bank = phrases()
    captions = (line for topic in bank.topics.values() for line in (*topic.ocr, *topic.subjects))
    return frozenset("".join((*captions, *bank.class_names.values()))) - set("{}")


@cache
def all_characters() -> frozenset[str]:
    """Every character of the phrase bank."""
    bank = phrases()
    topics = (line for t in bank.topics.values() for line in (*t.subjects, *t.titles, *t.ocr, *t.asr, *t.tags))
    classes = (line for lines in bank.classes.values() for line in lines)
    spoken = "".join((*bank.clickbait, *bank.general_tags, *topics, *classes))
    return (frozenset(spoken) - set("{}")) | burnable_characters()


def _sentence(rng: np.random.Generator, draw: FieldDraw, design: ClassDesign, kind: str) -> str:
    match draw.state:
        case FieldState.MISSING:
            return ""
        case FieldState.CLASS:
            subject = _choose(rng, phrases().topics[design.topic].subjects)
            return _choose(rng, phrases().classes[design.id]).format(s=subject)
        case FieldState.GARBLED:
            return garble(rng, _filled(rng, design.topic, kind))
        case _:
            return _filled(rng, _spoken_topic(draw, design), kind)


def _spoken_topic(draw: FieldDraw, design: ClassDesign) -> str:
    return draw.about if draw.state is FieldState.OFF_TOPIC and draw.about else design.topic


def _filled(rng: np.random.Generator, topic: str, kind: str) -> str:
    bank = phrases().topics[topic]
    template = _choose(rng, getattr(bank, kind))
    return template.format(s=_choose(rng, bank.subjects))


def _choose(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[rng.integers(len(options))]


@cache
def _chinese_characters() -> tuple[str, ...]:
    return tuple(sorted(filter(_is_chinese, all_characters())))


def _is_chinese(character: str) -> bool:
    return "\u4e00" <= character <= "\u9fff"
