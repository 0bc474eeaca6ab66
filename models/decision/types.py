"""What a decision is made of: evidence in, policy beside it, decision out. Frozen data, no behaviour.

What is made for every video is a NamedTuple: as immutable as a frozen dataclass, and made in a third of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


class Route(StrEnum):
    """Where a decided video goes."""

    ACCEPT = "accept"  # level 1 and level 2 are published
    ACCEPT_LEVEL1 = "accept_level1"  # level 1 alone is published
    REVIEW = "review"  # people decide


class Reason(StrEnum):
    """Why a video went where it went; stable codes, part of the event contract."""

    LOW_MARGIN = "low_margin"
    LOW_CONFIDENCE = "low_confidence"
    NOVEL = "novel"
    TAIL_CLASS = "tail_class"
    PRIOR_CONFLICT = "prior_conflict"
    ENGAGEMENT_CONFLICT = "engagement_conflict"
    AUDIT_SAMPLE = "audit_sample"
    REPORTED = "reported"
    HUMAN_CONFLICT = "human_conflict"  # a reviewer said otherwise of an earlier revision
    REVIEW_EXPIRED = "review_expired"  # nobody decided in time: level 1 is published
    OVER_BUDGET = "over_budget"  # people cannot see them all, and others come first: level 1 is published


class ContentEvidence(NamedTuple):
    """What the model said of the content alone.

    level1_logits: [C1] raw, level2_logits: [C2] raw; both in taxonomy order.
    """

    level1_logits: FloatArray
    level2_logits: FloatArray


class AuthorEvidence(NamedTuple):
    """What was known of the author beforehand; class shares are in taxonomy level-1 order."""

    history_level1: FloatArray | None = None  # [C1] counts over earlier videos
    main_vertical: int | None = None  # level-1 index
    interests: tuple[tuple[int, float], ...] = ()  # (level-1 index, weight > 0), each index once, rising
    verified: bool | None = None


class EngagementEvidence(NamedTuple):
    """How people behaved since; counts are cumulative for the video's revision."""

    plays: int
    completion_rate: float | None = None
    audience: tuple[tuple[int, float], ...] = ()  # (level-1 index, share of plays), each index once, rising
    top_comments: tuple[str, ...] = ()
    reports: int = 0


class Evidence(NamedTuple):
    """All that decide() may look at. A missing signal is None, never a zero."""

    video_id: str
    revision: int
    content: ContentEvidence
    author: AuthorEvidence | None = None
    engagement: EngagementEvidence | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SignalHead:
    """signals.npz: what signals add to the content's log-probabilities. Formulas: models/decision/signal_head.py.

    content: the weight of the content's log-probability beside signals; content_top: how many nats its own answer, the
    largest of many estimates and so too large more often than not, is worth less beside them. entropy_slope: how much
    less all this is worth, in its logarithm, for each nat of entropy that it leaves. base: shares of level-1 classes
    among videos; audience_base: among viewers. Every *_weight is at least 0; a *_pseudo is the number of observations
    at which evidence counts half.
    """

    content: float
    content_top: float
    entropy_slope: float
    base: NDArray[np.float64]  # [C1], > 0, sums to 1
    audience_base: NDArray[np.float64]  # [C1], > 0, sums to 1
    history_weight: float
    history_pseudo: float
    vertical_weight: float
    vertical_verified: float  # added to vertical_weight for a verified author
    interests_weight: float
    interests_pseudo: float
    audience_weight: float
    audience_completion: float  # added to audience_weight for each unit of completion
    audience_pseudo: float
    comments_weight: float
    comments_pseudo: float
    comments_bound: float  # of what all comments say for or against a class, in nats, before the weight
    comment_base: NDArray[np.float64]  # [C2], > 0: shares of classes among comments
    comment_grams: NDArray[np.float16]  # [buckets, C2]: what a character n-gram says of each class, in nats


@dataclass(frozen=True, slots=True, eq=False)
class SignalRules:
    """When signals move a label, what is published of videos that have any, and from when on reports call people."""

    head: SignalHead
    margin: float  # log-odds by which a class has to beat the content's answer to take its place
    level2_thresholds: FloatArray  # [C2], of the posterior
    level1_thresholds: FloatArray  # [C1], of the posterior
    report_count: int  # a video goes to people with at least so many reports
    report_share: float  # that are at least this share of its plays


@dataclass(frozen=True, slots=True)
class Policy:
    """How evidence becomes a decision: policy.json of a bundle, in arrays.

    parent: [C2] level-1 index of each level-2 class. thresholds are probabilities; a class that no amount of
    confidence makes acceptable has a threshold above 1.
    """

    policy_id: str
    parent: NDArray[np.int64]  # [C2]
    n_level1: int
    temperature_level1: float
    temperature_level2: float
    log_class_scale: FloatArray  # [C2], 0 = unscaled
    level2_thresholds: FloatArray  # [C2]
    level1_thresholds: FloatArray  # [C1]
    min_margin: float
    tail_classes: frozenset[int]
    audit_rate: float
    target_risk: float
    top_k: int = 5
    signals: SignalRules | None = None  # None: content alone decides


class ContentAnswer(NamedTuple):
    """What would have been decided without signals. probability: of what it would have published, as `confidence`."""

    route: Route
    level1: int
    level2: int
    probability: float


class Decision(NamedTuple):
    """The outcome for one video. level indices are in taxonomy order.

    level1/level2 are the model's best answers even where the route withholds them; `confidence` is the probability of
    what is published (level 2 when ACCEPT, else level 1). `audit` marks an accepted item that people also see.

    content is None where no signal was weighed. contributions: by group of signals ("content" being the weight that
    content has beside them), how many nats of log-odds it gave level2 against the content's answer or, where that is
    the same, against the next best class; they add up to the shift that signals made.
    """

    route: Route
    level1: int
    level2: int
    confidence: float
    level1_probability: float
    level2_probability: float
    margin: float  # top1 - top2 probability at level 2; negative where signals favour another class, not by enough
    top_k: tuple[tuple[int, float], ...]  # (level-2 index, probability), best first
    threshold: float  # the threshold `confidence` was held against
    audit: bool = False
    reasons: tuple[Reason, ...] = ()
    content: ContentAnswer | None = None
    moved: bool = False  # signals changed level1 or level2
    contributions: tuple[tuple[str, float], ...] = ()
