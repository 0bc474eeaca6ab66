"""What a line typed at the desk means. Pure."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import StrEnum


class Key(StrEnum):
    """What a single key asks for, whatever is on the screen."""

    CONFIRM = ""
    ESCALATE = "e"
    SKIP = "s"
    UNDO = "u"
    QUIT = "q"
    HELP = "?"


HELP = "Enter confirms · a number picks · letters search · e escalates · s skips · u undoes · q quits · ? this line"


@dataclass(frozen=True, slots=True)
class Pick:
    """One of the choices shown, by its place from 0."""

    place: int


@dataclass(frozen=True, slots=True)
class Search:
    """Words of a category."""

    words: str


@dataclass(frozen=True, slots=True)
class NoSuchNumber:
    """A number beyond the choices shown."""

    number: str


Typed = Key | Pick | Search | NoSuchNumber


def read(line: str, choices: int) -> Typed:
    """choices: how many numbered answers are on the screen. What a Chinese keyboard types wide counts as narrow."""
    said = unicodedata.normalize("NFKC", line).strip()
    if said.lower() in set(Key):
        return Key(said.lower())
    if said.isdecimal():
        # as text: int() refuses, or takes long over, a number of thousands of digits
        number = int(said) if len(said) < 6 else 0
        return Pick(number - 1) if 1 <= number <= choices else NoSuchNumber(said[:6])
    return Search(said)
