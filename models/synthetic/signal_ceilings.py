"""How much a dataset's signals tell: naive Bayes readers of signals alone, among the four classes of a video's topic.

    python -m models.synthetic.signal_ceilings DATA

The topic is given, as content gives it for nearly every video: its two verticals and four classes are left to tell. A
reader counts on the training split, is asked about the test split, and answers with the greatest of

    log P(c) + sum_x n_x log P(x | c),

where c is a vertical or a class, n_x how often x is seen and P(x | c) the training videos' counts, one added to each.
x is the author's main vertical, a viewer's vertical, or a class that a comment names. The author's past is the
Dirichlet posterior instead: log(training videos of the author in the vertical + 0.15).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.synthetic.comments import comment_phrases
from models.synthetic.design import BY_ID, CLASSES, LEVEL1, ClassDesign, class_prior
from schemas.manifest import SIGNALS, ManifestRow, SignalsRow

Video = tuple[ManifestRow, SignalsRow]
Scores = Callable[[Video], NDArray[np.float64]]  # -> [C]: of each class, but for its prior
Sight = Callable[[Video], NDArray[np.float64]]  # -> [X]: how often each x is seen

MANY_PLAYS = 100
_LEVEL1_OF = np.array([LEVEL1.index(design.level1) for design in CLASSES])  # [C]
_PAST_WEIGHT = 0.15


def signal_ceilings(videos: Sequence[Video]) -> dict[str, float]:
    """Shares of right answers of each reader, on the test split or on the part of it that has plays enough."""
    training = [video for video in videos if video[0].split == "train"]
    test = [video for video in videos if video[0].split == "test"]
    played = [video for video in test if _plays(video) >= MANY_PLAYS]
    past = _past(training)
    main = _trained(training, _main_vertical, by_level1=True)
    audience = _trained(training, _audience, by_level1=True)
    words = _trained(training, _named_classes, by_level1=False)
    many = f"{MANY_PLAYS} plays or more"
    return {
        "level 1, main vertical": _level1_accuracy([main], test),
        "level 1, author's past": _level1_accuracy([past], test),
        "level 1, author's past and main vertical": _level1_accuracy([past, main], test),
        "level 1, audience": _level1_accuracy([audience], test),
        f"level 1, audience, {many}": _level1_accuracy([audience], played),
        "class, audience and comments": _accuracy([audience, words], test),
        f"class, comments, {many}": _accuracy([words], played),
        f"class, audience and comments, {many}": _accuracy([audience, words], played),
        "class, all of it": _accuracy([past, main, audience, words], test),
    }


def _accuracy(readers: Sequence[Scores], videos: Sequence[Video]) -> float:
    right = [CLASSES[_best(readers, video, np.log(class_prior()))].id == video[0].truth for video in videos]
    return round(float(np.mean(right)), 4)


def _level1_accuracy(readers: Sequence[Scores], videos: Sequence[Video]) -> float:
    shares = np.zeros(len(LEVEL1))
    np.add.at(shares, _LEVEL1_OF, class_prior())
    prior = np.log(shares)[_LEVEL1_OF]
    right = [CLASSES[_best(readers, video, prior)].level1 == _design(video).level1 for video in videos]
    return round(float(np.mean(right)), 4)


def _best(readers: Sequence[Scores], video: Video, prior: NDArray[np.float64]) -> int:
    """The index of the best class of the video's topic."""
    scores = prior + np.sum([reader(video) for reader in readers], axis=0)
    topic = np.array([design.topic == _design(video).topic for design in CLASSES])
    return int(np.where(topic, scores, -np.inf).argmax())


def _trained(training: Sequence[Video], sight: Sight, *, by_level1: bool) -> Scores:
    groups = _LEVEL1_OF if by_level1 else np.arange(len(CLASSES))
    counts = np.ones((groups.max() + 1, len(sight(training[0]))))
    for video in training:
        counts[groups[CLASSES.index(_design(video))]] += sight(video)
    log_seen = np.log(counts / counts.sum(axis=1, keepdims=True))[groups]  # [C, X]
    return lambda video: np.asarray(log_seen @ sight(video))


def _past(training: Sequence[Video]) -> Scores:
    published: dict[str, NDArray[np.float64]] = {}
    for video in training:
        counts = published.setdefault(video[0].author_id, np.zeros(len(LEVEL1)))
        counts[LEVEL1.index(_design(video).level1)] += 1
    unknown = np.zeros(len(LEVEL1))
    return lambda video: np.log(published.get(video[0].author_id, unknown) + _PAST_WEIGHT)[_LEVEL1_OF]


def _main_vertical(video: Video) -> NDArray[np.float64]:
    profile = video[1].profile
    return np.array([profile is not None and profile.main_vertical == level1 for level1 in LEVEL1], float)


def _audience(video: Video) -> NDArray[np.float64]:
    shares = video[1].snapshots[-1].audience if video[1].snapshots else {}
    return _plays(video) * np.array([shares.get(level1, 0.0) for level1 in LEVEL1])


def _named_classes(video: Video) -> NDArray[np.float64]:
    texts = video[1].snapshots[-1].top_comments if video[1].snapshots else ()
    words = comment_phrases().classes
    return np.array(
        [sum(any(word in text for word in words[design.id]) for text in texts) for design in CLASSES], float
    )


def _plays(video: Video) -> int:
    return video[1].snapshots[-1].plays if video[1].snapshots else 0


def _design(video: Video) -> ClassDesign:
    assert video[0].truth is not None  # the generator's videos say what they are
    return BY_ID[video[0].truth]


def _read(data: Path) -> list[Video]:
    rows = [ManifestRow.model_validate_json(line) for line in (data / "manifest.jsonl").read_bytes().splitlines()]
    signals = [SignalsRow.model_validate_json(line) for line in (data / SIGNALS).read_bytes().splitlines()]
    return list(zip(rows, signals, strict=True))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(signal_ceilings(_read(Path(sys.argv[1]))), indent=2) + "\n")
