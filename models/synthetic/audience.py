"""Viewers of a generated video and what they do, which follows the video's TRUE class. Pure.

Everything depends on (seed, video, revision) and the options alone, so the actions of any video can be drawn again, in
any process and any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from models.synthetic import comments
from models.synthetic.authors import author_of
from models.synthetic.design import BY_ID, CLASSES, LEVEL1, TOPICS, ClassDesign, class_prior
from schemas.errors import UserError
from schemas.events import EngagementAction
from schemas.manifest import ManifestRow


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Rates of everything viewers do. The like, share, follow and comment rates are those of a viewer who saw the whole
    video; they fall in proportion to the share that was seen, which is 0.5 to 0.6 on average."""

    silent: float = 0.06  # of videos: nobody plays them
    median_plays: float = 70.0  # of the others; log-normal
    plays_spread: float = 1.25  # standard deviation of the logarithm: 4 of 5 lie between 10 and 300
    most_plays: int = 5000
    followers: float = 0.35  # of viewers: they follow the author, and like what the author mostly publishes
    interested: float = 0.25  # of viewers: they are shown it since they like its true vertical; the rest is anybody
    unknown_viewer: float = 0.15  # of viewers: the platform names no vertical
    wrong_viewer: float = 0.15  # of viewers: it names one at random
    completion_match: float = 0.70  # mean share seen by those whose vertical is the true one
    completion_other: float = 0.40  # … and by the others
    completion_spread: float = 0.4  # of a video's own appeal, on the logit
    like: float = 0.15
    share: float = 0.03
    follow: float = 0.01
    comment: float = 0.18  # about 10 % of all viewers write
    report: float = 0.001  # of viewers, whatever they saw
    topic_words: float = 0.22  # of comments: name a subject of the topic
    class_words: float = 0.13  # of comments: name a class
    mistaken: float = 0.08  # of those: a wrong one of the same topic
    off_topic: float = 0.06  # of comments: speak of another topic


@dataclass(frozen=True, slots=True)
class Attack:
    """What is added to honest behaviour. Shares are of all viewers, those of the attack among them.

    spam: few viewers write the same advertisements over and over; a share of comments for each viewer. brigading:
    viewers of no known vertical who all name one class, `wrong`, each in other words; a sibling of the topic, from
    the other vertical, where none is given. reports: honest viewers who report the video.
    """

    spam: float = 0.0
    brigading: float = 0.0
    wrong: str | None = None
    reports: float = 0.0


TYPICAL = Behaviour()
HONEST = Attack()
_HALF_LIFE_H = 8.0  # median age of a video when it is played
_AGE_SPREAD = 1.4  # standard deviation of the logarithm
_LAST_DAYS = 30.0
_BURST_S = 900.0
_SPAMMERS = 3
_CONCENTRATION = 4.0  # of the Beta distribution of what is seen


def design_of(row: ManifestRow) -> ClassDesign:
    """The true class of a generated video. Raises UserError where the row does not say one of the generator's."""
    if row.truth is None or row.truth not in BY_ID:
        raise UserError(
            f"video {row.video_id} has the truth {row.truth}, which is no class of the generator",
            "give videos that `reelsort data make` made",
        )
    return BY_ID[row.truth]


def draw_plays(seed: int, row: ManifestRow, behaviour: Behaviour = TYPICAL) -> int:
    """How many viewers a video finds: a long tail, and none at all for some."""
    rng = _stream(seed, row, "plays")
    if rng.random() < behaviour.silent:
        return 0
    drawn = behaviour.median_plays * float(rng.lognormal(0.0, behaviour.plays_spread))
    return min(behaviour.most_plays, max(1, round(drawn)))


def draw_actions(
    seed: int,
    row: ManifestRow,
    plays: int | None = None,
    behaviour: Behaviour = TYPICAL,
    attack: Attack = HONEST,
) -> Iterator[EngagementAction]:
    """All that the viewers of a generated video do, in the order of occurred_at.

    plays: viewers before an attack adds its own; draw_plays() says how many where it is None. An attack changes none
    of the honest actions. Raises UserError for a video that the generator did not make.
    """
    plays = draw_plays(seed, row, behaviour) if plays is None else plays
    actions = _honest(seed, row, plays, behaviour)
    if plays and attack.reports:
        actions += _reports(seed, row, plays, attack.reports)
    if plays and attack.spam:
        actions += _spam(seed, row, round(plays * attack.spam))
    if plays and attack.brigading:
        actions += _brigade(seed, row, _fakes(plays, attack.brigading), attack.wrong or wrong_class(seed, row))
    return iter(sorted(actions, key=lambda action: action.occurred_at))


