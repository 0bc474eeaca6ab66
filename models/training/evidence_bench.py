"""What signals are worth: accuracy with them and without, on videos that content tells and on videos it cannot.

The controls: the same with authors, or engagement, of other videos, in training and test alike; and the same videos
under a brigade of fake viewers who all name one wrong class.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from models.decision.decide import decide_many
from models.decision.types import Decision, EngagementEvidence, Evidence, Policy, Route
from models.training.metrics import calibration_error_by_chance, expected_calibration_error
from models.training.signal_items import Item

VIEWS = ("content", "author", "engagement", "both")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Level-2 accuracy of the answers, withheld ones too."""

    all: float
    clear: float  # of videos whose content tells their class as far as noise lets it
    ambiguous: float  # of videos whose content tells the topic alone


@dataclass(frozen=True, slots=True)
class Worth:
    """One test set. accuracy: by VIEWS, and "other authors", "other engagement". confidence, right: of each answer, by
    VIEWS; published: share of videos whose level 2 is published, and how much of that is wrong.

    brigade_flips: of the level-2 labels published before, the share that a brigade turned into another one;
    brigade_level1_flips: the same of level-1 labels, published with level 2 or alone; brigade_withheld: of the level-2
    labels published before, the share that no longer is; brigade_answers: of all videos, the share whose answer,
    published or not, became what the brigade says.
    """

    seed: int
    items: int
    accuracy: dict[str, Accuracy]
    confidence: dict[str, list[float]]
    right: dict[str, list[bool]]
    published: dict[str, tuple[float, float]]
    brigade_flips: float
    brigade_level1_flips: float
    brigade_withheld: float
    brigade_answers: float
    brigade_published: float  # of all videos: newly published as what the brigade says

    def ece(self, view: str) -> float:
        """Calibration error of the answers' probability."""
        return calibration_error([self], view)

    def save(self, path: Path) -> None:
        """As JSON, whole or not at all."""
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Worth:
        stored = json.loads(path.read_text(encoding="utf-8"))
        stored["accuracy"] = {view: Accuracy(**each) for view, each in stored["accuracy"].items()}
        stored["published"] = {view: (each[0], each[1]) for view, each in stored["published"].items()}
        return cls(**stored)


@dataclass(frozen=True, slots=True)
class Judged:
    """Test videos: which are ambiguous, the engagement of each under a brigade, and the class it names."""

    seed: int
    items: Sequence[Item]
    ambiguous: Sequence[bool]
    brigaded: Sequence[EngagementEvidence | None]
    named: Sequence[int]  # level-2 index


def measure(tests: Judged, policy: Policy, other_authors: Policy, other_engagement: Policy) -> Worth:
    """policy: of the head; the other two: of heads that learnt from authors, or engagement, of other videos."""
    evidences = [item.latest for item in tests.items]
    shown = {
        "content": [each._replace(author=None, engagement=None) for each in evidences],
        "author": [each._replace(engagement=None) for each in evidences],
        "engagement": [each._replace(author=None) for each in evidences],
        "both": evidences,
    }
    decided = {view: decide_many(each, policy) for view, each in shown.items()}
    moved = shuffled(tests.items, tests.seed, authors=True)
    decided["other authors"] = decide_many([each.latest._replace(engagement=None) for each in moved], other_authors)
    moved = shuffled(tests.items, tests.seed, authors=False)
    decided["other engagement"] = decide_many([each.latest._replace(author=None) for each in moved], other_engagement)
    honest = decided["both"]
    attacked = decide_many(_attacked(evidences, tests.brigaded), policy)
    truth = np.array([item.target for item in tests.items])
    named = np.array(tests.named)
    before, after = published(honest), published(attacked)
    answers, turned = _answers(honest), _answers(attacked)
    return Worth(
        seed=tests.seed,
        items=len(tests.items),
        accuracy={view: _accuracy(each, truth, tests.ambiguous) for view, each in decided.items()},
        confidence={view: [each.level2_probability for each in decided[view]] for view in VIEWS},
        right={view: (_answers(decided[view]) == truth).tolist() for view in VIEWS},
        published={view: _published(decided[view], truth) for view in VIEWS},
        brigade_flips=_flipped(before, after),
        brigade_level1_flips=_flipped(published_level1(honest), published_level1(attacked)),
        brigade_withheld=_share((after < 0)[before >= 0]),
        brigade_answers=float(((turned != answers) & (turned == named)).mean()),
        brigade_published=float(((after == named) & (before != named)).mean()),
    )


def calibration_error(results: Sequence[Worth], view: str) -> float:
    """Over all videos of all test sets."""
    confidence = np.concatenate([each.confidence[view] for each in results])
    return expected_calibration_error(confidence, np.concatenate([each.right[view] for each in results]))


def calibration_error_of_chance(results: Sequence[Worth], view: str) -> float:
    """What calibration_error() would be on average, were every answer right as often as its probability says."""
    return calibration_error_by_chance(np.concatenate([each.confidence[view] for each in results]))


def shuffled(items: Sequence[Item], seed: int, *, authors: bool) -> list[Item]:
    """The items with the authors (or else the engagement) of other items, in a fixed random order."""
    order = np.random.default_rng(seed).permutation(len(items)).tolist()
    if authors:
        return [replace(item, author=items[place].author) for item, place in zip(items, order, strict=True)]
    return [replace(item, engagements=items[place].engagements) for item, place in zip(items, order, strict=True)]


def published(decisions: Sequence[Decision]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """[N]: the level-2 class in force, -1 where none is."""
    return np.array([each.level2 if each.route is Route.ACCEPT else -1 for each in decisions], np.int64)


def published_level1(decisions: Sequence[Decision]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """[N]: the level-1 class in force, -1 where none is."""
    return np.array([-1 if each.route is Route.REVIEW else each.level1 for each in decisions], np.int64)


def _flipped(
    before: np.ndarray[tuple[int], np.dtype[np.int64]], after: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> float:
    return _share(((after >= 0) & (after != before))[before >= 0])


def _share(flags: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
    return float(flags.mean()) if len(flags) else 0.0


def _attacked(evidences: Sequence[Evidence], brigaded: Sequence[EngagementEvidence | None]) -> list[Evidence]:
    return [
        each if attack is None else each._replace(engagement=attack)
        for each, attack in zip(evidences, brigaded, strict=True)
    ]


def _answers(decisions: Sequence[Decision]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([each.level2 for each in decisions], np.int64)


def _accuracy(
    decisions: Sequence[Decision], truth: np.ndarray[tuple[int], np.dtype[np.int64]], ambiguous: Sequence[bool]
) -> Accuracy:
    right, hard = _answers(decisions) == truth, np.array(ambiguous, np.bool_)
    return Accuracy(all=float(right.mean()), clear=float(right[~hard].mean()), ambiguous=float(right[hard].mean()))


def _published(decisions: Sequence[Decision], truth: np.ndarray[tuple[int], np.dtype[np.int64]]) -> tuple[float, float]:
    classes = published(decisions)
    out = classes >= 0
    return float(out.mean()), float((classes != truth)[out].mean()) if out.any() else 0.0
