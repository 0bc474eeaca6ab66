"""Logits to probabilities of both levels, in which level 1 is the sum of its children.

The joint probability of a level-2 class j is proportional to scale_j * exp(z2_j / T2 + z1_parent(j) / T1), and that of
a level-1 class is the sum over its level-2 classes: the two levels can never contradict each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.decision.types import Policy

DoubleArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Probabilities:
    """level1 [B, C1] and level2 [B, C2], float64; each row of either sums to 1."""

    level1: DoubleArray
    level2: DoubleArray


def hierarchical(level1_logits: ArrayLike, level2_logits: ArrayLike, policy: Policy) -> Probabilities:
    """Calibrated probabilities of a batch: level1_logits [B, C1], level2_logits [B, C2], raw.

    Raises ValueError on a wrong shape and on NaN or infinite logits.
    """
    return normalised(joint_logits(level1_logits, level2_logits, policy), policy)


def joint_logits(level1_logits: ArrayLike, level2_logits: ArrayLike, policy: Policy) -> DoubleArray:
    """[B, C2]: the logarithm of each level-2 class's joint probability, but for a constant of each row.

    Every row is computed on its own, with the same operations in the same order whatever the batch, so that a video's
    probabilities do not depend on its neighbours. Raises as hierarchical() does.
    """
    z1 = np.asarray(level1_logits, dtype=np.float64)
    z2 = np.asarray(level2_logits, dtype=np.float64)
    n_level2 = len(policy.parent)
    if z1.ndim != 2 or z2.ndim != 2 or z1.shape[1] != policy.n_level1 or z2.shape != (len(z1), n_level2):
        raise ValueError(
            f"logits of shape {z1.shape} and {z2.shape} do not fit {policy.n_level1} and {n_level2} classes"
        )
    if not (np.isfinite(z1).all() and np.isfinite(z2).all()):
        raise ValueError("logits hold NaN or infinity")
    joint = z2 / policy.temperature_level2
    joint += (z1 / policy.temperature_level1)[:, policy.parent]
    joint += policy.log_class_scale
    return np.asarray(joint)


def normalised(joint: DoubleArray, policy: Policy) -> Probabilities:
    """Probabilities of joint_logits() [B, C2], whose memory they take over."""
    joint -= joint.max(axis=1, keepdims=True)
    np.exp(joint, out=joint)
    joint /= joint.sum(axis=1, keepdims=True)
    return Probabilities(level1=sum_children(joint, policy), level2=joint)


def sum_children(level2: DoubleArray, policy: Policy) -> DoubleArray:
    """[B, C2] -> [B, C1]: the sum over each level-1 class's children; 0 for a class without any.

    Not a matrix product: BLAS picks another order of summation for another batch size.
    """
    order, present, starts = _by_parent(policy.parent.tobytes())
    level1 = np.zeros((len(level2), policy.n_level1))
    level1[:, present] = np.add.reduceat(level2[:, order], starts, axis=1)
    return level1


@lru_cache(maxsize=64)
def _by_parent(parent: bytes) -> tuple[IntArray, IntArray, IntArray]:
    """Level-2 classes in the order of their parents, the parents that have any, and where each one's classes start."""
    parents = np.frombuffer(parent, dtype=np.int64)
    order = np.argsort(parents, kind="stable")
    present, starts = np.unique(parents[order], return_index=True)
    return order, present, starts