def viewers(plays: int, attack: Attack) -> int:
    """How many plays draw_actions() gives for so many honest ones."""
    if not plays:
        return 0
    return plays + (_SPAMMERS if attack.spam else 0) + (_fakes(plays, attack.brigading) if attack.brigading else 0)


def wrong_class(seed: int, row: ManifestRow) -> str:
    """What a brigade says a video is where it is not told: a class of the same topic in the other vertical, since
    words cannot tell those two apart."""
    design = design_of(row)
    rivals = [other.id for other in CLASSES if other.topic == design.topic and other.level1 != design.level1]
    return rivals[_stream(seed, row, "rival").integers(len(rivals))]


def _honest(seed: int, row: ManifestRow, plays: int, behaviour: Behaviour) -> list[EngagementAction]:
    design = design_of(row)
    rng = _stream(seed, row, "viewers")
    likes_it, vertical = _draw_viewers(rng, design, author_of(row.author_id).verticals, plays, behaviour)
    seen = _draw_completion(rng, likes_it, behaviour)
    rates = np.array([behaviour.like, behaviour.share, behaviour.follow, behaviour.comment])
    does = rng.random((plays, 4)) < rates * seen[:, None]
    reports = rng.random(plays) < behaviour.report
    ages = np.sort(np.minimum(_HALF_LIFE_H * rng.lognormal(0.0, _AGE_SPREAD, plays), _LAST_DAYS * 24)) * 3600
    duration = row.duration_s or 3.0
    words = _stream(seed, row, "words")
    actions = []
    for viewer in range(plays):
        watched = round(float(seen[viewer]) * duration, 3)
        made = _Maker(seed, row, f"{viewer}", vertical[viewer])
        begun = float(ages[viewer])
        actions.append(made.action("play", begun, watched_s=watched, duration_s=duration))
        for kind, done in zip(("like", "share", "follow"), does[viewer], strict=False):
            if done:
                actions.append(made.action(kind, begun + watched))
        if does[viewer, 3]:
            text = _draw_comment(words, design, behaviour)
            actions.append(made.action("comment", begun + watched, comment_text=text))
        if reports[viewer]:
            actions.append(made.action("report", begun + watched))
    return actions


def _draw_viewers(
    rng: np.random.Generator,
    design: ClassDesign,
    of_author: NDArray[np.float64],
    plays: int,
    behaviour: Behaviour,
) -> tuple[NDArray[np.bool_], list[str | None]]:
    """([plays] whether the video is of a viewer's own vertical, what the platform says that vertical is)."""
    true = LEVEL1.index(design.level1)
    kind = rng.random(plays)
    own = rng.choice(len(LEVEL1), plays, p=_popularity())
    followed = rng.choice(len(LEVEL1), plays, p=of_author)
    own = np.where(kind < behaviour.followers, followed, own)
    shown = (kind >= behaviour.followers) & (kind < behaviour.followers + behaviour.interested)
    own = np.where(shown, true, own)
    known = rng.random(plays) >= behaviour.unknown_viewer
    misread = rng.random(plays) < behaviour.wrong_viewer
    said = np.where(misread, rng.integers(len(LEVEL1), size=plays), own)
    return own == true, [LEVEL1[said[place]] if known[place] else None for place in range(plays)]


def _draw_completion(
    rng: np.random.Generator, likes_it: NDArray[np.bool_], behaviour: Behaviour
) -> NDArray[np.float64]:
    """[plays]: the share of the video that each viewer saw."""
    mean = np.where(likes_it, behaviour.completion_match, behaviour.completion_other)
    logit = np.log(mean / (1 - mean)) + behaviour.completion_spread * rng.standard_normal()
    appeal = 1 / (1 + np.exp(-logit))
    return np.asarray(rng.beta(_CONCENTRATION * appeal, _CONCENTRATION * (1 - appeal)))


