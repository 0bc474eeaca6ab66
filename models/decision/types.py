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


class ContentEvidence(NamedTuple):
    """What the model said of the content alone.

    level1_logits: [C1] raw, level2_logits: [C2] raw; both in taxonomy order.
    """

    level1_logits: FloatArray
    level2_logits: FloatArray


@dataclass(frozen=True, slots=True)
class AuthorEvidence:
    """What was known of the author beforehand; class shares are in taxonomy level-1 order."""

    history_level1: FloatArray | None = None  # [C1] counts over earlier videos
    main_vertical: int | None = None  # level-1 index
    interests: tuple[tuple[int, float], ...] = ()  # (level-1 index, weight)
    verified: bool | None = None


@dataclass(frozen=True, slots=True)
class EngagementEvidence:
    """How people behaved since; counts are cumulative for the video's revision."""

    plays: int
    completion_rate: float | None = None
    audience: tuple[tuple[int, float], ...] = ()  # (level-1 index, share)
    top_comments: tuple[str, ...] = ()
    reports: int = 0


class Evidence(NamedTuple):
    """All that decide() may look at. A missing signal is None, never a zero."""

    video_id: str
    revision: int
    content: ContentEvidence
    author: AuthorEvidence | None = None
    engagement: EngagementEvidence | None = None


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


class Decision(NamedTuple):
    """The outcome for one video. level indices are in taxonomy order.

    level1/level2 are the model's best answers even where the route withholds them; `confidence` is the probability of
    what is published (level 2 when ACCEPT, else level 1). `audit` marks an accepted item that people also see.
    """

    route: Route
    level1: int
    level2: int
    confidence: float
    level1_probability: float
    level2_probability: float
    margin: float  # top1 - top2 probability at level 2
    top_k: tuple[tuple[int, float], ...]  # (level-2 index, probability), best first
    threshold: float  # the threshold `confidence` was held against
    audit: bool = False
    reasons: tuple[Reason, ...] = ()
