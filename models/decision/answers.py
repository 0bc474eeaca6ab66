"""The best answers of a batch, before any threshold, and who sees the accepted ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from models.decision.probabilities import DoubleArray, IntArray, Probabilities
from models.decision.types import Policy

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Answers:
    """The best answers of a batch, before any threshold: arrays [B]; top_classes and top_probabilities are [B, K].

    Calibration chooses thresholds on these, so that what it promises is what decide() does. `clear` is what acceptance
    at level 2 needs besides its threshold: both levels name the same branch and the runner-up is min_margin away.
    """

    level1: IntArray
    level1_probability: DoubleArray
    level2: IntArray
    level2_probability: DoubleArray
    margin: DoubleArray
    clear: BoolArray
    top_classes: IntArray
    top_probabilities: DoubleArray

    def at(self, rows: Sequence[int] | IntArray) -> Answers:
        """Those rows alone."""
        return Answers(*(getattr(self, each.name)[rows] for each in fields(Answers)))


def best_answers(probabilities: Probabilities, policy: Policy) -> Answers:
    """The most probable class of each level (of equals, the first in taxonomy order) and the runners-up."""
    level1 = probabilities.level1.argmax(axis=1)
    rows = np.arange(len(level1))
    depth = min(policy.top_k, len(policy.parent))
    looked_at = min(max(2, depth), len(policy.parent))
    # a few passes of argmax: a third of the time of a stable sort, and ties fall to the first class
    rest = probabilities.level2.copy()
    classes = np.empty((len(rest), looked_at), dtype=np.int64)
    top = np.empty((len(rest), looked_at))
    for place in range(looked_at):
        best = rest.argmax(axis=1)
        classes[:, place] = best
        top[:, place] = rest[rows, best]
        rest[rows, best] = -1.0
    level2 = classes[:, 0]
    margin = top[:, 0] - top[:, 1] if looked_at > 1 else top[:, 0]
    return Answers(
        level1=level1,
        level1_probability=probabilities.level1[rows, level1],
        level2=level2,
        level2_probability=top[:, 0],
        margin=margin,
        clear=(policy.parent[level2] == level1) & (margin >= policy.min_margin),
        top_classes=classes[:, :depth],
        top_probabilities=top[:, :depth],
    )


def in_audit_sample(video_id: str, revision: int, rate: float) -> bool:
    """Whether people also see this accepted video: a hash, so that every job and every replay picks the same ones."""
    digest = blake2b(f"{video_id}\0{revision}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) < rate * 2.0**64