def _draw_comment(rng: np.random.Generator, design: ClassDesign, behaviour: Behaviour) -> str:
    place = rng.random()
    if place < behaviour.class_words:
        if rng.random() >= behaviour.mistaken:
            return comments.about_class(rng, design.id)
        siblings = [other.id for other in CLASSES if other.topic == design.topic and other is not design]
        return comments.about_class(rng, siblings[rng.integers(len(siblings))])
    place -= behaviour.class_words
    if place < behaviour.topic_words:
        return comments.about_topic(rng, design.topic)
    if place < behaviour.topic_words + behaviour.off_topic:
        others = [topic for topic in TOPICS if topic != design.topic]
        return comments.about_topic(rng, others[rng.integers(len(others))])
    return comments.plain(rng)


def _spam(seed: int, row: ManifestRow, count: int) -> list[EngagementAction]:
    rng = _stream(seed, row, "spam")
    begun = _burst_age(rng)
    spammers = [_Maker(seed, row, f"spam{number}", None) for number in range(_SPAMMERS)]
    actions = [each.action("play", begun, watched_s=0.5, duration_s=row.duration_s or 3.0) for each in spammers]
    for number in range(count):
        made = spammers[rng.integers(_SPAMMERS)]
        at = begun + _BURST_S * rng.random()
        actions.append(made.action("comment", at, number, comment_text=comments.spam(rng)))
    return actions


def _fakes(plays: int, share: float) -> int:
    """How many must join so that they are this share of all."""
    return max(1, round(plays * share / (1.0 - share)))


def _brigade(seed: int, row: ManifestRow, fakes: int, wrong: str) -> list[EngagementAction]:
    if wrong not in BY_ID or wrong == row.truth:
        raise UserError(f"a brigade cannot take {row.video_id} for {wrong}", "name a wrong class of the generator")
    rng = _stream(seed, row, "brigade")
    begun = _burst_age(rng)
    actions = []
    for fake in range(fakes):
        made = _Maker(seed, row, f"fake{fake}", None)
        at = begun + _BURST_S * rng.random()
        duration = row.duration_s or 3.0
        watched = round(duration * rng.random(), 3)
        actions.append(made.action("play", at, watched_s=watched, duration_s=duration))
        actions.append(made.action("comment", at + watched, comment_text=comments.about_class(rng, wrong)))
    return actions


def _reports(seed: int, row: ManifestRow, plays: int, share: float) -> list[EngagementAction]:
    rng = _stream(seed, row, "reports")
    ages = _burst_age(rng) + _BURST_S * rng.random(round(plays * share))
    return [
        _Maker(seed, row, f"reporter{number}", None).action("report", float(age)) for number, age in enumerate(ages)
    ]


def _burst_age(rng: np.random.Generator) -> float:
    """When a burst begins, in seconds after publishing: early, when it can still steer a label."""
    return float(rng.uniform(0.5, 6.0)) * 3600


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the actions of one viewer."""

    seed: int
    row: ManifestRow
    viewer: str
    vertical: str | None

    def action(
        self,
        kind: str,
        age_s: float,
        number: int = 0,
        *,
        watched_s: float | None = None,
        duration_s: float | None = None,
        comment_text: str | None = None,
    ) -> EngagementAction:
        row = self.row
        return EngagementAction.model_validate(
            {
                "action_id": f"{row.video_id}/{row.revision}/{self.seed}/{self.viewer}/{kind}/{number}",
                "video_id": row.video_id,
                "revision": row.revision,
                "author_id": row.author_id,
                "kind": kind,
                "watched_s": watched_s,
                "duration_s": duration_s,
                "comment_text": comment_text,
                "viewer_vertical": self.vertical,
                "occurred_at": _at(row.published_at, age_s),
            }
        )


def _at(published_at: datetime, age_s: float) -> datetime:
    return published_at + timedelta(milliseconds=round(age_s * 1000))


@cache
def _popularity() -> NDArray[np.float64]:
    """[L1]: what viewers at large like, which is what is published."""
    shares = np.zeros(len(LEVEL1))
    np.add.at(shares, [LEVEL1.index(design.level1) for design in CLASSES], class_prior())
    return shares


def _stream(seed: int, row: ManifestRow, purpose: str) -> np.random.Generator:
    """Random choices of one purpose, which no other purpose's move."""
    name = f"{purpose}\0{row.video_id}\0{row.revision}".encode()
    return np.random.default_rng([seed, int.from_bytes(blake2b(name, digest_size=8).digest())])
